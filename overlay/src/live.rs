//! The disk of an overlay that is mounted here, found from its file alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, makedev, openat};
use rustix::io::Errno;

use crate::close::{LOOP_MAJOR, backing_file, loop_numbers};
use crate::dir_lock::DirLock;
use crate::layout::DISK;
use crate::mountinfo::mounts;
use crate::step::{Step, StepError};
use crate::store_error::StoreError;

/// The mounted ext4 of an overlay. While this is there, closing its root waits.
#[derive(Debug)]
pub(crate) struct Live {
    /* dropped in this order: who closes next must find nothing open */
    disk: OwnedFd,
    loop_number: u32,
    _mount_dir: DirLock,
}

// === impl Live ===

impl Live {
    /// The overlay in `file`, if it is mounted in this mount namespace.
    pub(crate) fn find(file: &Path) -> Result<Option<Self>, StoreError> {
        let Some((loop_number, point)) = mount_point(file)? else { return Ok(None) };
        let Some(mount_dir) = point.parent() else { return Ok(None) };
        let Some(lock) = DirLock::existing(mount_dir)? else { return Ok(None) };
        let disk = open_disk(&point, loop_number)?;
        // Closed, and the device used anew, while we waited for the lock.
        if backing_file(loop_number).is_none_or(|is| is != file.as_os_str().as_bytes()) {
            return Ok(None);
        }
        Ok(disk.map(|disk| Self { disk, loop_number, _mount_dir: lock }))
    }

    /// The root of the ext4.
    pub(crate) fn disk(&self) -> BorrowedFd<'_> {
        self.disk.as_fd()
    }

    /// N of the /dev/loopN the file is on.
    pub(crate) fn loop_number(&self) -> u32 {
        self.loop_number
    }
}

/// The root of the ext4 in `file`, whoever works in its directory just now.
pub(crate) fn disk_of(file: &Path) -> Result<Option<OwnedFd>, StoreError> {
    match mount_point(file)? {
        Some((loop_number, point)) => Ok(open_disk(&point, loop_number)?),
        None => Ok(None),
    }
}

fn open_disk(point: &Path, loop_number: u32) -> Result<Option<OwnedFd>, StepError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let disk = match openat(CWD, point, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.step("open", point)?,
    };
    let found = rustix::fs::fstat(&disk).step("stat", point)?;
    Ok((found.st_dev == makedev(LOOP_MAJOR, loop_number)).then_some(disk))
}

/// Where the overlay in `file` is mounted as a whole, and N of its /dev/loopN.
fn mount_point(file: &Path) -> Result<Option<(u32, PathBuf)>, StoreError> {
    let Some(number) = loop_of(file)? else { return Ok(None) };
    // Other mounts of it are somebody else's, or show a part only: a home in a
    // desktop.
    let found = mounts()?.into_iter().find(|mount| {
        mount.device == (LOOP_MAJOR, number)
            && mount.root == Path::new("/")
            && mount.mount_point.ends_with(DISK)
    });
    Ok(found.map(|mount| (number, mount.mount_point)))
}

/// N of the /dev/loopN that `file` is on, if it is on one.
pub(crate) fn loop_of(file: &Path) -> Result<Option<u32>, StepError> {
    let wanted = file.as_os_str().as_bytes();
    let numbers = loop_numbers().step("list", Path::new("/sys/block"))?;
    Ok(numbers.into_iter().find(|number| backing_file(*number).is_some_and(|is| is == wanted)))
}
