//! Control groups: version 2, version 1, and both at once.
//!
//! | host | limits and counters | tracking and killing |
//! |---|---|---|
//! | version 2 | the one hierarchy | the same |
//! | hybrid (version 2 mounted without controllers) | version 1 hierarchies | version 2 |
//! | version 1 | version 1 hierarchies | `pids`, else any |
//!
//! A process enters a version 2 cgroup as it is born (`CLONE_INTO_CGROUP`) and
//! version 1 cgroups by writing 0 to `tasks` itself. To move another process,
//! or a whole one with `cgroup.procs`, the kernel takes
//! `cgroup_threadgroup_rwsem` for writing, which waits for an RCU grace period
//! of 10 ms and more; for the writer's own thread it does not
//! (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).

mod delegate;
mod detail;
mod device_program;
mod device_rules;
mod end;
mod files;
mod freeze;
mod hierarchies;
mod limits;
mod parts;
mod throttle;
mod usage;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use rustix::process::Pid;
use thiserror::Error;

pub use detail::{Pressure, Pressures, Stall};
use files::{children, collect_procs, gone, make_directory, open_directory, read, write};
pub use hierarchies::{Hierarchies, Layout};
pub use parts::Part;
pub use usage::Usage;

/// Why a cgroup could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The path is no relative name of a cgroup.
    #[error("cgroup path {path}: {reason}")]
    BadPath {
        /// As given.
        path: PathBuf,
        /// What would be right.
        reason: &'static str,
    },
    /// A cgroup of this name exists: its processes and counters would mix with
    /// those to come.
    #[error("cgroup {path} exists already")]
    Exists {
        /// Its directory.
        path: PathBuf,
    },
    /// The host mounts no hierarchy at all, or the wrong ones.
    #[error("no cgroup hierarchy with {controller} is mounted")]
    NoHierarchy {
        /// What was looked for.
        controller: String,
    },
    /// A limit that OCI knows and this host or launcher does not.
    #[error("{field} cannot be limited here: {reason}")]
    Unsupported {
        /// Its JSON path.
        field: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A file of the cgroup file system refused.
    #[error("{action} {path}")]
    File {
        /// A verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the cgroup file system holds something unexpected.
    #[error("{path} holds {text:?}")]
    Garbage {
        /// The file.
        path: PathBuf,
        /// Its text, or the line that matters.
        text: String,
    },
    /// It uses more than it shall be allowed; nothing was changed.
    #[error("{used} bytes of memory are in use: {limit} are too few")]
    InUse {
        /// Now, bytes, after the kernel took back what it could.
        used: u64,
        /// As wanted, bytes.
        limit: u64,
    },
    /// A process could not be held still in time.
    #[error("cgroup {path} is not frozen yet")]
    NotFrozen {
        /// Its directory.
        path: PathBuf,
    },
    /// Processes were left when time was up.
    #[error("cgroup {path} is not empty yet")]
    NotEmpty {
        /// Its directory.
        path: PathBuf,
    },
}

/// One cgroup: a directory of the same name in each hierarchy that matters.
///
/// Dropping it leaves the cgroup alone; see [`Cgroup::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    unified: Option<PathBuf>,
    legacy: Vec<LegacyDirectory>,
    /// Of the version 1 hierarchy where other runtimes freeze, even where
    /// version 2 could; see [`Cgroup::thaw`].
    freezer: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LegacyDirectory {
    controllers: Vec<String>,
    path: PathBuf,
}

/// The directories of a cgroup, opened.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) unified: Option<OwnedFd>,
    pub(crate) legacy: Vec<OwnedFd>,
}

/// Version 1 controllers every cgroup gets a directory for, where mounted:
/// those with limits we set or counters we read.
const WANTED: [&str; 5] = ["memory", "pids", "cpu", "devices", "blkio"];

/// Wanted only where version 2 does not offer its better successor.
const WANTED_WITHOUT_UNIFIED: [&str; 2] = ["cpuacct", "freezer"];

// === impl Cgroup ===

