//! Which cgroup hierarchies the host has, and where.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::{CgroupError, Directories, Home, open_directory, read, write};

/// The kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 with all controllers.
    Unified,
    /// Version 1 controllers, and version 2 for tracking.
    Hybrid,
    /// Version 1 alone.
    Legacy,
}

/// The hierarchies that are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    pub(super) unified: Option<PathBuf>,
    pub(super) legacy: Vec<Hierarchy>,
}

/// One version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    /// Names, and `name=...` for one without controllers.
    pub(super) controllers: Vec<String>,
}

/// Version 1 controllers, as mount options name them.
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// Version 2 controllers to enable for cgroups to come.
const ENABLED: [&str; 4] = ["cpu", "memory", "pids", "io"];

// === impl Hierarchies ===

impl Hierarchies {
    /// Looks at this process's mount table.
    ///
    /// # Errors
    /// No hierarchy is mounted, or the table cannot be read.
    pub fn detect() -> Result<Self, CgroupError> {
        let found = Self::parse(&read(Path::new("/proc/self/mountinfo"))?);
        if found.unified.is_none() && found.legacy.is_empty() {
            return Err(CgroupError::NoHierarchy { controller: "anything".into() });
        }
        Ok(found)
    }

    /// The kind of host this is.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match (&self.unified, self.legacy.iter().any(Hierarchy::has_controllers)) {
            (Some(_), false) => Layout::Unified,
            (Some(_), true) => Layout::Hybrid,
            (None, _) => Layout::Legacy,
        }
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { unified: None, legacy: Vec::new() };
        for line in mountinfo.lines() {
            let Some(mount) = CgroupMount::parse(line) else { continue };
            if mount.file_system == "cgroup2" {
                found.unified.get_or_insert(mount.path);
                continue;
            }
            let controllers: Vec<String> = mount
                .options
                .split(',')
                .filter(|option| CONTROLLERS.contains(option) || option.starts_with("name="))
                .map(str::to_owned)
                .collect();
            // The same hierarchy may be mounted twice.
            if found.legacy.iter().all(|known| known.controllers != controllers) {
                found.legacy.push(Hierarchy { mount: mount.path, controllers });
            }
        }
        found
    }

    /// The cgroups a process is in, one directory for each hierarchy.
    pub(crate) fn of_process(&self, pid: Pid) -> Result<Directories, CgroupError> {
        let path = PathBuf::from(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(CgroupError::File { action: "read", path, source }),
        };
        let mut directories = Directories { unified: None, legacy: Vec::new() };
        for line in text.lines() {
            let garbage = || CgroupError::Garbage { path: path.clone(), text: line.into() };
            let (_, rest) = line.split_once(':').ok_or_else(garbage)?;
            let (controllers, cgroup) = rest.split_once(':').ok_or_else(garbage)?;
            match self.home(controllers) {
                Some(Home::Unified(mount)) => {
                    directories.unified = Some(open_below(mount, cgroup)?);
                }
                Some(Home::Legacy(mount)) => directories.legacy.push(open_below(mount, cgroup)?),
                // Not mounted, so nothing can be moved in it.
                None => {}
            }
        }
        Ok(directories)
    }

    /// The mount of a hierarchy as `/proc/PID/cgroup` names it.
    fn home(&self, controllers: &str) -> Option<Home<'_>> {
        if controllers.is_empty() {
            return self.unified.as_deref().map(Home::Unified);
        }
        self.legacy
            .iter()
            .find(|hierarchy| {
                controllers
                    .split(',')
                    .all(|name| hierarchy.controllers.iter().any(|own| own == name))
            })
            .map(|hierarchy| Home::Legacy(&hierarchy.mount))
    }

    /// Lets the version 2 cgroup `directory` have the controllers that limits
    /// need: each cgroup above has to pass them on.
    pub(super) fn enable_controllers(
        &self,
        mount: &Path,
        directory: &Path,
    ) -> Result<(), CgroupError> {
        let Ok(below) = directory.strip_prefix(mount) else { return Ok(()) };
        let mut parent = mount.to_path_buf();
        for part in below {
            let available = read(&parent.join("cgroup.controllers"))?;
            let control = parent.join("cgroup.subtree_control");
            let enabled = read(&control)?;
            let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
            let missing: Vec<String> = ENABLED
                .iter()
                .filter(|name| has(&available, name) && !has(&enabled, name))
                .map(|name| format!("+{name}"))
                .collect();
            if !missing.is_empty() {
                write(&control, &missing.join(" "))?;
            }
            parent.push(part);
        }
        Ok(())
    }
}

impl Hierarchy {
    fn has_controllers(&self) -> bool {
        self.controllers.iter().any(|name| !name.starts_with("name="))
    }
}

fn open_below(mount: &Path, cgroup: &str) -> Result<OwnedFd, CgroupError> {
    open_directory(&mount.join(cgroup.trim_start_matches('/')))
}

/// One line of mountinfo, if it is a cgroup mount of a whole hierarchy.
struct CgroupMount<'line> {
    path: PathBuf,
    file_system: &'line str,
    options: &'line str,
}

impl<'line> CgroupMount<'line> {
    /// Fields: id, parent, device, root, mount point, options, optional
    /// fields, `-`, type, source, super options (`proc_pid_mountinfo(5)`).
    fn parse(line: &'line str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?;
        if !matches!(kind, "cgroup" | "cgroup2") {
            return None;
        }
        let mut mount = mount.split(' ').skip(3);
        let root = mount.next()?;
        let path = mount.next()?;
        (root == "/").then_some(Self {
            path: path.into(),
            file_system: kind,
            options: file_system.nth(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 27 0:32 /docker/x /mnt/memory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_is_recognised() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.layout(), Layout::Hybrid);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let controllers: Vec<_> = found.legacy.iter().map(|h| h.controllers.join("+")).collect();
        assert_eq!(controllers, ["cpu+cpuacct", "memory", "name=systemd"]);
    }

    #[test]
    fn version_two_alone_is_unified() {
        let line = "25 22 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(Hierarchies::parse(line).layout(), Layout::Unified);
    }

    #[test]
    fn version_one_alone_is_legacy() {
        let line = "35 31 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
        let found = Hierarchies::parse(line);
        assert_eq!(found.layout(), Layout::Legacy);
    }

    #[test]
    fn a_named_hierarchy_beside_version_two_is_still_unified() {
        let lines = "25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                     40 31 0:37 / /x rw - cgroup cgroup rw,name=systemd\n";
        assert_eq!(Hierarchies::parse(lines).layout(), Layout::Unified);
    }

    #[test]
    fn a_line_of_proc_cgroup_finds_its_mount() {
        let found = Hierarchies::parse(HYBRID);
        assert!(matches!(found.home(""), Some(Home::Unified(_))));
        assert!(matches!(found.home("cpu,cpuacct"), Some(Home::Legacy(_))));
        assert!(matches!(found.home("name=systemd"), Some(Home::Legacy(_))));
        assert!(found.home("blkio").is_none());
    }

    #[test]
    fn garbage_is_no_mount() {
        for line in ["", "-", " - cgroup", "1 2 3 / - cgroup", "1 2 3 / /x rw - cgroup c"] {
            assert_eq!(Hierarchies::parse(line).legacy.len(), 0, "{line}");
        }
    }
}
