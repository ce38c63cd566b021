//! `/dev` of a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::{OFlags, ResolveFlags, openat2, symlinkat};
use rustix::io::Errno;

use super::mounts::attach;
use super::tree::{Kind, Tree};
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{DevicePlan, MountPlan, MountSource};

/// Link name in `/dev`, and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Whether the nodes are this launcher's to make: not where the configuration
/// binds a whole `/dev` of its own.
pub(super) fn wanted(mounts: &[MountPlan]) -> bool {
    mounts.iter().all(|mount| {
        mount.destination != Path::new("/dev") || !matches!(mount.source, MountSource::Bind { .. })
    })
}

/// Binds the host's nodes, opened and checked by the helper. In a user
/// namespace nobody can make nodes (`mknod` needs rights on the whole host), so
/// these are all there ever are.
pub(super) fn make(tree: &Tree, devices: Vec<(DevicePlan, OwnedFd)>) -> Result<(), Failure> {
    for (device, node) in devices {
        let name = device.path.display().to_string();
        let place = tree.place(&device.path, Kind::File)?;
        attach(node.as_fd(), place.as_fd()).at(Stage::MakeDevice, name)?;
    }
    let dev = tree.place(Path::new("/dev"), Kind::Directory)?;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Ok(()) => {}
            // The image's own, where /dev is not mounted: it can only fool itself.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).at(Stage::MakeDevice, format!("/dev/{name}")),
        }
    }
    Ok(())
}

/// Shows the terminal `slave` at `/dev/console`.
pub(super) fn make_console(tree: &Tree, slave: &OwnedFd) -> Result<(), Failure> {
    const NAME: &str = "/dev/console";
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    // Of the descriptor, not of a path that could name another (CVE-2025-52565).
    let mount = open_tree(slave, c"", flags).at(Stage::OpenTerminal, NAME)?;
    let place = tree.place(Path::new(NAME), Kind::File)?;
    attach(mount.as_fd(), place.as_fd()).at(Stage::OpenTerminal, NAME)
}

/// The container's `/dev/pts`, for a terminal of its first process.
pub(super) fn pts(tree: &Tree) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    openat2(tree.root(), "/dev/pts", flags, Mode::empty(), resolve)
        .at(Stage::OpenTerminal, "/dev/pts")
}
