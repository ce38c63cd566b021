//! `podman run` over a root that is joined already, without a network, through
//! the same `runc`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::unistd::Pid;
use tokio::process::Command;

use super::{Ground, Once};
use crate::{arguments::Arguments, shell, stage::Stage};

const PROGRAM: &str = "podman";

#[derive(Debug)]
pub(crate) struct Podman {
    root: PathBuf,
    store: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
    group: String,
}

impl Podman {
    pub(super) fn prepare(arguments: &Arguments, stage: &Stage, ground: &Ground) -> Option<Self> {
        shell::is_installed(PROGRAM).then(|| Self {
            root: ground.root.clone(),
            store: stage.scratch.join("podman"),
            state: Path::new("/run").join(&stage.name).join("podman"),
            runtime: arguments.runc.clone(),
            group: format!("/{}-podman", stage.name),
        })
    }

    pub(super) async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        let watcher = self.store.join(format!("{slot}.pid"));
        let mut command = Command::new(PROGRAM);
        command
            .arg("--root")
            .arg(&self.store)
            .arg("--runroot")
            .arg(&self.state)
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime"])
            .arg(&self.runtime)
            .args(["run", "--rm", "--network", "none", "--log-driver", "none", "--cgroup-parent"])
            .arg(&self.group)
            .arg("--conmon-pidfile")
            .arg(&watcher)
            .arg(format!("--name=reference-{slot}"))
            .arg("--rootfs")
            .arg(&self.root)
            .args(shell::SAY_AND_END);
        let init = shell::until_it_speaks(&mut command).await?;
        // Its watcher is this process's child.
        let pid = Pid::from_raw(fs::read_to_string(&watcher)?.trim().parse()?);
        shell::reap(pid).await.context("the watcher of `podman run`")?;
        Ok(Once { init, released: None, parts: Vec::new() })
    }
}
