//! One caller at a time in a directory that mounts are made in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::step::{Step, StepError};

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
        lock_waiting(&dir, FlockOperation::LockExclusive).step("lock", path)?;
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

/// `flock` that a signal does not end early.
pub(crate) fn lock_waiting(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
