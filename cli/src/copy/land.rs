//! A tar stream from a desktop, put into a directory of ours and nowhere else.
//!
//! Whoever rules the desktop wrote it. So no member's path is resolved by
//! string: the kernel opens each parent beneath the target and follows no link
//! on the way (`openat2`). Nothing is written through what is there: files come
//! up under another name and take their own at the end. Links may point
//! anywhere, for they are only data here, and later members do not get through
//! them. A hard link can only name what the same stream has brought. Devices,
//! pipes and set-id bits do not come along.

use std::{
    cell::Cell,
    collections::HashSet,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, futimens, linkat,
        mkdirat, openat, openat2, renameat, symlinkat, unlinkat,
    },
    io::Errno,
};
use tar::{Archive, Entry, EntryType};
use thiserror::Error;

/// Of headers and names between two members: they go to memory whole.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Skipped members that are named.
const MAX_NAMED: usize = 5;
/// What a mode may say of a file; set-id and sticky bits it may not.
const MODE_BITS: u32 = 0o777;

/// Why a stream did not land.
#[derive(Debug, Error)]
pub(crate) enum LandError {
    /// The stream breaks off, or is none.
    #[error("what comes out of the desktop is no tar stream")]
    Stream(#[source] io::Error),
    /// A member that wants to be elsewhere.
    #[error(
        "the desktop sends a file named {path:?}, which is not beneath what was asked for; nothing of it was written"
    )]
    Outside { path: PathBuf },
    /// A hard link to something of ours.
    #[error(
        "the desktop sends {path:?} as a link to {target:?}, which it has not sent; nothing of it was written"
    )]
    ForeignLink { path: PathBuf, target: PathBuf },
    /// On our side.
    #[error("cannot write {path:?}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What has landed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Members that are neither files, directories nor links; the first of them.
    pub(crate) skipped: Vec<PathBuf>,
    pub(crate) skipped_count: u64,
}

/// What the members' paths become.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    /// Their first part must be `from` and becomes `to`.
    Renamed { from: OsString, to: OsString },
    /// They stay as they are.
    AsIs,
}

/// Takes a whole stream into the directory `dir`. `tell` hears of bytes.
///
/// # Errors
/// What came before the fault has landed.
pub(crate) fn land(
    stream: impl Read,
    dir: &Path,
    naming: &Naming,
    tell: impl FnMut(u64),
) -> Result<Landed, LandError> {
    let failed = |source: Errno| LandError::Write { path: dir.into(), source: source.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, dir, flags, Mode::empty()).map_err(failed)?;
    let budget = Rc::new(Cell::new(MAX_HEADER_BYTES));
    let mut archive = Archive::new(Bounded { inner: stream, budget: Rc::clone(&budget) });
    let mut landing = Landing {
        root,
        naming,
        tell,
        files: HashSet::new(),
        modes: Vec::new(),
        landed: Landed::default(),
    };
    for entry in archive.entries().map_err(LandError::Stream)? {
        // Its content is not held in memory.
        budget.set(u64::MAX);
        landing.take(entry.map_err(LandError::Stream)?)?;
        budget.set(MAX_HEADER_BYTES);
    }
    landing.finish()
}

/// Refuses to give more than the budget.
struct Bounded<R> {
    inner: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            return Err(io::Error::other("a header is larger than any name"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.inner.read(&mut buffer[..most])?;
        self.budget.set(left.saturating_sub(got as u64));
        Ok(got)
    }
}

struct Landing<'a, T> {
    root: OwnedFd,
    naming: &'a Naming,
    tell: T,
    /// Files this stream has brought.
    files: HashSet<PathBuf>,
    /// Of directories, for the end: until then we must be able to write there.
    modes: Vec<(PathBuf, u32)>,
    landed: Landed,
}

