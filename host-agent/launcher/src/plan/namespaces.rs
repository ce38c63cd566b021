//! Which namespaces are new, which are joined, and who is who in them.

use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use serde::{Deserialize, Serialize};

use super::{PlanError, invalid, unsupported};

/// The namespaces of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespacePlan {
    /// `CLONE_NEW*` bits of the new ones, but not the cgroup's.
    pub(crate) new: u64,
    /// A cgroup namespace. Its root is the cgroup of the process at the moment
    /// it is made, so it comes after the process is in its place.
    pub(crate) new_cgroup: bool,
    /// `CLONE_NEW*` bit and path of those to join.
    pub(crate) joined: Vec<(u64, PathBuf)>,
    /// With a new user namespace.
    pub(crate) id_maps: Option<IdMaps>,
}

/// The maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMaps {
    pub(crate) users: Vec<IdMapping>,
    pub(crate) groups: Vec<IdMapping>,
}

/// One line of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMapping {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// The kernel takes no more lines than this in a map (since 4.15).
const MAX_MAPPINGS: usize = 340;

// === impl NamespacePlan ===

impl NamespacePlan {
    pub(super) fn new(linux: &Linux) -> Result<Self, PlanError> {
        let mut plan = Self { new: 0, new_cgroup: false, joined: Vec::new(), id_maps: None };
        let mut seen = 0;
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            let bit = kind as u64;
            if seen & bit != 0 {
                return Err(invalid("linux.namespaces", kind, "must be named once"));
            }
            seen |= bit;
            match (kind, namespace.path()) {
                (LinuxNamespaceType::Time, _) => {
                    return Err(unsupported("linux.namespaces", kind, "no time namespaces here"));
                }
                (LinuxNamespaceType::Cgroup, None) => plan.new_cgroup = true,
                (_, None) => plan.new |= bit,
                (
                    LinuxNamespaceType::Network | LinuxNamespaceType::Ipc | LinuxNamespaceType::Uts,
                    Some(path),
                ) if path.is_absolute() => plan.joined.push((bit, path.clone())),
                (
                    LinuxNamespaceType::Network | LinuxNamespaceType::Ipc | LinuxNamespaceType::Uts,
                    Some(path),
                ) => {
                    return Err(invalid(
                        "linux.namespaces.path",
                        path.display(),
                        "must be absolute",
                    ));
                }
                (
                    LinuxNamespaceType::Mount
                    | LinuxNamespaceType::Pid
                    | LinuxNamespaceType::User
                    | LinuxNamespaceType::Cgroup,
                    Some(path),
                ) => {
                    return Err(unsupported(
                        format!("linux.namespaces.{kind}.path"),
                        path.display(),
                        "only network, ipc and uts namespaces can be joined",
                    ));
                }
            }
        }
        if plan.new & LinuxNamespaceType::Mount as u64 == 0 {
            return Err(unsupported(
                "linux.namespaces",
                "no mount",
                "a container has its own mounts",
            ));
        }
        if plan.new & LinuxNamespaceType::Pid as u64 == 0 {
            return Err(unsupported(
                "linux.namespaces",
                "no pid",
                "the end of init must be the end of all its processes",
            ));
        }
        plan.id_maps = id_maps(linux, plan.new & LinuxNamespaceType::User as u64 != 0)?;
        Ok(plan)
    }

    pub(super) fn own_uts(&self) -> bool {
        self.new & LinuxNamespaceType::Uts as u64 != 0
    }

    /// Where a sysctl lies below `/proc/sys`, if it belongs to a namespace that
    /// is new here. Any other would change the host.
    pub(super) fn sysctl_path(&self, key: &str) -> Result<PathBuf, PlanError> {
        let of = |kind: LinuxNamespaceType| self.new & kind as u64 != 0;
        let private = if key.starts_with("net.") {
            of(LinuxNamespaceType::Network)
        } else if key.starts_with("user.") {
            of(LinuxNamespaceType::User)
        } else if key.starts_with("fs.mqueue.")
            || key.starts_with("kernel.msg")
            || key.starts_with("kernel.shm")
            || key == "kernel.sem"
        {
            of(LinuxNamespaceType::Ipc)
        } else {
            false
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !key.bytes().all(plain) || key.split('.').any(str::is_empty) {
            return Err(invalid("linux.sysctl", key, "must be names joined by dots"));
        }
        if !private {
            return Err(unsupported(
                "linux.sysctl",
                key,
                "belongs to no new namespace of this container, so to the host",
            ));
        }
        Ok(key.split('.').collect::<Vec<_>>().join("/").into())
    }
}

// === impl IdMaps ===

fn id_maps(linux: &Linux, new_user: bool) -> Result<Option<IdMaps>, PlanError> {
    let users = mappings("linux.uidMappings", linux.uid_mappings().as_deref())?;
    let groups = mappings("linux.gidMappings", linux.gid_mappings().as_deref())?;
    match (new_user, users.is_empty(), groups.is_empty()) {
        (true, false, false) => Ok(Some(IdMaps { users, groups })),
        (true, true, _) => Err(PlanError::Missing { field: "linux.uidMappings" }),
        (true, _, true) => Err(PlanError::Missing { field: "linux.gidMappings" }),
        (false, true, true) => Ok(None),
        (false, _, _) => Err(invalid("linux.uidMappings", "set", "needs a new user namespace")),
    }
}

fn mappings(field: &str, mappings: Option<&[LinuxIdMapping]>) -> Result<Vec<IdMapping>, PlanError> {
    let mappings = mappings.unwrap_or_default();
    if mappings.len() > MAX_MAPPINGS {
        return Err(invalid(field, mappings.len(), "the kernel takes 340 mappings at most"));
    }
    if let [first, ..] = mappings
        && mappings.iter().all(|mapping| mapping.container_id() != 0)
    {
        return Err(invalid(field, first.container_id(), "must map 0, the container's root"));
    }
    mappings
        .iter()
        .map(|mapping| {
            let fits = |first: u32| first.checked_add(mapping.size()).is_some();
            if mapping.size() == 0 || !fits(mapping.container_id()) || !fits(mapping.host_id()) {
                return Err(invalid(field, mapping.size(), "must be a range of 32-bit numbers"));
            }
            Ok(IdMapping {
                inside: mapping.container_id(),
                outside: mapping.host_id(),
                count: mapping.size(),
            })
        })
        .collect()
}

impl IdMaps {
    /// What user and group 0 inside are outside.
    pub(super) fn root(&self) -> Option<(u32, u32)> {
        let outside = |mappings: &[IdMapping]| {
            mappings.iter().find(|mapping| mapping.inside == 0).map(|mapping| mapping.outside)
        };
        outside(&self.users).zip(outside(&self.groups))
    }

    /// The text of `/proc/PID/uid_map` and `gid_map`.
    pub(crate) fn text(mappings: &[IdMapping]) -> String {
        mappings
            .iter()
            .map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count))
            .collect()
    }
}
