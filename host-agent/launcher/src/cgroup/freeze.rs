//! Holding all processes of a cgroup still.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::PollFlags;

use super::end::{PAUSE, poll_until, read_again};
use super::{Cgroup, CgroupError, gone, read, write};

// === impl Cgroup ===

impl Cgroup {
    /// Holds every process in it and below still, those to come included, and
    /// returns when all are. They can still be killed. Calling it again is
    /// harmless.
    ///
    /// # Errors
    /// [`CgroupError::NotFrozen`] at the deadline: then none is held.
    pub fn freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        let frozen = self.try_freeze(deadline);
        if frozen.is_err() {
            self.thaw()?;
        }
        frozen
    }

    /// Lets them go on, whoever froze them. One that is not frozen, or gone, is
    /// success.
    ///
    /// # Errors
    /// A file refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        if let Some(directory) = self.unified_freezer() {
            unless_gone(write(&directory.join("cgroup.freeze"), "0"))?;
        }
        self.set_legacy_freezer("THAWED")
    }

    fn try_freeze(&self, deadline: Instant) -> Result<(), CgroupError> {
        if let Some(directory) = self.unified_freezer() {
            write(&directory.join("cgroup.freeze"), "1")?;
            return wait_until_frozen(directory, deadline);
        }
        let Some(directory) = &self.freezer else {
            return Err(CgroupError::NoHierarchy { controller: "freezer".into() });
        };
        self.set_legacy_freezer("FROZEN")?;
        // `FREEZING` until all are; the kernel announces nothing.
        while read(&directory.join("freezer.state"))?.trim() != "FROZEN" {
            if Instant::now() >= deadline {
                return Err(CgroupError::NotFrozen { path: directory.clone() });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Version 2 freezes without any controller, from Linux 5.2 on.
    fn unified_freezer(&self) -> Option<&Path> {
        self.unified.as_deref().filter(|directory| directory.join("cgroup.freeze").exists())
    }

    /// Nothing where there is no such hierarchy.
    pub(super) fn set_legacy_freezer(&self, state: &str) -> Result<(), CgroupError> {
        let Some(directory) = &self.freezer else { return Ok(()) };
        unless_gone(write(&directory.join("freezer.state"), state))
    }
}

fn unless_gone(done: Result<(), CgroupError>) -> Result<(), CgroupError> {
    match done {
        Err(CgroupError::File { source, .. }) if gone(&source) => Ok(()),
        done => done,
    }
}

/// Waits for `frozen 1` in `cgroup.events`, which the kernel announces.
fn wait_until_frozen(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let path: PathBuf = directory.join("cgroup.events");
    let fail = |source| CgroupError::File { action: "watch", path: path.clone(), source };
    let watched = fs::File::open(&path).map_err(fail)?;
    loop {
        // The kernel announces what changes after the last read.
        let text = read_again(&watched).map_err(fail)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        if !poll_until(&watched, PollFlags::PRI, deadline).map_err(fail)? {
            return Err(CgroupError::NotFrozen { path: directory.into() });
        }
    }
}
