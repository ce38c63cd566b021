//! `clone3(2)`, used like `fork(2)` with namespaces and a cgroup.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Where and how the child starts. Constants of `include/uapi/linux/sched.h`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneOptions<'fd> {
    /// `CLONE_NEW*` bits; any other bit is refused.
    pub namespaces: u64,
    /// The caller's parent becomes the parent of the child as well
    /// (`CLONE_PARENT`). Without it the child's end is told by `SIGCHLD`, with
    /// it in the way the caller's own end is told.
    pub sibling: bool,
    /// The directory of the cgroup (version 2) the child starts in: since Linux
    /// 5.7, and far cheaper than moving it there afterwards.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// Which of the two processes the caller is now.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The process that called.
    Parent {
        /// The child's number in the caller's PID namespace.
        pid: i32,
        /// Refers to the child, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Every namespace `clone3` can make.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// `libc` has it in a type too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's structure as of Linux 5.7, the first to name a cgroup.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Splits the calling process in two.
///
/// # Errors
/// `EINVAL` for a bit that is no namespace, `EBUSY` when the process has more
/// than one thread, else the error of `clone3(2)`.
pub fn clone_process(options: &CloneOptions<'_>) -> io::Result<Cloned> {
    if options.namespaces & !NAMESPACES != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    ensure_single_thread()?;
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: options.namespaces | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if options.sibling {
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: the structure is alive across the call and has the size passed;
    // `pidfd` is a valid place for one descriptor number. Neither CLONE_VM nor
    // a stack is asked for, so the child runs on copies of this memory and this
    // stack. The process has one thread (checked above, and only that thread
    // could start another), so no lock is held by a thread the child lacks.
    // The C library's `fork` cannot name namespaces or a cgroup.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<CloneArgs>())
    };
    match result {
        0 => Ok(Cloned::Child),
        pid if pid > 0 => {
            // SAFETY: in the parent the kernel has stored a descriptor that is
            // new and nobody else's.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid =
                i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks the kernel rather than `/proc`, which may be another's by now.
fn ensure_single_thread() -> io::Result<()> {
    // SAFETY: with CLONE_THREAD alone, unshare(2) changes nothing: it succeeds
    // when the process has one thread and fails with EINVAL otherwise.
    match unsafe { libc::unshare(libc::CLONE_THREAD) } {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_is_no_namespace_is_refused() {
        let options = CloneOptions { namespaces: libc::CLONE_VM as u64, ..Default::default() };
        let error = clone_process(&options).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_process_with_threads_is_refused() {
        // The test harness itself runs this in a second thread.
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || told.recv());
        let error = clone_process(&CloneOptions::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        drop(tell);
        assert!(thread.join().unwrap().is_err());
    }
}