impl<T: FnMut(u64)> Landing<'_, T> {
    fn take(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), LandError> {
        let given = entry.path().map_err(LandError::Stream)?.into_owned();
        let path = self.renamed(&given)?;
        let mode = entry.header().mode().map_err(LandError::Stream)? & MODE_BITS;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => self.directory(path, mode),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(path, mode, &mut entry)
            }
            EntryType::Symlink => {
                let target = link_name(&entry)?;
                self.replace(&path, |parent, draft| symlinkat(&target, parent, draft))
            }
            EntryType::Link => {
                let target = link_name(&entry)?;
                let known = self.renamed(&target)?;
                if !self.files.contains(&known) {
                    return Err(LandError::ForeignLink { path: given, target });
                }
                let (from, name) = self.place(&known)?;
                self.replace(&path, |parent, draft| {
                    linkat(&from, &name, parent, draft, AtFlags::empty())
                })
            }
            // Of all that follows: comments and the like.
            EntryType::XGlobalHeader => Ok(()),
            _ => {
                self.landed.skipped_count += 1;
                if self.landed.skipped.len() < MAX_NAMED {
                    self.landed.skipped.push(given);
                }
                Ok(())
            }
        }
    }

    /// Where a member belongs, beneath the target.
    fn renamed(&self, given: &Path) -> Result<PathBuf, LandError> {
        let outside = || LandError::Outside { path: given.into() };
        let mut parts = Vec::new();
        for part in given.components() {
            match part {
                Component::Normal(name) => parts.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(outside());
                }
            }
        }
        if let Naming::Renamed { from, to } = self.naming {
            match parts.first_mut() {
                Some(first) if *first == from => *first = to,
                _ => return Err(outside()),
            }
        }
        Ok(parts.iter().collect())
    }

    fn directory(&mut self, path: PathBuf, mode: u32) -> Result<(), LandError> {
        // The target itself.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let (parent, name) = self.place(&path)?;
        match mkdirat(&parent, &name, Mode::RWXU) {
            // There is one already, and keeps its mode; if it is none, then so
            // will say the first that wants in.
            Err(Errno::EXIST) => return self.open_dir(&path).map(drop),
            other => other.map_err(|source| failed(&path, source))?,
        }
        self.modes.push((path, mode));
        Ok(())
    }

    fn file(
        &mut self,
        path: PathBuf,
        mode: u32,
        entry: &mut Entry<'_, impl Read>,
    ) -> Result<(), LandError> {
        let (modified, size) = (entry.header().mtime().ok(), entry.size());
        let tell = &mut self.tell;
        let mut bytes = 0;
        let (parent, name) = place(self.root.as_fd(), &path)?;
        let draft = draft();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&parent, &draft, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(|source| failed(&path, source))?);
        let written = (|| {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let got = entry.read(&mut buffer).map_err(LandError::Stream)?;
                if got == 0 {
                    break;
                }
                let failed = |source| LandError::Write { path: path.clone(), source };
                io::Write::write_all(&mut file, &buffer[..got]).map_err(failed)?;
                bytes += got as u64;
                tell(got as u64);
            }
            // The library takes a stream that breaks off for the file's end.
            if bytes != size {
                return Err(LandError::Stream(io::ErrorKind::UnexpectedEof.into()));
            }
            let finished = set_time(&file, modified)
                .and_then(|()| fchmod(&file, Mode::from_raw_mode(mode)))
                .and_then(|()| renameat(&parent, &draft, &parent, &name));
            finished.map_err(|source| failed(&path, source))
        })();
        if written.is_err() {
            // What is wrong is told; half a file is of no use.
            unlinkat(&parent, &draft, AtFlags::empty()).ok();
        }
        written?;
        self.landed.files += 1;
        self.landed.bytes += bytes;
        self.files.insert(path);
        Ok(())
    }

    /// Makes something under a name of its own, and gives it its place.
    fn replace(
        &mut self,
        path: &Path,
        make: impl FnOnce(BorrowedFd<'_>, &str) -> rustix::io::Result<()>,
    ) -> Result<(), LandError> {
        let (parent, name) = self.place(path)?;
        let draft = draft();
        make(parent.as_fd(), &draft).map_err(|source| failed(path, source))?;
        let renamed = renameat(&parent, &draft, &parent, &name);
        // Two names of one file are left alone by a rename; and after a failure
        // the draft is of no use.
        match unlinkat(&parent, &draft, AtFlags::empty()) {
            Ok(()) | Err(_) => {}
        }
        renamed.map_err(|source| failed(path, source))?;
        self.landed.files += 1;
        Ok(())
    }

    fn place(&self, path: &Path) -> Result<(OwnedFd, OsString), LandError> {
        place(self.root.as_fd(), path)
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd, LandError> {
        open_dir(self.root.as_fd(), path, OFlags::RDONLY)
    }

    /// Innermost first: the outer ones may not be passable afterwards.
    fn finish(self) -> Result<Landed, LandError> {
        for (path, mode) in self.modes.iter().rev() {
            let dir = self.open_dir(path)?;
            fchmod(&dir, Mode::from_raw_mode(*mode)).map_err(|source| failed(path, source))?;
        }
        Ok(self.landed)
    }
}

/// Parent directory and name of what lies beneath `root`.
fn place(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), LandError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(LandError::Outside { path: path.into() });
    };
    Ok((open_dir(root, parent, OFlags::PATH)?, name.to_owned()))
}

fn open_dir(root: BorrowedFd<'_>, path: &Path, how: OFlags) -> Result<OwnedFd, LandError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).map_err(|source| failed(path, source))
}

fn link_name(entry: &Entry<'_, impl Read>) -> Result<PathBuf, LandError> {
    let name = entry.link_name().map_err(LandError::Stream)?;
    let none = || LandError::Stream(io::Error::other("a link to nothing"));
    Ok(name.ok_or_else(none)?.into_owned())
}

fn set_time(file: &File, modified: Option<u64>) -> rustix::io::Result<()> {
    let Some(seconds) = modified.and_then(|seconds| i64::try_from(seconds).ok()) else {
        return Ok(());
    };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    futimens(file, &Timestamps { last_access: time, last_modification: time })
}

/// A name that nothing has.
fn draft() -> String {
    format!(".rolltop-{}", uuid::Uuid::new_v4().simple())
}

fn failed(path: &Path, source: Errno) -> LandError {
    LandError::Write { path: path.into(), source: source.into() }
}

#[cfg(test)]
mod tests;
