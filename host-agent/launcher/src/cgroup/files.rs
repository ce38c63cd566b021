//! Files and directories of cgroup file systems.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rolltop_fail_points as fail_points;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::CgroupError;

pub(super) fn make_directory(path: &Path) -> Result<(), CgroupError> {
    let attempt = match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::create_dir(path))
        }
        result => result,
    };
    fail_points::pass("make control group");
    match attempt {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(CgroupError::Exists { path: path.to_path_buf() })
        }
        Err(source) => Err(CgroupError::File { action: "make", path: path.to_path_buf(), source }),
    }
}

pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, CgroupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| CgroupError::File {
        action: "open",
        path: path.to_path_buf(),
        source: error.into(),
    })
}

pub(super) fn collect_procs(directory: &Path, found: &mut Vec<Pid>) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.procs");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup, which a container may make below its own: its
        // processes are in the list of one above.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            String::new()
        }
        Err(source) => return Err(CgroupError::File { action: "read", path, source }),
    };
    for line in text.lines() {
        let pid = line.parse().ok().and_then(Pid::from_raw);
        found.push(
            pid.ok_or_else(|| CgroupError::Garbage { path: path.clone(), text: line.into() })?,
        );
    }
    for child in children(directory)? {
        collect_procs(&child, found)?;
    }
    Ok(())
}

/// The cgroups right below; none if the directory is gone.
pub(super) fn children(directory: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let fail = |source| CgroupError::File { action: "list", path: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(Vec::new()),
        Err(source) => return Err(fail(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A cgroup that is removed while its file is open answers `ENODEV`.
pub(super) fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::File {
        action: "read",
        path: path.to_path_buf(),
        source,
    })
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    // Not `fs::write`: it would create a file that the controller lacks, and on
    // this file system get EACCES for it instead of the telling ENOENT.
    let result = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    result.map_err(|source| CgroupError::File { action: "write", path: path.to_path_buf(), source })
}
