//! The end of a cgroup: kill what is in it, wait until it is empty, remove it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rolltop_fail_points as fail_points;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Cgroup, CgroupError, children, read, write};

/// How long to wait before another try where the kernel offers no event:
/// between the end of a process and its leaving a version 1 cgroup.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

// === impl Cgroup ===

impl Cgroup {
    /// Kills every process in it and below, and waits until none is left.
    /// Calling it again is harmless, and so is calling it when it is gone.
    ///
    /// # Errors
    /// [`CgroupError::NotEmpty`] at the deadline, or a file refuses.
    pub fn kill_all(&self, deadline: Instant) -> Result<(), CgroupError> {
        if let Some(directory) = &self.unified {
            let kill = directory.join("cgroup.kill");
            match write(&kill, "1") {
                Ok(()) => {
                    // A process frozen by version 1 dies when it is thawed.
                    self.set_legacy_freezer("THAWED")?;
                    wait_until_empty(directory, deadline)?;
                }
                // Gone, or a kernel before 5.14.
                Err(CgroupError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.kill_one_by_one(deadline)
    }

    /// Removes it and the cgroups below, all empty by now or soon: a process
    /// leaves a moment after it ends. Gone already is as good.
    ///
    /// # Errors
    /// [`CgroupError::NotEmpty`] at the deadline, or a directory refuses. All
    /// the others are removed nevertheless.
    pub fn remove(&self, deadline: Instant) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for directory in self.directories() {
            result = result.and(remove_tree(directory, deadline));
        }
        result
    }

    /// Without `cgroup.kill`: a frozen cgroup cannot fork away from its end.
    fn kill_one_by_one(&self, deadline: Instant) -> Result<(), CgroupError> {
        if self.procs()?.is_empty() {
            return Ok(());
        }
        self.set_legacy_freezer("FROZEN")?;
        let signalled = self.signal_each();
        self.set_legacy_freezer("THAWED")?;
        loop {
            let victims = signalled.as_ref().map_or(&[][..], Vec::as_slice);
            for victim in victims {
                poll_until(victim, PollFlags::IN, deadline).map_err(|source| {
                    CgroupError::File {
                        action: "await the end of a process in",
                        path: self.tracking().next().map(Path::to_path_buf).unwrap_or_default(),
                        source,
                    }
                })?;
            }
            if self.procs()?.is_empty() {
                return signalled.map(|_| ());
            }
            if Instant::now() >= deadline {
                let path = self.tracking().next().map(Path::to_path_buf).unwrap_or_default();
                return Err(CgroupError::NotEmpty { path });
            }
            // Not frozen (no freezer), and something forked: again.
            self.signal_each()?;
            std::thread::sleep(PAUSE);
        }
    }

    fn signal_each(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let mut victims = Vec::new();
        for pid in self.procs()? {
            let killed = pidfd_open(pid, PidfdFlags::empty())
                .and_then(|pidfd| pidfd_send_signal(&pidfd, Signal::KILL).map(|()| pidfd));
            match killed {
                Ok(pidfd) => victims.push(pidfd),
                Err(Errno::SRCH) => {}
                Err(error) => {
                    let path = format!("/proc/{}", pid.as_raw_nonzero()).into();
                    return Err(CgroupError::File { action: "kill", path, source: error.into() });
                }
            }
        }
        Ok(victims)
    }
}

/// Waits for `populated 0` in `cgroup.events`, which the kernel announces.
fn wait_until_empty(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.events");
    let fail = |source| CgroupError::File { action: "watch", path: path.clone(), source };
    let watched = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if super::gone(&error) => return Ok(()),
        Err(source) => return Err(fail(source)),
    };
    loop {
        // The kernel announces what changes after the last read.
        let text = match read_again(&watched) {
            Ok(text) => text,
            Err(error) if super::gone(&error) => return Ok(()),
            Err(source) => return Err(fail(source)),
        };
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        if !poll_until(&watched, PollFlags::PRI, deadline).map_err(fail)? {
            return Err(CgroupError::NotEmpty { path: directory.into() });
        }
    }
}

pub(super) fn read_again(file: &fs::File) -> io::Result<String> {
    let mut text = [0; 256];
    let length = rustix::io::pread(file, &mut text, 0)?;
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

/// Waits for an event. `false`: the deadline came first.
pub(super) fn poll_until(
    file: &impl AsFd,
    events: PollFlags,
    deadline: Instant,
) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(file, events)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the leaves first.
fn remove_tree(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    loop {
        let removed = fs::remove_dir(directory);
        fail_points::pass("remove control group directory");
        match removed {
            Ok(()) => return Ok(()),
            Err(error) if super::gone(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(source) => {
                return Err(CgroupError::File { action: "remove", path: directory.into(), source });
            }
        }
        let below = children(directory)?;
        for child in &below {
            remove_tree(child, deadline)?;
        }
        if !below.is_empty() {
            continue;
        }
        if Instant::now() >= deadline {
            return Err(CgroupError::NotEmpty { path: directory.into() });
        }
        if read(&directory.join("cgroup.events")).is_ok_and(|text| text.contains("populated 1")) {
            wait_until_empty(directory, deadline)?;
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}
