//! The lock of an overlay file: who holds it may change what is inside.
//!
//! A mounted overlay's lock belongs to its loop device; a program that works on
//! the file (e2fsck) gets a copy of the descriptor. So the lock outlives a
//! killed caller for exactly as long as something still works on the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::close::attached_files;
use crate::dir_lock::unlock;
use crate::step::{Step, StepError};

/// Why a file was not locked.
#[derive(Debug)]
pub(crate) enum NotLocked {
    /// There is no such file (any more).
    Missing,
    /// Somebody else has it.
    InUse,
    /// A call failed.
    Step(StepError),
}

impl From<StepError> for NotLocked {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

/// An overlay file that is locked until this goes away.
#[derive(Debug)]
pub(crate) struct Locked {
    file: File,
}

// === impl Locked ===

impl Locked {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

/// Locks the file that has the name `path`, without waiting, until it is
/// dropped.
pub(crate) fn lock(path: &Path) -> Result<Locked, NotLocked> {
    lock_file(path).map(|file| Locked { file })
}

/// Opens the file that has the name `path` and locks it for as long as this
/// open file lives, or until it is unlocked.
pub(crate) fn lock_file(path: &Path) -> Result<File, NotLocked> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_CLOEXEC | nix::libc::O_NOFOLLOW)
            .open(path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NotLocked::Missing);
            }
            other => other.step("open", path)?,
        };
        match lock_unless_attached(&file, path) {
            Err(Errno::WOULDBLOCK) => return Err(NotLocked::InUse),
            other => other.step("lock", path)?,
        }
        // Rolling back and repairing put another file under the name.
        if is_named(&file, path)? {
            return Ok(file);
        }
        unlock(&file);
    }
}

/// For how long a loop device that nothing uses any more may keep a lock: its
/// kernel takes the file off it first and closes the file later, in whichever
/// process used it last (`__loop_clr_fd`), which may be one of udev's.
const LETTING_GO: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// Locks the file at `path`; `WOULDBLOCK`: another has it.
fn lock_unless_attached(file: &File, path: &Path) -> Result<(), Errno> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline && !is_attached(path) => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// What cannot be read counts as no.
fn is_attached(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    attached_files().is_ok_and(|files| files.contains_key(path.as_os_str().as_bytes()))
}

/// Whether `path` is a name of this very file.
pub(crate) fn is_named(file: &File, path: &Path) -> Result<bool, StepError> {
    let open = file.metadata().step("stat", path)?;
    match path.symlink_metadata() {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).step("stat", path),
    }
}
