//! A file in the making: nobody sees it before it is whole.
//!
//! It has a name of its own beside its final one, so that a crash leaves
//! something that can be told from the real thing, and a lock, so that clearing
//! such remains does not hit a draft that someone still works on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use thiserror::Error;
use uuid::Uuid;

use crate::dir_lock::unlock;
use crate::step::{Step, StepError};

/// No name of an overlay starts like this.
const PREFIX: &str = ".draft-";

/// Why a draft did not become a file.
#[derive(Debug, Error)]
pub enum DraftError {
    /// The final name is taken; what has it was not touched.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A call failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// A file in the making. Dropped unpublished, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

// === impl Draft ===

impl Draft {
    /// Starts an empty file that is to become `target`.
    pub(crate) fn create(target: &Path) -> Result<Self, DraftError> {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let path = target.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .step("create", &path)?;
        let draft = Self { file, path, target: target.to_owned(), published: false };
        flock(&draft.file, FlockOperation::NonBlockingLockExclusive).step("lock", &draft.path)?;
        Ok(draft)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name, if that is free.
    pub(crate) fn publish(mut self) -> Result<(), DraftError> {
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => {
                self.published = true;
                Ok(())
            }
            Err(Errno::EXIST) => Err(DraftError::Exists(self.target.clone())),
            // NFS has no such rename, but a link does not replace either.
            Err(Errno::INVAL) => match std::fs::hard_link(&self.path, &self.target) {
                // Dropping it removes the first name.
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Err(DraftError::Exists(self.target.clone()))
                }
                Err(error) => Err(error).step("publish", &self.target)?,
            },
            Err(error) => Err(error).step("publish", &self.target)?,
        }
    }

    /// Gives it its final name, whatever had it before.
    pub(crate) fn replace(mut self) -> Result<(), StepError> {
        std::fs::rename(&self.path, &self.target).step("publish", &self.target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        unlock(&self.file);
        if !self.published
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a draft was left behind");
        }
    }
}

/// Removes the drafts in `dir` that nobody works on any more, and says how many.
pub(crate) fn clear_abandoned(dir: &Path) -> Result<usize, StepError> {
    let mut cleared = 0;
    for entry in std::fs::read_dir(dir).step("list", dir)? {
        let entry = entry.step("list", dir)?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => cleared += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).step("remove", &path),
        }
    }
    Ok(cleared)
}

/// Makes renames in `dir` outlast a crash of the host.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StepError> {
    File::open(dir).and_then(|dir| dir.sync_all()).step("sync", dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_published_draft_has_the_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let draft = Draft::create(&target).unwrap();
        draft.file().write_all(b"new").unwrap();
        draft.publish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn publishing_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        std::fs::write(&target, "old").unwrap();
        let error = Draft::create(&target).unwrap().publish().unwrap_err();
        assert!(matches!(error, DraftError::Exists(path) if path == target));
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn clearing_takes_the_abandoned_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".draft-old"), "").unwrap();
        std::fs::write(dir.path().join("kept.ext4"), "").unwrap();
        let alive = Draft::create(&dir.path().join("new.ext4")).unwrap();
        assert_eq!(clear_abandoned(dir.path()).unwrap(), 1);
        assert!(alive.path().exists());
        drop(alive);
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["kept.ext4"]);
    }
}
