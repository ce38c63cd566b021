//! A launch under way: from the helper's start to the program's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rolltop_fail_points as fail_points;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::cgroup::{Cgroup, CgroupError};
use crate::error::LaunchError;
use crate::started::{Started, reap};
use crate::wire::{self, Report, START};

/// How long `start` may take, which is one `execve`: it waits for nothing but
/// reading the program from the image's storage.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long the removal of an aborted launch's cgroup may take; its processes
/// are reaped by then.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// A container complete but for its program, which waits for
/// [`start`](Self::start). Dropping it undoes everything.
#[derive(Debug)]
pub struct Created {
    attempt: Attempt,
    pid: Pid,
}

/// A container whose namespaces exist while the rest of it is being built: see
/// [`Launcher::begin`](crate::Launcher::begin). Dropping it undoes everything.
#[derive(Debug)]
pub struct Creating {
    created: Created,
}

/// Everything a launch has made so far; undone when dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    control: OwnedFd,
    helper: Child,
    process: Option<(Pid, OwnedFd)>,
    terminal: Option<OwnedFd>,
    /// The cgroup made for this launch.
    pub(crate) cgroup: Option<Cgroup>,
    began: Instant,
}

// === impl Creating ===

impl Creating {
    pub(crate) fn new(attempt: Attempt) -> Self {
        Self { created: Created::new(attempt) }
    }

    /// See [`Created::pid`].
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.created.pid()
    }

    /// Waits until the container is complete but for its program.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn finish(mut self, deadline: Instant) -> Result<Created, LaunchError> {
        self.created.attempt.reach_ready(deadline)?;
        fail_points::pass("build container");
        Ok(self.created)
    }
}

// === impl Created ===

impl Created {
    fn new(attempt: Attempt) -> Self {
        // `reach_spawned` has seen to it that there is a process.
        let pid = attempt.process.as_ref().map_or(Pid::INIT, |(pid, _)| *pid);
        Self { attempt, pid }
    }

    /// The number of the container's init in the caller's PID namespace: its
    /// namespaces are at `/proc/PID/ns`.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Refers to the container's init for good.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        match &self.attempt.process {
            Some((_, pidfd)) => pidfd.try_clone(),
            None => Err(Errno::SRCH.into()),
        }
    }

    /// The cgroup made for the container, if its configuration names one.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.attempt.cgroup.as_ref()
    }

    /// Executes the container's program.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn start(mut self) -> Result<Started, LaunchError> {
        match send(self.attempt.control(), START, SendFlags::NOSIGNAL) {
            // The process is gone; the reports it left tell more.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
            Err(error) => {
                return Err(LaunchError::Helper { action: "instruct", source: error.into() });
            }
        }
        self.attempt.reach_running(Instant::now() + START_LIMIT)?;
        self.attempt.into_started()
    }

    /// Ends and undoes it all, and tells what could not be undone.
    ///
    /// # Errors
    /// The cgroup cannot be removed.
    pub fn abort(mut self) -> Result<(), CgroupError> {
        self.attempt.undo()
    }
}

// === impl Attempt ===

impl Attempt {
    pub(crate) fn new(control: OwnedFd, helper: Child) -> Self {
        Self { control, helper, process: None, terminal: None, cgroup: None, began: Instant::now() }
    }

    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Goes on until the process exists.
    pub(crate) fn reach_spawned(&mut self, deadline: Instant) -> Result<(), LaunchError> {
        let during = "make the container's namespaces";
        while self.process.is_none() {
            match self.step(deadline, during)? {
                Some(Report::Spawned { .. }) => {}
                Some(_) => return Err(disorder()),
                None => return Err(LaunchError::Killed { during }),
            }
        }
        Ok(())
    }

    /// Goes on until the process waits to be started.
    pub(crate) fn reach_ready(&mut self, deadline: Instant) -> Result<(), LaunchError> {
        let during = "build the container";
        loop {
            match self.step(deadline, during)? {
                Some(Report::Ready) if self.process.is_some() => return Ok(()),
                Some(Report::Executing | Report::Seed | Report::Ready) => return Err(disorder()),
                Some(_) => {}
                None => return Err(LaunchError::Killed { during }),
            }
        }
    }

    /// Goes on until the process runs its program.
    pub(crate) fn reach_running(&mut self, deadline: Instant) -> Result<(), LaunchError> {
        let during = "execute the program";
        let mut executing = false;
        loop {
            match self.step(deadline, during)? {
                Some(Report::Executing) if self.process.is_some() => executing = true,
                Some(Report::Executing | Report::Seed | Report::Ready) => return Err(disorder()),
                Some(_) => {}
                None if executing => return Ok(()),
                None => return Err(LaunchError::Killed { during }),
            }
        }
    }

    /// Takes in one report.
    fn step(
        &mut self,
        deadline: Instant,
        during: &'static str,
    ) -> Result<Option<Report>, LaunchError> {
        let Some((report, descriptors)) = self.next(deadline, during)? else { return Ok(None) };
        let descriptor = descriptors.into_iter().next();
        match (&report, descriptor) {
            (Report::Spawned { pid }, Some(pidfd)) => {
                let pid = Pid::from_raw(*pid).ok_or_else(disorder)?;
                self.process = Some((pid, pidfd));
            }
            (Report::Terminal, Some(master)) => self.terminal = Some(master),
            (Report::Spawned { .. } | Report::Terminal, None) => return Err(disorder()),
            _ => {}
        }
        Ok(Some(report))
    }

    /// The next report, with failures turned into errors.
    pub(crate) fn next(
        &mut self,
        deadline: Instant,
        during: &'static str,
    ) -> Result<Option<(Report, Vec<OwnedFd>)>, LaunchError> {
        let read = |source| LaunchError::Helper { action: "hear", source };
        if !wire::wait_readable(self.control.as_fd(), deadline).map_err(read)? {
            return Err(LaunchError::Deadline { during, after: self.began.elapsed() });
        }
        match wire::receive(self.control.as_fd()).map_err(read)? {
            Some((Report::Failed(failure), _)) => Err(failure.into()),
            other => Ok(other),
        }
    }

    /// Lets go of a process that runs.
    pub(crate) fn into_started(mut self) -> Result<Started, LaunchError> {
        let (pid, pidfd) = self.process.take().ok_or_else(disorder)?;
        // It runs: the cgroup is its own now.
        self.cgroup = None;
        Ok(Started { pid, pidfd, terminal: self.terminal.take() })
    }

    #[expect(
        clippy::let_underscore_must_use,
        reason = "to kill and to reap fail only when there is nothing left to kill or reap"
    )]
    fn undo(&mut self) -> Result<(), CgroupError> {
        if let Some((_, pidfd)) = self.process.take() {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = reap(pidfd.as_fd());
        }
        // One that has done its work has ended by itself.
        let _ = self.helper.kill();
        let _ = self.helper.wait();
        match self.cgroup.take() {
            Some(cgroup) => {
                let deadline = Instant::now() + REMOVE_LIMIT;
                cgroup.kill_all(deadline)?;
                cgroup.remove(deadline)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        #[expect(
            clippy::let_underscore_must_use,
            reason = "nobody is left to tell: who wants to know calls `abort`, and the name of \
                      a cgroup left over is in the configuration, for the next clean-up"
        )]
        let _ = self.undo();
    }
}

fn disorder() -> LaunchError {
    LaunchError::Helper { action: "understand", source: Errno::PROTO.into() }
}
