//! Processes named so that a reused pid is never mistaken for the old process.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    process::ExitStatus,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use crate::readiness::register;

/// A pid and when its process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id in the agent's pid namespace.
    pub pid: i32,
    /// Clock ticks after boot (`proc_pid_stat(5)`, field 22).
    pub start_time: u64,
}

/// A process held by descriptor.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    end: Arc<End>,
}

/// What all who hold a process know of its end. The kernel tells one of them
/// how it ended (before 6.15), and that may be any.
#[derive(Debug)]
struct End {
    of: ProcessId,
    told: Mutex<Option<Ending>>,
}

/// The ends of the processes that are held.
static ENDS: LazyLock<Mutex<HashMap<ProcessId, Weak<End>>>> = LazyLock::new(Mutex::default);

/// How a process ended, as far as the agent could learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It lives, or it was not the agent's own child and the kernel is older than
    /// 6.15.
    Unknown,
}

impl ProcessId {
    /// Names the process that has `pid` now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command stands in parentheses and may itself hold any byte.
        let start_time = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable process stat"))?;
        Ok(Self { pid, start_time })
    }
}

impl Process {
    /// Holds the process that has `pid` now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        // A record on disk may hold anything.
        let raw = (pid > 0).then_some(pid).and_then(Pid::from_raw);
        let raw = raw.ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
        Ok(Self { end: End::of(ProcessId::of(pid)?), pidfd })
    }

    /// Holds the process that has `pid` now; `None` when there is none. To be
    /// preferred where "gone" and "cannot tell" lead to different ends.
    ///
    /// # Errors
    /// Nothing to do with the process: no descriptor is free, say.
    pub fn find(pid: i32) -> io::Result<Option<Self>> {
        match Self::open(pid) {
            Ok(process) => Ok(Some(process)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Holds the process named by `id`, if it still lives.
    ///
    /// # Errors
    /// It is gone ([`is_gone`]); its pid may be another's now. Or no descriptor
    /// is free.
    pub fn reopen(id: ProcessId) -> io::Result<Self> {
        let process = Self::open(id.pid)?;
        if process.id() == id { Ok(process) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Its name.
    pub fn id(&self) -> ProcessId {
        self.end.of
    }

    /// Its descriptor.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Holds it once more.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { end: Arc::clone(&self.end), pidfd: self.pidfd.try_clone()? })
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// No descriptor is free, or the runtime is shutting down.
    pub async fn ended(&self) -> io::Result<()> {
        // A copy for each waiter: epoll takes a descriptor once. pidfds are
        // only ever readable, and only when the process has ended.
        let watched = register(self.pidfd.try_clone()?, Interest::READABLE)?;
        watched.readable().await.map(|_guard| ())
    }

    /// `true` when it has ended already.
    pub fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(ready) if ready > 0)
    }

    /// How it ended; of a child this takes the exit status, so that no zombie
    /// stays. All who hold it get the same answer.
    pub fn reap(&self) -> Ending {
        let mut told = self.end.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = *told {
            return ending;
        }
        let ending = self.take_status();
        // One that has not ended yet may be asked again.
        if ending != Ending::Unknown {
            *told = Some(ending);
        }
        ending
    }

    fn take_status(&self) -> Ending {
        let id = Id::PIDFd(self.pidfd.as_fd());
        match waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(_, code)) => Ending::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ending::Signal(signal as i32),
            // ECHILD: not our child, or reaped. Newer kernels tell all the same.
            Ok(_) | Err(_) => match rolltop_sys::pidfd::exit_status(&self.pidfd) {
                Ok(status) => status.map_or(Ending::Unknown, Ending::from),
                Err(error) => {
                    tracing::warn!(pid = self.id().pid, %error, "a process does not tell how it ended");
                    Ending::Unknown
                }
            },
        }
    }

    /// Sends `signal`; a process that has ended is success.
    ///
    /// # Errors
    /// Not permitted, or no such signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Errno::ESRCH as i32 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

// === impl End ===

impl End {
    /// The one there is of this process, or a new one.
    fn of(id: ProcessId) -> Arc<Self> {
        let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = ends.get(&id).and_then(Weak::upgrade) {
            return end;
        }
        let end = Arc::new(Self { of: id, told: Mutex::default() });
        ends.insert(id, Arc::downgrade(&end));
        end
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may stand there by now.
        if ends.get(&self.of).is_some_and(|end| end.strong_count() == 0) {
            ends.remove(&self.of);
        }
    }
}

/// `true` when this error tells that a process is no more.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => f.write_str("ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_told_from_cannot_tell() {
        assert!(Process::find(i32::MAX).unwrap().is_none());
        assert!(Process::find(std::process::id() as i32).unwrap().is_some());
        assert!(Process::find(-1).is_err(), "no pid at all");
        assert!(!is_gone(&io::Error::from_raw_os_error(Errno::EMFILE as i32)));
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        let other = ProcessId { start_time: me.start_time + 1, ..me };
        assert!(is_gone(&Process::reopen(other).unwrap_err()));
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "reaping it by pidfd is what is tested")]
    async fn a_child_is_held_awaited_and_reaped() {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::open(child.id() as i32).unwrap();
        let other_holder = Process::open(child.id() as i32).unwrap();
        assert!(!process.has_ended());
        assert_eq!(process.reap(), Ending::Unknown, "it lives");
        assert!(Process::reopen(process.id()).is_ok());
        let other = ProcessId { start_time: process.id().start_time + 1, ..process.id() };
        assert!(Process::reopen(other).is_err(), "a reused pid is another process");
        drop(child.stdin);
        process.ended().await.unwrap();
        assert!(process.has_ended());
        assert_eq!(process.reap(), Ending::Code(7));
        assert_eq!(other_holder.reap(), Ending::Code(7), "one reaps, all know");
        process.signal(Signal::TERM).unwrap();
        assert_eq!(process.reap(), Ending::Code(7), "reaped before");
    }
}
