//! A cgroup whose container makes cgroups of its own below it, as systemd does.
//!
//! Of version 2 alone: a version 1 hierarchy would come with its release agent
//! (CVE-2022-0492), and inits of today do without. What limits the container
//! stays root's; the container can only divide what it has.

use std::os::unix::fs::chown;
use std::path::Path;

use super::{Cgroup, CgroupError, write};

/// What whoever makes cgroups below has to write to: `cgroups(7)`, "Delegation
/// containment". "" is the directory.
const GIVEN: [&str; 4] = ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];

/// Kernel memory goes into each cgroup, so their number is limited, and how deep
/// they lie. A desktop of systemd with all its user's services has some hundred.
const LIMITS: [(&str, &str); 2] = [("cgroup.max.descendants", "1000"), ("cgroup.max.depth", "16")];

// === impl Cgroup ===

impl Cgroup {
    /// Whether this host can have containers that make cgroups.
    #[must_use]
    pub fn can_delegate(&self) -> bool {
        self.unified.is_some()
    }

    /// Lets user `uid` and group `gid` of the host make cgroups below it.
    ///
    /// # Errors
    /// [`CgroupError::NoHierarchy`], or the kernel refuses.
    pub(crate) fn delegate(&self, uid: u32, gid: u32) -> Result<(), CgroupError> {
        let directory = self
            .unified
            .as_ref()
            .ok_or_else(|| CgroupError::NoHierarchy { controller: "version 2".into() })?;
        for (file, limit) in LIMITS {
            write(&directory.join(file), limit)?;
        }
        GIVEN.iter().try_for_each(|file| give(&directory.join(file), uid, gid))
    }
}

fn give(path: &Path, uid: u32, gid: u32) -> Result<(), CgroupError> {
    chown(path, Some(uid), Some(gid)).map_err(|source| CgroupError::File {
        action: "give away",
        path: path.into(),
        source,
    })
}
