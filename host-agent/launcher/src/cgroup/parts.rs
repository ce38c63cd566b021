//! Parts of a container: processes in a cgroup below its own, so that they, and
//! whatever they leave running, can be told from all others.
//!
//! The cgroup is made for the first of them, in the hierarchy where processes
//! are looked for and in no other: limits and counters know no difference.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::{Cgroup, CgroupError, Directories, collect_procs, open_directory, write};

/// Which part of a container a process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Commands from outside.
    Visitors,
    /// The session, where init has processes of its own.
    Session,
}

// === impl Part ===

impl Part {
    /// The name of its cgroup below the container's.
    fn name(self) -> &'static str {
        match self {
            Self::Visitors => "visitors",
            Self::Session => "session",
        }
    }
}

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
        collect_procs(&directory.join(Part::Visitors.name()), &mut visitors)?;
        all.retain(|pid| !visitors.contains(pid));
        Ok(all)
    }

    /// The processes in a part of it, in no order.
    ///
    /// # Errors
    /// See [`Cgroup::procs`].
    pub fn part_procs(&self, part: Part) -> Result<Vec<Pid>, CgroupError> {
        let mut found = Vec::new();
        if let Some(directory) = self.occupied()? {
            collect_procs(&directory.join(part.name()), &mut found)?;
        }
        Ok(found)
    }

    /// Makes a process a visitor. What it has begun before stays what it is;
    /// the launcher's own visitors are born as such.
    ///
    /// # Errors
    /// The cgroup is gone, or the process has ended (`ESRCH`).
    pub fn add_visitor(&self, pid: Pid) -> Result<(), CgroupError> {
        let Some(directory) = self.occupied()? else { return Ok(()) };
        let visitors = make(&directory, Part::Visitors)?;
        write(&visitors.join("cgroup.procs"), &pid.as_raw_nonzero().to_string())
    }

    /// Changes where a process of this cgroup is to begin.
    pub(crate) fn lead_to(&self, part: Part, to: &mut Directories) -> Result<(), CgroupError> {
        let Some(directory) = self.occupied()? else { return Ok(()) };
        let place = open_directory(&make(&directory, part)?)?;
        if self.unified.as_ref() == Some(&directory) {
            to.unified = Some(place);
        } else {
            // Entered after its parent, which is among them.
            to.legacy.push(place);
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

fn make(directory: &Path, part: Part) -> Result<PathBuf, CgroupError> {
    let path = directory.join(part.name());
    // Not with its parents: a cgroup that is gone must stay so.
    match DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
        Err(source) => Err(CgroupError::File { action: "make", path, source }),
        Ok(()) => Ok(path),
    }
}
