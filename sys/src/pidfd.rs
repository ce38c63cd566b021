//! What no library does with a pidfd: real-time signals, and how a process ended
//! that is not the caller's child.
//!
//! `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT` (Linux 6.15) tells it to whoever held
//! a pidfd of the process before its parent reaped it. Layout and numbers:
//! `include/uapi/linux/pidfd.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)` with the structure's first
/// published size; later kernels go on taking it.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info`, first published size.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid_tgid_ppid: [u32; 3],
    ids: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// How the process of `pidfd` ended; `None` when it has not been reaped yet, or
/// the kernel is older than 6.15 and cannot tell.
///
/// # Errors
/// The descriptor is not open, or a filter forbids the call.
pub fn exit_status(pidfd: impl AsFd) -> io::Result<Option<ExitStatus>> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel reads and writes at most the 64 bytes whose number is
    // part of the request, and `info` is that large, aligned, and only borrowed
    // for the call. No library wraps this request.
    let done = unsafe {
        libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, std::ptr::from_mut(&mut info))
    };
    if done < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // Reaped, and nothing is kept of it; or an older kernel, which does
            // not know the request (ENOTTY; on anonymous inodes EINVAL).
            Some(libc::ESRCH | libc::ENOTTY | libc::EINVAL) => Ok(None),
            _ => Err(error),
        };
    }
    let told = info.mask & PIDFD_INFO_EXIT != 0;
    Ok(told.then(|| ExitStatus::from_raw(info.exit_code)))
}

/// Sends signal `number`, which may be a real-time one. A process that has ended
/// is success.
///
/// # Errors
/// There is no such signal, or the caller may not.
pub fn send_signal(pidfd: impl AsFd, number: i32) -> io::Result<()> {
    // SAFETY: no pointer but a null one, which stands for the information that
    // `kill(2)` sends. rustix has names of signals only, and numbers not without
    // unsafe code of the caller's.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
    use std::process::{Child, Command, Stdio};

    fn child() -> (Child, std::os::fd::OwnedFd, Pid) {
        let child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        (child, pidfd_open(pid, PidfdFlags::empty()).unwrap(), pid)
    }

    #[test]
    fn an_end_is_told_after_another_has_reaped() {
        let (mut child, pidfd, pid) = child();
        assert_eq!(exit_status(&pidfd).unwrap(), None, "it lives");
        kill_process(pid, Signal::KILL).unwrap();
        let reaped = child.wait().unwrap();
        match exit_status(&pidfd).unwrap() {
            Some(told) => assert_eq!(told, reaped),
            None => println!("skipped: the kernel is older than 6.15"),
        }
    }

    #[test]
    fn a_real_time_signal_arrives() {
        let (mut child, pidfd, _) = child();
        assert_eq!(send_signal(&pidfd, 65).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        send_signal(&pidfd, 37).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(37));
        send_signal(&pidfd, 37).unwrap();
    }

    #[test]
    fn another_descriptor_is_no_process() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(exit_status(&file).unwrap(), None);
    }
}
