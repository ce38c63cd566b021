//! The calls of libc that std does not offer.

use std::ffi::{c_int, c_long, c_uint, c_ulong};
use std::io;

pub(crate) const SIGINT: c_int = 2;
pub(crate) const SIGTERM: c_int = 15;
pub(crate) const SIGCHLD: c_int = 17;
pub(crate) const SIGCONT: c_int = 18;

const SIG_BLOCK: c_int = 0;
const WNOHANG: c_int = 1;
const POLLIN: i16 = 1;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
// The same on every architecture: system calls since Linux 5.1 share their numbers.
const SYS_PIDFD_OPEN: c_long = 434;
const SYS_CLOSE_RANGE: c_long = 436;
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64"
)))]
const TIOCSCTTY: c_ulong = 0x540e;

/// As large as the largest `sigset_t` of any libc for Linux.
#[repr(C, align(8))]
struct SignalSet([u8; 128]);

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn prctl(option: c_int, ...) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    safe fn setgid(gid: c_uint) -> c_int;
    safe fn setuid(uid: c_uint) -> c_int;
    safe fn setsid() -> c_int;
    safe fn umask(mask: c_uint) -> c_uint;
    safe fn close(fd: c_int) -> c_int;
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Signals that are held back until they are waited for.
pub(crate) struct Signals(SignalSet);

impl Signals {
    /// Blocks these signals for this process.
    pub(crate) fn block(signals: &[c_int]) -> io::Result<Self> {
        let mut set = SignalSet([0; 128]);
        // SAFETY: `set` is as large as any libc's signal set and lives through the calls;
        // the old mask is not asked for.
        unsafe {
            check(sigemptyset(&raw mut set))?;
            for signal in signals {
                check(sigaddset(&raw mut set, *signal))?;
            }
            check(sigprocmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        }
        Ok(Self(set))
    }

    /// Sleeps until one of them arrives.
    pub(crate) fn wait(&self) -> io::Result<c_int> {
        let mut signal = 0;
        // SAFETY: both point at live memory of the right type; the set was initialised by `block`.
        match unsafe { sigwait(&raw const self.0, &raw mut signal) } {
            0 => Ok(signal),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Takes one ended child off the list; false when none has ended.
pub(crate) fn reap_one() -> bool {
    // SAFETY: a null status means that it is not asked for (waitpid(2)).
    unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) > 0 }
}

/// Sends a signal to every process that can be seen but the caller (kill(2), pid -1).
/// None there is no fault.
pub(crate) fn signal_all(signal: c_int) {
    kill(-1, signal);
}

/// Sleeps until the process has ended; at once if there is none.
pub(crate) fn wait_for_end(pid: u32) -> io::Result<()> {
    // SAFETY: pidfd_open(2) takes a process id and flags, and touches no memory.
    let fd = unsafe { syscall(SYS_PIDFD_OPEN, pid as c_int, 0 as c_uint) } as c_int;
    if fd == -1 {
        const ESRCH: i32 = 3;
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(ESRCH) { Ok(()) } else { Err(error) };
    }
    let mut poll_fd = PollFd { fd, events: POLLIN, revents: 0 };
    // SAFETY: one live entry, and the count says one.
    let polled = check(unsafe { poll(&raw mut poll_fd, 1, -1) });
    close(fd);
    polled
}

/// Becomes this user for good. Groups first: afterwards it is no longer allowed.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one live slice.
    check(unsafe { setgroups(groups.len(), groups.as_ptr()) })?;
    check(setgid(gid))?;
    check(setuid(uid))
}

/// From here on no program gives this process and its children more rights than they have.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: this option takes the number 1 and zeros (prctl(2)), no pointer.
    check(unsafe {
        prctl(PR_SET_NO_NEW_PRIVS, 1 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong)
    })
}

/// A session of its own, with standard input as its terminal if it is one.
pub(crate) fn new_session() -> io::Result<()> {
    use std::io::IsTerminal;
    // Fails only for a process that leads its group already: its session is new then.
    setsid();
    if io::stdin().is_terminal() {
        // SAFETY: this request takes a number, no pointer (ioctl_tty(2)).
        check(unsafe { ioctl(0, TIOCSCTTY, 0 as c_int) })?;
    }
    Ok(())
}

/// What new files do not allow.
pub(crate) fn set_umask(mask: u32) {
    umask(mask);
}

/// Closes everything but standard input, output and error.
pub(crate) fn close_others() -> io::Result<()> {
    // SAFETY: close_range(2) takes numbers. Nothing in this program owns a descriptor above 2 here.
    let result = unsafe { syscall(SYS_CLOSE_RANGE, 3 as c_uint, c_uint::MAX, 0 as c_uint) };
    check(result as c_int)
}
