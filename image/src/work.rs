//! Directories in which roots are made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::lock::{self, Sharing};

/// How their names begin.
const PREFIX: &str = "build-";
const LOCK: &str = ".lock";

/// A directory of one's own. It is removed when this is dropped, or by whoever
/// works here next if this process is killed.
#[derive(Debug)]
pub(crate) struct WorkDir {
    dir: TempDir,
    /// Held as long as this process or a program it started works here.
    lock: File,
}

// === impl WorkDir ===

impl WorkDir {
    /// Makes one below `parent`, which is made if missing.
    pub(crate) fn create(parent: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // Nobody may take a directory for dead before it has its lock.
        let door = lock::open(&parent.join(LOCK))?;
        lock::wait(&door, Sharing::Exclusive)?;
        remove_dead(parent)?;
        let dir =
            tempfile::Builder::new().prefix(&format!("{PREFIX}{name}-")).tempdir_in(parent)?;
        let lock = lock::open(&dir.path().join(LOCK))?;
        lock::wait(&lock, Sharing::Exclusive)?;
        Ok(Self { dir, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }
}

/// Removes what killed processes left.
fn remove_dead(parent: &Path) -> io::Result<()> {
    for dir in dead(parent)? {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}

fn dead(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        let free = match File::options().read(true).write(true).open(entry.path().join(LOCK)) {
            Ok(file) => lock::attempt(&file, Sharing::Exclusive)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => true,
            Err(e) => return Err(e),
        };
        if free {
            dead.push(entry.path());
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_stay_and_the_dead_go() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join("build-demo-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(LOCK), "").unwrap();
        fs::create_dir(parent.path().join("build-demo-early")).unwrap();
        fs::create_dir(parent.path().join("not-ours")).unwrap();
        let first = WorkDir::create(parent.path(), "demo").unwrap();
        let second = WorkDir::create(parent.path(), "demo").unwrap();
        assert!(first.path().exists() && second.path().exists());
        assert!(!killed.exists() && !parent.path().join("build-demo-early").exists());
        assert!(parent.path().join("not-ours").exists());
        let inherited = first.lock().try_clone().unwrap();
        let path = first.path().to_owned();
        std::mem::forget(first.dir);
        drop(first.lock);
        let third = WorkDir::create(parent.path(), "demo").unwrap();
        assert!(path.exists(), "a child still works there");
        drop((inherited, third));
        drop(WorkDir::create(parent.path(), "demo").unwrap());
        assert!(!path.exists());
    }
}
