//! Descriptors: how many there may be, and which outlive `execve(2)`.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process have as many as its hard limit allows: shells start programs
/// with 1,024, for the sake of `select(2)`.
///
/// # Errors
/// The error of `setrlimit(2)`; the limit is then what it was.
pub fn allow_as_many_as_may_be() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

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
