//! `systemd-nspawn` over a root that is joined already, without a network of
//! its own making and without registering.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tokio::process::Command;

use super::{Ground, Once};
use crate::{shell, stage::Stage};

const PROGRAM: &str = "systemd-nspawn";
/// The hierarchies it makes groups in, below the one it is in; on a host with
/// version 2 alone there is just the first.
const HIERARCHIES: [&str; 3] =
    ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
/// Goes into the groups named before "--", and becomes the program behind it.
const INTO_GROUPS: &str = "while [ \"$1\" != -- ]; do echo $$ >\"$1/cgroup.procs\" || exit; shift; done; shift; exec \"$@\"";

#[derive(Debug)]
pub(crate) struct Nspawn {
    root: PathBuf,
    groups: Vec<PathBuf>,
}

impl Nspawn {
    /// `None`: it is not installed.
    pub(super) fn prepare(stage: &Stage, ground: &Ground) -> anyhow::Result<Option<Self>> {
        if !shell::is_installed(PROGRAM) {
            return Ok(None);
        }
        let hierarchies = HIERARCHIES.map(Path::new);
        let there = hierarchies.iter().filter(|dir| dir.join("cgroup.procs").exists());
        let group = format!("{}-nspawn", stage.name);
        let groups: Vec<PathBuf> = there.map(|dir| dir.join(&group)).collect();
        for group in &groups {
            fs::create_dir(group).with_context(|| format!("make {}", group.display()))?;
        }
        Ok(Some(Self { root: ground.root.clone(), groups }))
    }

    pub(super) async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        let mut command = Command::new("sh");
        command.args(["-c", INTO_GROUPS, "sh"]).args(&self.groups).args(["--", PROGRAM]);
        command
            .args(["--quiet", "--register=no", "--keep-unit", "--private-network"])
            .arg(format!("--machine=reference-{slot}"))
            .arg("--directory")
            .arg(&self.root)
            .args(["--pipe", "--private-users=1048576:65536", "--private-users-ownership=off"])
            .args(shell::SAY_AND_END)
            // All share one root.
            .env("SYSTEMD_NSPAWN_LOCK", "0");
        let init = shell::until_it_speaks(&mut command).await?;
        Ok(Once { init, released: None, parts: Vec::new() })
    }
}
