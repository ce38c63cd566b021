//! File systems and mounts, by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rolltop_sys::mount_attr::{MountChange, change_mount};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use super::seed;
use super::tree::{Kind, Tree};
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{MountPlan, MountSource};

/// A mount to be made read-only when all that lies in it is there.
pub(super) struct ReadOnlyLater {
    mount: OwnedFd,
    name: String,
}

/// Makes a file system, mounted nowhere yet.
pub(super) fn new_file_system<'a>(
    kind: &str,
    source: &str,
    options: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    for (name, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, name, value)?,
            None => fsconfig_set_flag(&context, name)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts the tree `mount` on what `place` refers to. No path is looked at, so
/// nothing can come in between.
pub(super) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

/// Makes all mounts of a plan in their order. `binds` has the sources of the
/// bind mounts among them, in the same order.
pub(super) fn make_all(
    tree: &Tree,
    plans: &[MountPlan],
    binds: Vec<OwnedFd>,
) -> Result<Vec<ReadOnlyLater>, Failure> {
    let mut binds = binds.into_iter();
    let mut later = Vec::new();
    for plan in plans {
        let name = plan.destination.display().to_string();
        match &plan.source {
            MountSource::Bind { .. } => {
                let source = binds.next().ok_or(Errno::BADMSG).at(Stage::Mount, &name)?;
                make_bind(tree, plan, &source)?;
            }
            MountSource::New { file_system, source, options } => {
                let options = options.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
                let mut attributes = MountAttrFlags::from_bits_retain(plan.set);
                let delayed = file_system == "tmpfs"
                    && attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
                if delayed {
                    attributes.remove(MountAttrFlags::MOUNT_ATTR_RDONLY);
                }
                let mount = new_file_system(file_system, source, options, attributes)
                    .at(Stage::Mount, &name)?;
                let place = if matches!(file_system.as_str(), "proc" | "sysfs") {
                    // A link here could make a false /proc out of a true one.
                    tree.place_without_links(&plan.destination)?
                } else {
                    tree.place(&plan.destination, Kind::Directory)?
                };
                attach(mount.as_fd(), place.as_fd()).at(Stage::Mount, &name)?;
                if delayed {
                    later.push(ReadOnlyLater { mount, name });
                }
            }
            MountSource::Cgroup => make_cgroups(tree, plan)?,
        }
    }
    Ok(later)
}

/// Its attributes were set by the helper, who has the rights.
fn make_bind(tree: &Tree, plan: &MountPlan, source: &OwnedFd) -> Result<(), Failure> {
    let name = plan.destination.display();
    let found = fstat(source).at(Stage::Mount, &name)?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    let place = tree.place(&plan.destination, kind)?;
    attach(source.as_fd(), place.as_fd()).at(Stage::Mount, name)
}

/// The container's own cgroup, where the host has version 2. A version 1
/// hierarchy would have to be mounted as it is on the host, release agent
/// included (CVE-2022-0492); nothing in a desktop needs one.
fn make_cgroups(tree: &Tree, plan: &MountPlan) -> Result<(), Failure> {
    let name = plan.destination.display();
    let attributes = MountAttrFlags::from_bits_retain(plan.set);
    let mount = new_file_system("cgroup2", "cgroup", [], attributes).at(Stage::Mount, &name)?;
    let place = tree.place(&plan.destination, Kind::Directory)?;
    attach(mount.as_fd(), place.as_fd()).at(Stage::Mount, name)
}

impl ReadOnlyLater {
    pub(super) fn apply(&self) -> Result<(), Failure> {
        let change =
            MountChange { set: Some(MountAttrFlags::MOUNT_ATTR_RDONLY), ..MountChange::default() };
        change_mount(self.mount.as_fd(), &change).at(Stage::MakeReadOnly, &self.name)
    }
}

/// Makes what is at `path` read-only, if anything is.
pub(super) fn make_read_only(tree: &Tree, path: &Path) -> Result<(), Failure> {
    let Some(place) = tree.find(path)? else { return Ok(()) };
    let name = path.display();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(&place, c"", flags).at(Stage::MakeReadOnly, &name)?;
    let change = MountChange {
        set: Some(MountAttrFlags::MOUNT_ATTR_RDONLY),
        propagation: Some(MountPropagationFlags::PRIVATE),
        recursive: true,
        ..MountChange::default()
    };
    change_mount(copy.as_fd(), &change).at(Stage::MakeReadOnly, &name)?;
    attach(copy.as_fd(), place.as_fd()).at(Stage::MakeReadOnly, name)
}

/// Hides what is at `path`, if anything is: a directory behind an empty one, a
/// file behind `/dev/null`. Both come from the seed, not from the container's
/// own `/dev`, which may have been swapped (CVE-2025-31133).
pub(super) fn mask(tree: &Tree, path: &Path) -> Result<(), Failure> {
    let Some(place) = tree.find(path)? else { return Ok(()) };
    let name = path.display();
    let found = statat(&place, c"", AtFlags::EMPTY_PATH).at(Stage::Mask, &name)?;
    let cover = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => seed::EMPTY,
        _ => seed::NULL,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let cover = open_tree(CWD, cover, flags).at(Stage::Mask, &name)?;
    let change =
        MountChange { set: Some(MountAttrFlags::MOUNT_ATTR_RDONLY), ..MountChange::default() };
    change_mount(cover.as_fd(), &change).at(Stage::Mask, &name)?;
    attach(cover.as_fd(), place.as_fd()).at(Stage::Mask, name)
}

/// A true procfs, mounted nowhere: nobody can have put something else there.
pub(super) fn private_proc() -> Result<OwnedFd, Errno> {
    new_file_system("proc", "proc", [], MountAttrFlags::empty())
}

/// Opens a file of [`private_proc`] to write it.
pub(super) fn open_in(proc: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(proc, path, flags, Mode::empty())
}
