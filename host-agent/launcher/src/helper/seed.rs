//! The mount namespace that containers start from.
//!
//! A new mount namespace is a copy of its maker's, mount by mount: on a host
//! with a thousand desktops, thousands of mounts to copy, make private, and
//! throw away. The seed has next to none. It is made once per agent and kept
//! by a descriptor; each launch copies it instead.
//!
//! Its root is a small read-only tmpfs:
//! - `root`: where a container's root goes before it becomes the root;
//! - `proc`, `sys`: file systems in full view. The kernel lets a user namespace
//!   mount its own only where it sees one of the host's already
//!   (`mnt_already_visible` in `fs/namespace.c`);
//! - `null`, `empty`: what masked paths show.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount_change,
    mount_remount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::mounts::{attach, new_file_system};
use crate::error::{AtStage, Failure, Stage};
use crate::wire::{self, Report};

/// Paths in the seed, as containers' processes see them at first.
pub(super) const ROOT: &str = "/root";
pub(super) const NULL: &str = "/null";
pub(super) const EMPTY: &str = "/empty";

/// Makes the namespace and sends it over `control`.
pub(super) fn make(control: BorrowedFd<'_>) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).at(Stage::MakeSeed, "unshare")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).at(Stage::MakeSeed, "private")?;
    let root = build()?;
    fchdir(&root).at(Stage::MakeSeed, "fchdir")?;
    pivot_root(".", ".").at(Stage::MakeSeed, "pivot_root")?;
    // The old root lies on top of the new one now; see pivot_root(2).
    unmount(".", UnmountFlags::DETACH).at(Stage::MakeSeed, "umount")?;
    chdir("/").at(Stage::MakeSeed, "chdir")?;
    mount_remount("/", MountFlags::RDONLY, c"").at(Stage::MakeSeed, "remount")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())
        .at(Stage::MakeSeed, "/proc/self/ns/mnt")?;
    wire::send(control, &Report::Seed, &[namespace.as_fd()]).at(Stage::MakeSeed, "report")
}

/// The tree, mounted over the root of this namespace but reached through its
/// descriptor only.
fn build() -> Result<OwnedFd, Failure> {
    let null = open_tree(CWD, "/dev/null", OpenTreeFlags::OPEN_TREE_CLONE | CLOEXEC)
        .at(Stage::MakeSeed, "/dev/null")?;
    let options = [("mode", Some("0755")), ("size", Some("16k")), ("nr_inodes", Some("16"))];
    let guarded = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root =
        new_file_system("tmpfs", "rolltop", options, guarded).at(Stage::MakeSeed, "tmpfs")?;
    let over = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::MakeSeed, "/")?;
    attach(root.as_fd(), over.as_fd()).at(Stage::MakeSeed, "attach")?;
    let open = MountAttrFlags::empty();
    for directory in [ROOT, EMPTY, "/proc", "/sys"] {
        place(&root, directory)?;
    }
    for (kind, directory) in [("proc", "/proc"), ("sysfs", "/sys")] {
        let mount = new_file_system(kind, kind, [], open).at(Stage::MakeSeed, kind)?;
        attach(mount.as_fd(), at(&root, directory)?.as_fd()).at(Stage::MakeSeed, directory)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(&root, below(NULL), flags, Mode::empty()).at(Stage::MakeSeed, NULL)?;
    attach(null.as_fd(), at(&root, NULL)?.as_fd()).at(Stage::MakeSeed, NULL)?;
    Ok(root)
}

const CLOEXEC: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLOEXEC;

fn below(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn place(root: &OwnedFd, directory: &str) -> Result<(), Failure> {
    mkdirat(root, below(directory), Mode::from_raw_mode(0o555)).at(Stage::MakeSeed, directory)
}

fn at(root: &OwnedFd, path: &str) -> Result<OwnedFd, Failure> {
    openat(root, below(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::MakeSeed, path)
}
