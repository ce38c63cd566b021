//! One caller at a time in a directory that mounts are made in.
//!
//! The wait for another has an end: it may be a process that waits for an NFS
//! server, which even SIGKILL ends only when the kernel lets go of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::step::{Step, StepError};

/// How long another may hold a directory. What is done under the lock takes
/// milliseconds, or seconds for a damaged overlay.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a lock that is held.
const PAUSE: Duration = Duration::from_millis(2);

/// An open directory, locked against other processes and threads. The lock
/// ends with the value, and with the process.
#[derive(Debug)]
pub(crate) struct DirLock {
    dir: File,
}

// === impl DirLock ===

impl DirLock {
    /// Locks `path`, creating it (for its owner alone) if it is missing. Waits
    /// for another holder.
    pub(crate) fn create(path: &Path) -> Result<Self, StepError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).step("create", parent)?;
        }
        loop {
            match std::fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.step("create", path)?,
            }
            if let Some(lock) = Self::existing(path)? {
                return Ok(lock);
            }
        }
    }

    /// Locks `path` if it exists. Waits for another holder.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>, StepError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
            Ok(fd) => File::from(fd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).step("open", path),
        };
        lock_waiting(&dir).step("lock", path)?;
        // The holder we waited for may have removed it.
        let links = dir.metadata().step("stat", path)?.nlink();
        Ok((links > 0).then_some(Self { dir }))
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        unlock(&self.dir);
    }
}

impl AsFd for DirLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Ends a lock at once. Closing the file alone ends it later if another thread
/// has just started a child, which has a copy until it executes its program.
pub(crate) fn unlock(file: &File) {
    if let Err(error) = flock(file, FlockOperation::Unlock) {
        // Not for a file that is open.
        tracing::warn!(%error, "cannot unlock");
    }
}

/// An exclusive lock, waited for; with an end to the waiting, which `flock`
/// itself does not have.
pub(crate) fn lock_waiting(file: &File) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let held = format!("another process has held it for {PATIENCE:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, held));
            }
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
