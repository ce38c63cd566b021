//! One mount of a container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use serde::{Deserialize, Serialize};

use super::{PlanError, inside_path, invalid, unsupported};

/// What is mounted where and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPlan {
    /// Inside the container.
    pub(crate) destination: PathBuf,
    pub(crate) source: MountSource,
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u32,
    /// `MOUNT_ATTR_*` to clear, on a bind mount.
    pub(crate) clear: u32,
    /// Apply the attributes to the mounts below as well.
    pub(crate) recursive_attributes: bool,
    /// `MS_*` of the propagation.
    pub(crate) propagation: u32,
}

/// Where the files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountSource {
    /// A tree of the host.
    Bind {
        /// Absolute, on the host.
        path: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// A file system of the container's own.
    New {
        /// Its name to the kernel.
        file_system: String,
        /// What `/proc/mounts` shows.
        source: String,
        /// Its options.
        options: Vec<(String, Option<String>)>,
    },
    /// The container's cgroups, by whatever hierarchies the host has.
    Cgroup,
}

/// File systems that can be made in a user namespace and show nothing but what
/// belongs to the container.
const OWN_FILE_SYSTEMS: [&str; 6] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];

/// What an option word means.
enum Word {
    Set(MountAttrFlags),
    Clear(MountAttrFlags),
    AccessTime(MountAttrFlags),
    Propagation(MountPropagationFlags),
    RecursiveReadOnly,
    Bind { recursive: bool },
    Nothing,
    Data,
}

// === impl MountPlan ===

impl MountPlan {
    pub(super) fn new(index: usize, mount: &Mount, bundle: &Path) -> Result<Self, PlanError> {
        let field = format!("mounts[{index}]");
        let destination = inside_path(&format!("{field}.destination"), mount.destination())?;
        if destination == Path::new("/") {
            return Err(unsupported(field, "/", "the root comes from `root`"));
        }
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(unsupported(
                field,
                "uidMappings",
                "the caller maps ids of its trees itself",
            ));
        }
        let mut plan = Self {
            destination,
            source: MountSource::Cgroup,
            set: 0,
            clear: 0,
            recursive_attributes: false,
            propagation: MountPropagationFlags::PRIVATE.bits(),
        };
        let mut bind = (mount.typ().as_deref() == Some("bind")).then_some(false);
        let mut data = Vec::new();
        for option in mount.options().iter().flatten() {
            match plan.word(&field, option)? {
                Word::Bind { recursive } => bind = Some(bind.unwrap_or(false) || recursive),
                Word::Data => data.push(split(option)),
                _ => {}
            }
        }
        plan.source = match bind {
            Some(recursive) => bind_source(&field, mount, bundle, recursive, &data)?,
            None => plan.own_source(&field, mount, data)?,
        };
        Ok(plan)
    }

    /// Takes in one option word.
    fn word(&mut self, field: &str, option: &str) -> Result<Word, PlanError> {
        let word = meaning(option);
        match &word {
            Word::Set(flag) => {
                self.set |= flag.bits();
                self.clear &= !flag.bits();
            }
            Word::Clear(flag) => {
                self.clear |= flag.bits();
                self.set &= !flag.bits();
            }
            Word::AccessTime(flag) => {
                self.clear |= MountAttrFlags::MOUNT_ATTR__ATIME.bits();
                self.set &= !MountAttrFlags::MOUNT_ATTR__ATIME.bits();
                self.set |= flag.bits();
            }
            Word::RecursiveReadOnly => {
                self.set |= MountAttrFlags::MOUNT_ATTR_RDONLY.bits();
                self.recursive_attributes = true;
            }
            Word::Propagation(kind) => {
                if *kind == MountPropagationFlags::SHARED {
                    return Err(unsupported(
                        format!("{field}.options"),
                        option,
                        "no mount event may pass from container to host",
                    ));
                }
                self.propagation = kind.bits();
            }
            Word::Data if matches!(option, "remount" | "tmpcopyup" | "idmap" | "ridmap") => {
                return Err(unsupported(format!("{field}.options"), option, "not offered"));
            }
            Word::Data | Word::Bind { .. } | Word::Nothing => {}
        }
        Ok(word)
    }

    fn own_source(
        &self,
        field: &str,
        mount: &Mount,
        options: Vec<(String, Option<String>)>,
    ) -> Result<MountSource, PlanError> {
        let kind = mount.typ().as_deref().unwrap_or_default();
        if kind == "cgroup" {
            return Ok(MountSource::Cgroup);
        }
        if !OWN_FILE_SYSTEMS.contains(&kind) {
            return Err(unsupported(
                format!("{field}.type"),
                kind,
                "only bind, proc, sysfs, tmpfs, devpts, mqueue, cgroup, cgroup2",
            ));
        }
        let source = mount.source().as_ref().map_or(kind.into(), |path| path.to_string_lossy());
        Ok(MountSource::New { file_system: kind.into(), source: source.into_owned(), options })
    }
}

fn bind_source(
    field: &str,
    mount: &Mount,
    bundle: &Path,
    recursive: bool,
    data: &[(String, Option<String>)],
) -> Result<MountSource, PlanError> {
    if let Some((name, _)) = data.first() {
        return Err(invalid(format!("{field}.options"), name, "means nothing to a bind mount"));
    }
    let path = mount.source().as_ref().ok_or(PlanError::Missing { field: "mounts.source" })?;
    Ok(MountSource::Bind { path: bundle.join(path), recursive })
}

fn meaning(option: &str) -> Word {
    match option {
        "ro" => Word::Set(MountAttrFlags::MOUNT_ATTR_RDONLY),
        "rw" => Word::Clear(MountAttrFlags::MOUNT_ATTR_RDONLY),
        "nosuid" => Word::Set(MountAttrFlags::MOUNT_ATTR_NOSUID),
        "suid" => Word::Clear(MountAttrFlags::MOUNT_ATTR_NOSUID),
        "nodev" => Word::Set(MountAttrFlags::MOUNT_ATTR_NODEV),
        "dev" => Word::Clear(MountAttrFlags::MOUNT_ATTR_NODEV),
        "noexec" => Word::Set(MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "exec" => Word::Clear(MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Word::Set(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        "diratime" => Word::Clear(MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Word::Set(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Word::Clear(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
        "rro" => Word::RecursiveReadOnly,
        "noatime" => Word::AccessTime(MountAttrFlags::MOUNT_ATTR_NOATIME),
        "strictatime" => Word::AccessTime(MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => {
            Word::AccessTime(MountAttrFlags::MOUNT_ATTR_RELATIME)
        }
        "private" | "rprivate" => Word::Propagation(MountPropagationFlags::PRIVATE),
        "slave" | "rslave" => Word::Propagation(MountPropagationFlags::DOWNSTREAM),
        "unbindable" | "runbindable" => Word::Propagation(MountPropagationFlags::UNBINDABLE),
        "shared" | "rshared" => Word::Propagation(MountPropagationFlags::SHARED),
        "bind" => Word::Bind { recursive: false },
        "rbind" => Word::Bind { recursive: true },
        // Every devpts is its own instance since Linux 4.7.
        "defaults" | "newinstance" => Word::Nothing,
        _ => Word::Data,
    }
}

fn split(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((name, value)) => (name.into(), Some(value.into())),
        None => (option.into(), None),
    }
}
