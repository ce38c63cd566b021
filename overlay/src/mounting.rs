//! Mounts made as detached trees and attached when they are complete.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rolltop_sys::mount_attr::{MountChange, change_mount};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_bind, mount_change,
    move_mount, open_tree,
};

use crate::dir_lock::DirLock;
use crate::step::{Step, StepError};

/// Makes `dir` (created for its owner alone if missing) a mount of its own that hands nothing on.
///
/// Where `/` is shared, as systemd makes it, whatever is mounted below it
/// would be copied into the mount namespaces of other services, and would live
/// on there after it was unmounted here. To be called once, at start, for each
/// directory under which roots are mounted, and before anything is mounted below
/// it, which would be hidden. Calling it again changes nothing.
///
/// # Errors
/// The step that failed. A directory that was bound stays so.
pub fn isolate(dir: &Path) -> Result<(), StepError> {
    // Two callers would bind it twice. The lock is the directory's, which the
    // bound one is as well.
    let lock = DirLock::create(dir)?;
    if !is_mount_point(CWD, dir).step("stat", dir)? {
        mount_bind(dir, dir).step("bind to itself", dir)?;
    }
    mount_change(dir, MountPropagationFlags::PRIVATE).step("make private", dir)?;
    drop(lock);
    Ok(())
}

/// Undoes [`isolate`]; fine if it was not done.
///
/// # Errors
/// The unmount, for example `EBUSY` while something is mounted below.
pub fn deisolate(dir: &Path) -> Result<(), StepError> {
    match rustix::mount::unmount(dir, rustix::mount::UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error).step("unmount", dir),
    }
}

/// Whether something is mounted exactly there. A missing path is no mount point.
pub(crate) fn is_mount_point(dir: BorrowedFd<'_>, path: &Path) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(dir, path, flags, StatxFlags::empty()) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A detached copy of the mount that `path` is on, with `path` as its root.
pub(crate) fn detached_copy(path: &Path) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Sets attributes on a detached mount and makes it private.
pub(crate) fn prepare(
    mount: BorrowedFd<'_>,
    set: MountAttrFlags,
    id_map: Option<BorrowedFd<'_>>,
) -> std::io::Result<()> {
    let change = MountChange {
        set: Some(set),
        propagation: Some(MountPropagationFlags::PRIVATE),
        id_map,
        ..MountChange::default()
    };
    change_mount(mount, &change)
}

/// Attaches a detached mount at `name` in `dir`. Below a shared mount it would
/// become shared again, so its privacy is renewed.
pub(crate) fn attach(
    mount: &OwnedFd,
    dir: BorrowedFd<'_>,
    name: impl AsRef<OsStr>,
) -> std::io::Result<()> {
    move_mount(mount, "", dir, name.as_ref(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let change =
        MountChange { propagation: Some(MountPropagationFlags::PRIVATE), ..MountChange::default() };
    change_mount(mount.as_fd(), &change)
}
