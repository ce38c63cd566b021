//! Descriptors across `execve(2)`.

use std::io;

/// Marks every open descriptor from `first` on close-on-exec
/// (`close_range(2)`, Linux 5.11), known to this program or not.
///
/// # Errors
/// The error of `close_range(2)`.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the call takes plain numbers and closes nothing: it only sets a
    // flag that no safe code relies on being unset. `libc` and `rustix` have no
    // safe wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_ulong::from(first),
            libc::c_ulong::from(u32::MAX),
            libc::c_ulong::from(libc::CLOSE_RANGE_CLOEXEC),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