impl Cgroup {
    /// Makes the cgroup `path` (from the root of each hierarchy) with the
    /// limits of `resources`. Missing parents are made and stay.
    ///
    /// # Errors
    /// See [`CgroupError`]; nothing but parents is left behind then.
    pub fn create(
        hierarchies: &Hierarchies,
        path: &Path,
        resources: &LinuxResources,
    ) -> Result<Self, CgroupError> {
        let cgroup = Self::open(hierarchies, path)?;
        limits::refuse(resources)?;
        let mut made = Vec::new();
        let result =
            cgroup.make(hierarchies, &mut made).and_then(|()| limits::apply(&cgroup, resources));
        match result {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                for directory in made.iter().rev() {
                    #[expect(clippy::let_underscore_must_use, reason = "the first error counts")]
                    let _ = fs::remove_dir(directory);
                }
                Err(error)
            }
        }
    }

    /// Names the cgroup `path`, whether it exists or not; a runtime other than
    /// this one may have made it.
    ///
    /// # Errors
    /// [`CgroupError::BadPath`].
    pub fn open(hierarchies: &Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let relative = relative(path)?;
        let unified = hierarchies.unified.as_ref().map(|mount| mount.join(&relative));
        let wanted = |controller: &String| {
            WANTED.contains(&controller.as_str())
                || unified.is_none() && WANTED_WITHOUT_UNIFIED.contains(&controller.as_str())
        };
        let legacy = hierarchies
            .legacy
            .iter()
            .filter(|hierarchy| hierarchy.controllers.iter().any(wanted))
            .map(|hierarchy| LegacyDirectory {
                controllers: hierarchy.controllers.clone(),
                path: hierarchy.mount.join(&relative),
            })
            .collect();
        let freezer = hierarchies
            .legacy
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == "freezer"))
            .map(|hierarchy| hierarchy.mount.join(&relative));
        Ok(Self { unified, legacy, freezer })
    }

    /// Sets limits anew while it is used; what `resources` leaves out stays.
    ///
    /// # Errors
    /// [`CgroupError::InUse`]: more memory is used than shall be allowed. The
    /// limits before it are set then.
    pub fn set_limits(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        limits::refuse(resources)?;
        limits::make_room(self, resources)?;
        limits::apply(self, resources)
    }

    /// Moves a process in, with all its threads. This is slow (see the module's
    /// text): the launcher's own processes are born in their place.
    ///
    /// # Errors
    /// A hierarchy refuses: `ESRCH` when the process has ended.
    pub fn add(&self, pid: Pid) -> Result<(), CgroupError> {
        let number = pid.as_raw_nonzero().to_string();
        self.directories().try_for_each(|directory| write(&directory.join("cgroup.procs"), &number))
    }

    /// The processes in it and in cgroups below it, in no order.
    ///
    /// # Errors
    /// A file cannot be read. A cgroup that does not exist has no processes.
    pub fn procs(&self) -> Result<Vec<Pid>, CgroupError> {
        for directory in self.tracking() {
            let mut found = Vec::new();
            collect_procs(directory, &mut found)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Where the processes are looked for, best first. Another runtime may
    /// have left the version 2 hierarchy alone on a hybrid host.
    fn tracking(&self) -> impl Iterator<Item = &Path> {
        let pids = self.legacy_directory("pids");
        let any = self.legacy.first().map(|directory| directory.path.as_path());
        self.unified.as_deref().into_iter().chain(pids.or(any))
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        let legacy = self.legacy.iter().map(|directory| directory.path.as_path());
        self.unified.as_deref().into_iter().chain(legacy)
    }

    fn legacy_directory(&self, controller: &str) -> Option<&Path> {
        self.legacy
            .iter()
            .find(|directory| directory.controllers.iter().any(|name| name == controller))
            .map(|directory| directory.path.as_path())
    }

    /// The directory in which a controller's files are.
    fn controller(&self, controller: &str) -> Result<Home<'_>, CgroupError> {
        if let Some(directory) = self.legacy_directory(controller) {
            return Ok(Home::Legacy(directory));
        }
        match &self.unified {
            Some(directory) => Ok(Home::Unified(directory)),
            None => Err(CgroupError::NoHierarchy { controller: controller.into() }),
        }
    }

    pub(crate) fn open_directories(&self) -> Result<Directories, CgroupError> {
        Ok(Directories {
            unified: self.unified.as_deref().map(open_directory).transpose()?,
            legacy: self
                .legacy
                .iter()
                .map(|directory| open_directory(&directory.path))
                .collect::<Result<_, _>>()?,
        })
    }

    fn make(&self, hierarchies: &Hierarchies, made: &mut Vec<PathBuf>) -> Result<(), CgroupError> {
        if let (Some(directory), Some(mount)) = (&self.unified, &hierarchies.unified) {
            make_directory(directory)?;
            made.push(directory.clone());
            hierarchies.enable_controllers(mount, directory)?;
        }
        for directory in &self.legacy {
            make_directory(&directory.path)?;
            made.push(directory.path.clone());
        }
        Ok(())
    }
}

/// Which version's files a controller has.
#[derive(Debug, Clone, Copy)]
enum Home<'path> {
    Unified(&'path Path),
    Legacy(&'path Path),
}

/// The path below each mount.
fn relative(path: &Path) -> Result<PathBuf, CgroupError> {
    let bad = |reason| CgroupError::BadPath { path: path.to_path_buf(), reason };
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() {
        return Err(bad("the root itself is no place for a container"));
    }
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(bad("must not contain `.` or `..`"));
    }
    if path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b':' | b'\n' | 0)) {
        return Err(bad("must be a plain path; systemd's slice:prefix:name is not offered"));
    }
    Ok(relative.to_path_buf())
}

#[cfg(test)]
mod tests;
