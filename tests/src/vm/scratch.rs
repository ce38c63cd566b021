//! Directories that do not outlive their program by long, even if it is killed:
//! the next program that makes one removes those whose owner is gone.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

const LOCK: &str = "lock";

/// A directory, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    // Ends with the process, however it ends.
    _lock: Flock<File>,
}

impl Scratch {
    /// A new directory in `parent`, whose name begins with `prefix`. Others with
    /// such a name that nobody owns any more are removed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(parent: &Path, prefix: &str) -> anyhow::Result<Self> {
        sweep(parent, prefix)?;
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        // It gets its name when it is locked, so that no sweep comes in between.
        let draft = dir.path().join("lock.new");
        let lock = Flock::lock(File::create(&draft)?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)?;
        fs::rename(&draft, dir.path().join(LOCK))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn sweep(parent: &Path, prefix: &str) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))?;
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        // None: not one of these, half made, or just going.
        let Ok(file) = File::open(entry.path().join(LOCK)) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            // Another sweep may be at it.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_owner_any_more_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let owned = Scratch::create(parent.path(), "mine-").unwrap();
        let orphan = parent.path().join("mine-orphan");
        for (dir, file) in [("mine-orphan", "lock"), ("mine-other", "file"), ("others", "lock")] {
            fs::create_dir(parent.path().join(dir)).unwrap();
            fs::write(parent.path().join(dir).join(file), "").unwrap();
        }
        let _next = Scratch::create(parent.path(), "mine-").unwrap();
        assert!(!orphan.exists());
        assert!(owned.path().join("lock").exists());
        assert!(parent.path().join("mine-other").exists(), "it has no lock: not one of these");
        assert!(parent.path().join("others").exists());
    }
}
