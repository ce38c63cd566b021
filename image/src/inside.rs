//! Looking into trees that are not trusted.
//!
//! All paths are resolved by the kernel (`openat2(2)`, Linux 5.6): nothing here
//! follows a link out of the tree, whatever its content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};

/// Opens a path below `dir` that may contain no link at all.
pub(crate) fn open_beneath(
    dir: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(dir, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Opens a path as a program whose root is `dir` would: absolute links and `..`
/// stay within it.
pub(crate) fn open_in_root(
    dir: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(dir, path.as_ref(), flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Opens a directory by a path the caller vouches for.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether `path`, seen from inside `root`, is a file that can be executed.
pub(crate) fn is_program(root: impl AsFd, path: &str) -> io::Result<bool> {
    match open_in_root(root, path, OFlags::PATH) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file)?;
            Ok(file_type(&stat) == FileType::RegularFile && stat.st_mode & 0o111 != 0)
        }
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads a regular file of at most `limit` bytes as text.
pub(crate) fn read_text(file: OwnedFd, limit: u64) -> io::Result<String> {
    let stat = rustix::fs::fstat(&file)?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    File::from(file).take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(text)
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Errors that mean "there is no such file", in any way a path can fail to name one.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    error.raw_os_error().is_some_and(|errno| absent.iter().any(|e| e.raw_os_error() == errno))
}
