//! A control group of the benchmark's own: the page cache that it fills is
//! counted there, whatever else the machine does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Where version 1 has its memory controller, and where version 2 is mounted
/// when it has all of them.
const VERSION_1: &str = "/sys/fs/cgroup/memory";
const VERSION_2: &str = "/sys/fs/cgroup";

/// This process's control group, while it lives.
#[derive(Debug)]
pub(crate) struct Group {
    parent: &'static Path,
    dir: PathBuf,
}

impl Group {
    /// Makes the group and moves this process there.
    pub(crate) fn enter(name: &str) -> anyhow::Result<Self> {
        let version_1 = Path::new(VERSION_1).join("cgroup.procs").exists();
        let parent = Path::new(if version_1 { VERSION_1 } else { VERSION_2 });
        if !version_1 {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")
                .context("no control group counts memory here")?;
        }
        let dir = parent.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let group = Self { parent, dir };
        move_here(&group.dir)?;
        Ok(group)
    }

    /// What the page cache holds for this group, KiB (`memory.stat`: `cache` in
    /// version 1, `file` in version 2).
    pub(crate) fn cached_kib(&self) -> anyhow::Result<f64> {
        let text = fs::read_to_string(self.dir.join("memory.stat"))?;
        let bytes = text.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            matches!(key, "cache" | "file").then(|| value.parse::<f64>().ok())?
        });
        Ok(bytes.context("memory.stat does not tell the page cache")? / 1024.0)
    }

    /// Moves this process back and removes the group.
    pub(crate) fn leave(self) -> anyhow::Result<()> {
        move_here(self.parent)?;
        fs::remove_dir(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

fn move_here(dir: &Path) -> anyhow::Result<()> {
    // Zero: whoever writes.
    fs::write(dir.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot enter {}", dir.display()))
}
