//! Taking an open root down, knowing nothing but its directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::dir_lock::DirLock;
use crate::layout::{DISK, MOUNTS};
use crate::mountinfo::mounts_below;
use crate::mounting::is_mount_point;
use crate::step::{Step, StepError};

/// Major number of loop devices.
pub const LOOP_MAJOR: u32 = 7;

/// For how long a device may still be open after its last mount is gone: where
/// udev runs, it reads a loop device whenever one was attached or written.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PROBE_PAUSE: Duration = Duration::from_millis(2);

/// What closing found and did. Closing goes on after an error, so there may be
/// several.
#[derive(Debug, Default)]
#[must_use = "closing reports what it could not do, it does not fail"]
pub struct CloseReport {
    /// Mounts that were taken down, in that order.
    pub unmounted: Vec<PathBuf>,
    /// Of these, the ones something still used: out of the tree, but alive
    /// until their users are gone.
    pub detached: Vec<PathBuf>,
    /// The loop device that still holds the overlay file and its lock, because
    /// something still uses a mount of it: another mount namespace, an open file.
    pub held_by_loop: Option<u32>,
    /// What failed.
    pub errors: Vec<StepError>,
}

// === impl CloseReport ===

impl CloseReport {
    /// Everything is gone, here and in the kernel.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.detached.is_empty() && self.held_by_loop.is_none() && self.errors.is_empty()
    }

    fn note<T>(&mut self, result: Result<T, StepError>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }
}

/// Closes the root in `mount_dir`, whoever opened it, and removes the
/// directory unless something else is in it.
///
/// What is gone already counts as done: it may be called again, and for a root
/// that was half-opened or never opened. What is mounted below goes as well.
pub fn close_root(mount_dir: &Path) -> CloseReport {
    match DirLock::existing(mount_dir) {
        Ok(Some(lock)) => {
            let report = close_locked(mount_dir);
            drop(lock);
            report
        }
        Ok(None) => CloseReport::default(),
        Err(error) => CloseReport { errors: vec![error], ..CloseReport::default() },
    }
}

/// [`close_root`] for who holds the directory's lock.
pub(crate) fn close_locked(mount_dir: &Path) -> CloseReport {
    let mut report = CloseReport::default();
    let device = report.note(loop_device(&mount_dir.join(DISK))).flatten();
    for name in MOUNTS {
        take_down(&mount_dir.join(name), &mut report);
    }
    // A mount that had to be detached has users who may stay for ever.
    let patience = if report.detached.is_empty() { PROBE_LIMIT } else { Duration::ZERO };
    report.held_by_loop =
        device.filter(|(number, file)| !clears(*number, file, patience)).map(|(number, _)| number);
    for name in MOUNTS {
        remove_dir(&mount_dir.join(name), &mut report);
    }
    match rustix::fs::rmdir(mount_dir) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => {
            report.note(Err::<(), _>(error).step("remove", mount_dir));
        }
    }
    report
}

/// Unmounts whatever is at `point`, however many times it was mounted over.
fn take_down(point: &Path, report: &mut CloseReport) {
    let mut below_tried = false;
    loop {
        // Reading the whole mount table is left for when it is needed: its
        // cost grows with the number of desktops.
        match unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) => report.unmounted.push(point.to_owned()),
            // Nothing (more) is mounted there.
            Err(Errno::INVAL | Errno::NOENT) => return,
            Err(Errno::BUSY) if !below_tried => {
                below_tried = true;
                take_down_below(point, report);
            }
            Err(Errno::BUSY) => {
                if !detach(point, report) {
                    return;
                }
            }
            Err(error) => {
                report.note(Err::<(), _>(error).step("unmount", point));
                return;
            }
        }
    }
}

/// Unmounts what is mounted inside of the mount at `point`, newest first.
fn take_down_below(point: &Path, report: &mut CloseReport) {
    let Some(real) = report.note(resolve_parent(point).step("resolve", point)) else {
        return;
    };
    let inside = match mounts_below(&real) {
        Ok(mounts) => mounts,
        Err(error) => {
            let source = std::io::Error::other(error);
            report.errors.push(StepError { verb: "list mounts below", operand: real, source });
            return;
        }
    };
    for mount in inside.iter().rev().filter(|mount| mount.mount_point != real) {
        match unmount(&mount.mount_point, UnmountFlags::NOFOLLOW) {
            Ok(()) => report.unmounted.push(mount.mount_point.clone()),
            // Gone in the meantime, or covered: detaching the whole gets it.
            Err(Errno::INVAL | Errno::NOENT | Errno::BUSY) => {}
            Err(error) => {
                report.note(Err::<(), _>(error).step("unmount", &mount.mount_point));
            }
        }
    }
}

/// Whether loop device `number` gives up `file`, which it does by itself when
/// its last user lets go.
fn clears(number: u32, file: &[u8], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while backing_file(number).as_deref() == Some(file) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(PROBE_PAUSE);
    }
    true
}

/// `point` without links on the way. Its last part is left alone: to look at a
/// mount may mean to ask a server that is gone.
fn resolve_parent(point: &Path) -> std::io::Result<PathBuf> {
    match (point.parent(), point.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => point.canonicalize(),
    }
}

/// Takes a busy mount out of the tree; whether that worked.
fn detach(point: &Path, report: &mut CloseReport) -> bool {
    let result = unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    let done = report.note(result.step("detach", point)).is_some();
    if done {
        report.unmounted.push(point.to_owned());
        report.detached.push(point.to_owned());
    }
    done
}

fn remove_dir(path: &Path, report: &mut CloseReport) {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => {
            report.note(Err::<(), _>(error).step("remove", path));
        }
    }
}

/// N of the /dev/loopN that an open root, or volume, in `mount_dir` has for
/// itself; `None` if nothing is open there, or what is open is on no loop device.
///
/// # Errors
/// The mount point cannot be looked at.
pub fn own_device(mount_dir: &Path) -> Result<Option<u32>, StepError> {
    Ok(loop_device(&mount_dir.join(DISK))?.map(|(number, _)| number))
}

/// The loop device mounted at `disk`, if one is, and the file on it.
fn loop_device(disk: &Path) -> Result<Option<(u32, Vec<u8>)>, StepError> {
    if !is_mount_point(CWD, disk).step("stat", disk)? {
        return Ok(None);
    }
    let device = rustix::fs::stat(disk).step("stat", disk)?.st_dev;
    let (major, number) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major != LOOP_MAJOR {
        return Ok(None);
    }
    Ok(backing_file(number).map(|file| (number, file)))
}

/// The path of the file on a loop device, as the kernel tells it; `None` for a
/// free device.
pub(crate) fn backing_file(number: u32) -> Option<Vec<u8>> {
    let mut path = std::fs::read(format!("/sys/block/loop{number}/loop/backing_file")).ok()?;
    if path.last() == Some(&b'\n') {
        path.pop();
    }
    Some(path)
}

/// N of every /dev/loopN there is, free ones as well.
pub(crate) fn loop_numbers() -> std::io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("loop"));
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(found)
}

/// The files on all loop devices of the host, and on which.
pub(crate) fn attached_files() -> std::io::Result<std::collections::HashMap<Vec<u8>, u32>> {
    let with_file = |number| backing_file(number).map(|file| (file, number));
    Ok(loop_numbers()?.into_iter().filter_map(with_file).collect())
}
