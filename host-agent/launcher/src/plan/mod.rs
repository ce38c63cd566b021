//! From an OCI configuration to what will be done, with nothing done yet.
//!
//! Everything a configuration can ask for is either planned or refused by
//! name: nothing is skipped in silence, since what is skipped may be a wall.

mod mount;
mod namespaces;
mod process;
mod refuse;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use mount::{MountPlan, MountSource};
pub(crate) use namespaces::{IdMaps, NamespacePlan};
pub(crate) use process::{CapabilityPlan, LimitKind, ProcessPlan, TerminalPlan};

/// What a configuration asks for that cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A part that OCI leaves open but a container cannot do without.
    #[error("{field} is missing")]
    Missing {
        /// Its JSON path.
        field: &'static str,
    },
    /// Valid OCI that this launcher does not offer.
    #[error("{field} = {value} is not supported: {reason}")]
    Unsupported {
        /// Its JSON path.
        field: String,
        /// What it says.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// Not valid.
    #[error("{field} = {value} is invalid: {reason}")]
    Invalid {
        /// Its JSON path.
        field: String,
        /// What it says.
        value: String,
        /// What would be right.
        reason: &'static str,
    },
}

/// A whole container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerPlan {
    /// Absolute.
    pub(crate) root: PathBuf,
    pub(crate) root_read_only: bool,
    pub(crate) namespaces: NamespacePlan,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Path below `/proc/sys` and value, sorted.
    pub(crate) sysctls: Vec<(PathBuf, String)>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) process: ProcessPlan,
}

/// A process in a container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExecPlan {
    /// `CLONE_NEW*` bits of the namespaces in which the container differs from
    /// the host: the kernel refuses to enter the user namespace one is in.
    pub(crate) namespaces: u64,
    pub(crate) user_namespace: bool,
    pub(crate) process: ProcessPlan,
}

/// A device node of the host that the container gets to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevicePlan {
    /// Where it is, on the host as in the container.
    pub(crate) path: PathBuf,
    pub(crate) character: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

// === impl ContainerPlan ===

impl ContainerPlan {
    /// Plans the container of `spec`, whose relative paths start at `bundle`.
    pub(crate) fn new(bundle: &Path, spec: &Spec) -> Result<Self, PlanError> {
        refuse::whole(spec)?;
        let root = spec.root().as_ref().ok_or(PlanError::Missing { field: "root" })?;
        let linux = spec.linux().as_ref().ok_or(PlanError::Missing { field: "linux" })?;
        let process = spec.process().as_ref().ok_or(PlanError::Missing { field: "process" })?;
        refuse::linux(linux)?;
        let namespaces = NamespacePlan::new(linux)?;
        let needs_uts = spec.hostname().is_some() || spec.domainname().is_some();
        if needs_uts && !namespaces.own_uts() {
            return Err(unsupported("hostname", "set", "needs a new uts namespace"));
        }
        let mounts = spec
            .mounts()
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, mount)| MountPlan::new(index, mount, bundle))
            .collect::<Result<Vec<_>, _>>()?;
        let mut sysctls = linux
            .sysctl()
            .iter()
            .flatten()
            .map(|(key, value)| Ok((namespaces.sysctl_path(key)?, value.clone())))
            .collect::<Result<Vec<_>, PlanError>>()?;
        sysctls.sort();
        Ok(Self {
            root: bundle.join(root.path()),
            root_read_only: root.readonly().unwrap_or(false),
            namespaces,
            mounts,
            devices: linux
                .devices()
                .iter()
                .flatten()
                .map(DevicePlan::new)
                .collect::<Result<_, _>>()?,
            hostname: spec.hostname().clone(),
            domainname: spec.domainname().clone(),
            sysctls,
            masked: inside_paths("linux.maskedPaths", linux.masked_paths().as_deref())?,
            read_only: inside_paths("linux.readonlyPaths", linux.readonly_paths().as_deref())?,
            process: ProcessPlan::new("process", process)?,
        })
    }

    /// Who divides the container's cgroup further, of the host's users and
    /// groups: its root, if it can write to its mount of it.
    pub(crate) fn divider(&self) -> Option<(u32, u32)> {
        let writable = |mount: &MountPlan| {
            let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
            mount.source == MountSource::Cgroup && mount.set & read_only == 0
        };
        let maps = self.namespaces.id_maps.as_ref()?;
        self.mounts.iter().any(writable).then(|| maps.root()).flatten()
    }
}

// === impl DevicePlan ===

impl DevicePlan {
    fn new(device: &LinuxDevice) -> Result<Self, PlanError> {
        let number = |field: &str, number: i64| {
            u32::try_from(number).map_err(|_| invalid(field, number, "must be a device number"))
        };
        let character = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => true,
            LinuxDeviceType::B => false,
            LinuxDeviceType::A | LinuxDeviceType::P => {
                return Err(unsupported(
                    "linux.devices.type",
                    device.typ().as_str(),
                    "only character and block devices of the host can be shown",
                ));
            }
        };
        Ok(Self {
            path: inside_path("linux.devices.path", device.path())?,
            character,
            major: number("linux.devices.major", device.major())?,
            minor: number("linux.devices.minor", device.minor())?,
        })
    }
}

/// The six nodes OCI promises to every container.
pub(crate) fn default_devices() -> [DevicePlan; 6] {
    let memory = |name: &str, minor| DevicePlan {
        path: Path::new("/dev").join(name),
        character: true,
        major: 1,
        minor,
    };
    [
        memory("null", 3),
        memory("zero", 5),
        memory("full", 7),
        memory("random", 8),
        memory("urandom", 9),
        DevicePlan { path: "/dev/tty".into(), character: true, major: 5, minor: 0 },
    ]
}

/// A path inside the container: absolute, and without `..`, which means one
/// thing to a string and another to a tree with links.
pub(crate) fn inside_path(field: &str, path: &Path) -> Result<PathBuf, PlanError> {
    let plain = path.is_absolute()
        && path.components().all(|part| !matches!(part, Component::ParentDir))
        && !path.as_os_str().as_encoded_bytes().contains(&0);
    if plain {
        Ok(path.to_path_buf())
    } else {
        Err(invalid(field, path.display(), "must be absolute and without `..`"))
    }
}

fn inside_paths(field: &str, paths: Option<&[String]>) -> Result<Vec<PathBuf>, PlanError> {
    paths.unwrap_or_default().iter().map(|path| inside_path(field, Path::new(path))).collect()
}

pub(crate) fn invalid(
    field: impl Into<String>,
    value: impl ToString,
    reason: &'static str,
) -> PlanError {
    PlanError::Invalid { field: field.into(), value: value.to_string(), reason }
}

pub(crate) fn unsupported(
    field: impl Into<String>,
    value: impl ToString,
    reason: &'static str,
) -> PlanError {
    PlanError::Unsupported { field: field.into(), value: value.to_string(), reason }
}

#[cfg(test)]
mod tests;
