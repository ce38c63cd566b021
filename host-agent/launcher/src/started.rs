//! What the caller holds of a process it launched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid,
};

/// The standard streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`, three times.
    Null,
    /// Files, pipes or sockets.
    Files {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own devpts, controlling the process's
    /// session; its master side comes back in [`Started::terminal`].
    Terminal,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A process that runs its program.
///
/// It is a direct child of the calling process, which has to wait for it: the
/// PID namespace of a container cannot end while the remains of a process that
/// was executed in it are not reaped. Dropping this neither ends nor reaps it.
#[derive(Debug)]
pub struct Started {
    /// Its number in the caller's PID namespace.
    pub pid: Pid,
    /// Refers to it for good, close-on-exec.
    pub pidfd: OwnedFd,
    /// The master side of its terminal, with [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
}

// === impl Started ===

impl Started {
    /// Sends `signal`.
    ///
    /// # Errors
    /// `ESRCH` when it has ended and been reaped.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits for the end and reaps.
    ///
    /// # Errors
    /// `ECHILD` when it has been reaped already.
    pub fn wait(&self) -> io::Result<Exit> {
        reap(self.pidfd.as_fd())
    }
}

/// Waits for the end of a child and reaps it.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit(&status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}
