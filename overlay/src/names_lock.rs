//! One caller at a time where kept overlays get and lose their names: of this
//! host, or of any that reaches the directory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::dir_lock::{lock_waiting, unlock};
use crate::step::{Step, StepError};

/// A locked file beside the directory with the names. The lock ends with the
/// value, and with the process.
///
/// Not the directory itself: NFS makes `flock` one between hosts for files that
/// are open for writing (flock(2)), and no directory ever is.
#[derive(Debug)]
pub(crate) struct NamesLock {
    file: File,
}

// === impl NamesLock ===

impl NamesLock {
    /// Waits for another holder.
    pub(crate) fn take(path: &Path) -> Result<Self, StepError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).step("open", path)?;
        lock_waiting(&file).step("lock", path)?;
        Ok(Self { file })
    }
}

impl Drop for NamesLock {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}
