//! Processes that visit a container: they are in a cgroup below its own, so
//! that they, and whatever they leave running, can be told from its own.
//!
//! The cgroup is made for the first of them, in the hierarchy where processes
//! are looked for and in no other: limits and counters know no difference.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::{Cgroup, CgroupError, Directories, collect_procs, open_directory, write};

/// Its name below the container's.
const VISITORS: &str = "visitors";

// === impl Cgroup ===

impl Cgroup {
    /// The processes in it but for visitors, in no order.
    ///
    /// # Errors
    /// See [`Cgroup::procs`].
    pub fn own_procs(&self) -> Result<Vec<Pid>, CgroupError> {
        let Some(directory) = self.occupied()? else { return Ok(Vec::new()) };
        let (mut all, mut visitors) = (Vec::new(), Vec::new());
        // In this order: one that comes to visit in between is in both lists.
        collect_procs(&directory, &mut all)?;
        collect_procs(&directory.join(VISITORS), &mut visitors)?;
        all.retain(|pid| !visitors.contains(pid));
        Ok(all)
    }

    /// Makes a process a visitor. What it has begun before stays what it is;
    /// the launcher's own visitors are born as such.
    ///
    /// # Errors
    /// The cgroup is gone, or the process has ended (`ESRCH`).
    pub fn add_visitor(&self, pid: Pid) -> Result<(), CgroupError> {
        let Some(directory) = self.occupied()? else { return Ok(()) };
        let visitors = make(&directory)?;
        write(&visitors.join("cgroup.procs"), &pid.as_raw_nonzero().to_string())
    }

    /// Changes where a process of this cgroup is to begin: as a visitor.
    pub(crate) fn lead_to_visitors(&self, to: &mut Directories) -> Result<(), CgroupError> {
        let Some(directory) = self.occupied()? else { return Ok(()) };
        let visitors = open_directory(&make(&directory)?)?;
        if self.unified.as_ref() == Some(&directory) {
            to.unified = Some(visitors);
        } else {
            // Entered after its parent, which is among them.
            to.legacy.push(visitors);
        }
        Ok(())
    }

    /// The directory where its processes are found.
    fn occupied(&self) -> Result<Option<PathBuf>, CgroupError> {
        for directory in self.tracking() {
            let mut found = Vec::new();
            collect_procs(directory, &mut found)?;
            if !found.is_empty() {
                return Ok(Some(directory.into()));
            }
        }
        Ok(None)
    }
}

fn make(directory: &Path) -> Result<PathBuf, CgroupError> {
    let path = directory.join(VISITORS);
    // Not with its parents: a cgroup that is gone must stay so.
    match DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
        Err(source) => Err(CgroupError::File { action: "make", path, source }),
        Ok(()) => Ok(path),
    }
}
