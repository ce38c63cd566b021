//! Signal state that survives `execve(2)`.

use std::io;
use std::ptr;

/// The highest signal number of Linux on x86 and ARM.
const LAST: libc::c_int = 64;

/// Size of the kernel's signal set.
const MASK_BYTES: usize = 8;

/// Gives every signal its default action and blocks none.
///
/// Rust programs ignore `SIGPIPE`, which `execve` would hand on to a program
/// that expects to end by it.
///
/// # Errors
/// The error of `sigaction(2)` or `sigprocmask(2)`.
pub fn reset_signals() -> io::Result<()> {
    // The kernel's own structure: handler, flags, restorer (not on every
    // machine) and mask, eight bytes each at most; all zero is SIG_DFL.
    let default = [0_u64; 4];
    for signal in (1..=LAST).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: the kernel reads the structure, which is large enough and
        // alive, and stores no old one. No code of ours can be called, since
        // the handler is SIG_DFL. The C library's `sigaction` refuses the two
        // signals it keeps to itself, which may be ignored all the same.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                libc::c_long::from(signal),
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                MASK_BYTES,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: `sigemptyset` fills the set it is given, `sigprocmask` only reads
    // it, and the old mask is not asked for.
    let result = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
