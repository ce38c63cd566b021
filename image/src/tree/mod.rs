//! Changing a tree that is not trusted.
//!
//! Every path is resolved by the kernel as a program would whose root is the
//! tree: `/` and `..` and links stay within. The last name is never followed.
//! The tree's own root is private to this process while it is changed.

mod inner;
mod remove;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

pub(crate) use inner::InnerPath;
pub use inner::InnerPathError;

use crate::inside;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW);

/// A tree and the way into it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

/// The directory in which a name lies, and the name.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    pub(crate) dir: OwnedFd,
    pub(crate) name: &'p OsStr,
}

// === impl Tree ===

impl Tree {
    /// By a path the caller vouches for.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: inside::open_dir(path)? })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Where `path` lies; its directory must be there. The root has no place.
    pub(crate) fn place<'p>(&self, path: &'p InnerPath) -> io::Result<Place<'p>> {
        let (dir, name) = path.split().ok_or(Errno::INVAL)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        Ok(Place { dir: inside::open_in_root(&self.root, dir, flags)?, name })
    }

    /// The same, with directories made on the way: mode 0755, root's.
    pub(crate) fn place_made<'p>(&self, path: &'p InnerPath) -> io::Result<Place<'p>> {
        match self.place(path) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            other => return other,
        }
        if let Some(parent) = path.parent() {
            let place = self.place_made(&parent)?;
            match rustix::fs::mkdirat(&place.dir, place.name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => {}
                made => {
                    made?;
                    // Whatever the umask.
                    place.set_mode_of_dir(0o755)?;
                }
            }
        }
        self.place(path)
    }

    /// What lies there; the last name is not followed.
    pub(crate) fn stat(&self, path: &InnerPath) -> io::Result<Option<Stat>> {
        let found = match path.split() {
            None => rustix::fs::fstat(&self.root).map(Some).map_err(io::Error::from),
            Some(_) => self.place(path).and_then(|place| place.stat()),
        };
        match found {
            Err(e) if inside::is_absent(&e) => Ok(None),
            other => other,
        }
    }

    /// Whether there is such a file, links followed within the tree.
    pub(crate) fn has(&self, path: &str) -> io::Result<bool> {
        match inside::open_in_root(&self.root, path, OFlags::PATH) {
            Ok(_) => Ok(true),
            Err(e) if inside::is_absent(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// A small text file, links followed within the tree; `None` if it is not there.
    pub(crate) fn read_text(&self, path: &str, limit: u64) -> io::Result<Option<String>> {
        // Non-blocking: a FIFO in its place must not hang the reader.
        match inside::open_in_root(&self.root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => inside::read_text(file, limit).map(Some),
            Err(e) if inside::is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Puts a file of root's there, in place of whatever is there.
    pub(crate) fn write(&self, path: &InnerPath, text: &str, mode: u32) -> io::Result<()> {
        let place = self.place_made(path)?;
        place.remove()?;
        let mut file = place.create(mode)?;
        file.write_all(text.as_bytes())
    }

    /// Puts a link there, in place of whatever is there.
    pub(crate) fn link(&self, path: &InnerPath, target: &str) -> io::Result<()> {
        let place = self.place_made(path)?;
        place.remove()?;
        Ok(rustix::fs::symlinkat(target, &place.dir, place.name)?)
    }

    /// Makes sure that a directory is there, with this mode and root's.
    pub(crate) fn directory(&self, path: &InnerPath, mode: u32) -> io::Result<()> {
        let place = self.place_made(path)?;
        if place.file_type()? != Some(FileType::Directory) {
            place.remove()?;
            rustix::fs::mkdirat(&place.dir, place.name, Mode::from_raw_mode(0o755))?;
        }
        let dir = place.open(DIRECTORY)?;
        rustix::fs::fchown(&dir, Some(Uid::ROOT), Some(Gid::ROOT))?;
        Ok(rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?)
    }

    /// Removes what lies there, with all that is in it; `false` if nothing does.
    pub(crate) fn remove(&self, path: &InnerPath) -> io::Result<bool> {
        match self.place(path) {
            Ok(place) => place.remove(),
            Err(e) if inside::is_absent(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Names in a directory of the tree that is no link; none if there is no such directory.
    pub(crate) fn names(&self, path: &InnerPath) -> io::Result<Vec<std::ffi::OsString>> {
        let dir = match self.place(path).and_then(|place| place.open(DIRECTORY)) {
            Ok(dir) => dir,
            Err(e) if inside::is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        remove::names(&dir)
    }

    /// Names in the root.
    pub(crate) fn root_names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        remove::names(&self.root)
    }

    /// Removes all that is in a directory, the root included; how many names there were.
    pub(crate) fn empty(&self, path: &InnerPath) -> io::Result<usize> {
        let dir = match path.split() {
            None => {
                rustix::fs::openat(&self.root, ".", DIRECTORY | OFlags::CLOEXEC, Mode::empty())?
            }
            Some(_) => match self.place(path).and_then(|place| place.open(DIRECTORY)) {
                Ok(dir) => dir,
                Err(e) if inside::is_absent(&e) => return Ok(0),
                Err(e) => return Err(e),
            },
        };
        remove::all_in(&dir)
    }
}

// === impl Place ===

impl Place<'_> {
    pub(crate) fn stat(&self) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn file_type(&self) -> io::Result<Option<FileType>> {
        Ok(self.stat()?.as_ref().map(inside::file_type))
    }

    /// Opens what lies there, unless it is a link.
    pub(crate) fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, self.name, flags, Mode::empty())?)
    }

    /// Makes a file where nothing is.
    pub(crate) fn create(&self, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, self.name, flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(file.into())
    }

    pub(crate) fn set_mode_of_dir(&self, mode: u32) -> io::Result<()> {
        let dir = self.open(DIRECTORY)?;
        Ok(rustix::fs::fchmod(dir, Mode::from_raw_mode(mode))?)
    }

    /// Removes what lies there, with all that is in it; `false` if nothing does.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        remove::name(&self.dir, self.name)
    }
}

#[cfg(test)]
mod tests;
