//! Finding places in a root that nobody vouches for.
//!
//! The image is not trusted: a link in it may point anywhere, and another
//! container may be changing a directory shared with this one
//! (CVE-2021-30465). So a place is a descriptor, found without ever leaving
//! the root, and used without looking up its path again.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::error::{AtStage, Failure, Stage};

/// What a place is to be when it has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// The container's root under construction.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

/// As many links as the kernel itself follows.
const MAX_LINKS: usize = 40;

const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

// === impl Tree ===

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The place at `path`, links followed within the root, made if missing.
    pub(super) fn place(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Failure> {
        let name = path.display();
        match self.open(path, ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::NOENT) => self.make(path, kind).at(Stage::FindMountPoint, name),
            result => result.at(Stage::FindMountPoint, name),
        }
    }

    /// The directory at `path`, which must not lead through any link.
    pub(super) fn place_without_links(&self, path: &Path) -> Result<OwnedFd, Failure> {
        let name = path.display();
        let open = || self.open(path, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS);
        let place = match open() {
            Err(Errno::NOENT) => self
                .make(path, Kind::Directory)
                .and_then(|_| open())
                .at(Stage::FindMountPoint, &name)?,
            result => result.at(Stage::FindMountPoint, &name)?,
        };
        Ok(place)
    }

    /// The place at `path`, if there is one.
    pub(super) fn find(&self, path: &Path) -> Result<Option<OwnedFd>, Failure> {
        match self.open(path, ResolveFlags::NO_MAGICLINKS) {
            Ok(place) => Ok(Some(place)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).at(Stage::FindMountPoint, path.display()),
        }
    }

    fn open(&self, path: &Path, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        loop {
            let resolve = resolve | ResolveFlags::IN_ROOT;
            match openat2(&self.root, path, PLACE, Mode::empty(), resolve) {
                // A rename somewhere on the host made `..` doubtful; again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Walks by hand and makes what is missing: `openat2` cannot create what
    /// a dangling link points to (`/etc/resolv.conf`, commonly).
    fn make(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let mut links = 0;
        // The way from the root to here; `..` goes back along it, never above.
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut ahead = reversed(path);
        while let Some(step) = ahead.pop() {
            let last = ahead.is_empty();
            let Step::Down(name) = step else {
                if step == Step::Up {
                    way.pop();
                } else {
                    way.clear();
                }
                continue;
            };
            let here = way.last().unwrap_or(&self.root);
            let found = match enter(here, &name) {
                Err(Errno::NOENT) => {
                    create(here, &name, if last { kind } else { Kind::Directory })?;
                    enter(here, &name)?
                }
                result => result?,
            };
            let status = statat(&found, c"", AtFlags::EMPTY_PATH)?;
            if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
                way.push(found);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = readlinkat(&found, c"", Vec::new())?;
            ahead.extend(reversed(&PathBuf::from(OsString::from_vec(target.into_bytes()))));
        }
        match way.pop() {
            Some(place) => Ok(place),
            None => openat(&self.root, c".", PLACE, Mode::empty()),
        }
    }
}

/// One step of a walk.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    ToRoot,
    Up,
    Down(OsString),
}

/// The steps of a path, the first one last.
fn reversed(path: &Path) -> Vec<Step> {
    let step = |part| match part {
        Component::RootDir | Component::Prefix(_) => Some(Step::ToRoot),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_os_string())),
        Component::CurDir => None,
    };
    path.components().rev().filter_map(step).collect()
}

/// Opens one name, a link itself rather than where it points.
fn enter(here: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(here, name, PLACE | OFlags::NOFOLLOW, Mode::empty())
}

fn create(here: &OwnedFd, name: &OsStr, kind: Kind) -> Result<(), Errno> {
    let made = match kind {
        Kind::Directory => mkdirat(here, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(here, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        // Somebody sharing the directory was faster: `enter` looks what it is.
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
