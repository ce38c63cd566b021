//! What a container gets to see of the host, opened while the host is in view.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rolltop_sys::mount_attr::{MountChange, change_mount};
use rustix::fs::{CWD, FileType, fstat, major, minor};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, open_tree};

use super::devices;
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{ContainerPlan, DevicePlan, MountPlan, MountSource, default_devices};

/// Detached copies of mounts: what happens to the originals from here on
/// does not matter to the container.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) root: OwnedFd,
    /// One for each bind mount of the plan, attributes set.
    pub(super) binds: Vec<OwnedFd>,
    pub(super) devices: Vec<(DevicePlan, OwnedFd)>,
}

// === impl Sources ===

impl Sources {
    pub(super) fn open(plan: &ContainerPlan) -> Result<Self, Failure> {
        Ok(Self {
            root: open_root(&plan.root)?,
            binds: plan
                .mounts
                .iter()
                .filter_map(|mount| open_bind(mount).transpose())
                .collect::<Result<_, _>>()?,
            devices: open_devices(plan)?,
        })
    }
}

/// The root with all mounted below it. Device nodes an image may contain
/// mean nothing: the container's are bound.
fn open_root(path: &Path) -> Result<OwnedFd, Failure> {
    let root = copy(path, true)?;
    let change = MountChange {
        set: Some(MountAttrFlags::MOUNT_ATTR_NODEV),
        propagation: Some(MountPropagationFlags::PRIVATE),
        recursive: true,
        ..MountChange::default()
    };
    change_mount(root.as_fd(), &change).at(Stage::OpenSource, path.display())?;
    Ok(root)
}

fn open_bind(plan: &MountPlan) -> Result<Option<OwnedFd>, Failure> {
    let MountSource::Bind { path, recursive } = &plan.source else { return Ok(None) };
    let mount = copy(path, *recursive)?;
    let propagation = MountChange {
        propagation: Some(MountPropagationFlags::from_bits_retain(plan.propagation)),
        recursive: true,
        ..MountChange::default()
    };
    change_mount(mount.as_fd(), &propagation).at(Stage::OpenSource, path.display())?;
    let attributes = MountChange {
        set: Some(MountAttrFlags::from_bits_retain(plan.set)),
        clear: Some(MountAttrFlags::from_bits_retain(plan.clear)),
        recursive: plan.recursive_attributes,
        ..MountChange::default()
    };
    change_mount(mount.as_fd(), &attributes).at(Stage::OpenSource, path.display())?;
    Ok(Some(mount))
}

fn open_devices(plan: &ContainerPlan) -> Result<Vec<(DevicePlan, OwnedFd)>, Failure> {
    if !devices::wanted(&plan.mounts) {
        return Ok(Vec::new());
    }
    let defaults = default_devices();
    // A configuration may name a default one again.
    let extra = plan.devices.iter().filter(|device| !defaults.contains(device)).cloned();
    defaults.iter().cloned().chain(extra).map(open_device).collect()
}

/// A node of the host, if it is what the configuration says.
fn open_device(device: DevicePlan) -> Result<(DevicePlan, OwnedFd), Failure> {
    let name = device.path.display().to_string();
    let node = copy(&device.path, false)?;
    let found = fstat(&node).at(Stage::OpenSource, &name)?;
    let kind = if device.character { FileType::CharacterDevice } else { FileType::BlockDevice };
    let same = FileType::from_raw_mode(found.st_mode) == kind
        && (major(found.st_rdev), minor(found.st_rdev)) == (device.major, device.minor);
    if !same {
        return Err(Errno::NODEV).at(Stage::OpenSource, name);
    }
    let change = MountChange {
        set: Some(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC),
        propagation: Some(MountPropagationFlags::PRIVATE),
        ..MountChange::default()
    };
    change_mount(node.as_fd(), &change).at(Stage::OpenSource, name)?;
    Ok((device, node))
}

fn copy(path: &Path, recursive: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).at(Stage::OpenSource, path.display())
}
