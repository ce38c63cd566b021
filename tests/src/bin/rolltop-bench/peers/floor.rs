//! The bare system calls: see `rolltop-bench-floor`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::Once;
use crate::{arguments::Arguments, shell, stage::Stage};

const PROGRAM: &str = "rolltop-bench-floor";
const BRIDGE: &str = "floor0";
/// As large as the agent's.
const DISK: &str = "5G";
const GROUPS: &str = "/sys/fs/cgroup";
/// Where control groups of version 1 are, and the second version's beside them.
const HIERARCHIES: [&str; 5] = ["memory", "pids", "cpu", "devices", "unified"];

#[derive(Debug)]
pub(crate) struct Floor {
    program: PathBuf,
    base: PathBuf,
    template: PathBuf,
    dir: PathBuf,
    bridge: String,
    groups: Vec<PathBuf>,
    name: String,
}

#[derive(Deserialize)]
struct Times {
    init_us: u64,
    released_us: u64,
}

impl Floor {
    pub(super) async fn prepare(arguments: &Arguments, stage: &Stage) -> anyhow::Result<Self> {
        let program = arguments.program(PROGRAM)?;
        let dir = stage.scratch.join("floor");
        fs::create_dir_all(&dir)?;
        let template = dir.join("template.ext4");
        shell::run(Command::new("truncate").args(["-s", DISK]).arg(&template)).await?;
        // As the agent's overlays are made.
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"]).arg(&template);
        shell::run(&mut mkfs).await?;
        shell::run(Command::new("ip").args(["link", "add", BRIDGE, "up", "type", "bridge"]))
            .await?;
        let bridge = fs::read_to_string(format!("/sys/class/net/{BRIDGE}/ifindex"))?;
        let mounts = HIERARCHIES.map(|name| Path::new(GROUPS).join(name));
        let mut groups: Vec<PathBuf> =
            mounts.into_iter().filter(|dir| dir.join("cgroup.procs").exists()).collect();
        if groups.is_empty() {
            groups.push(GROUPS.into());
        }
        ensure!(groups[0].join("cgroup.procs").exists(), "no control groups in {GROUPS}");
        let bridge = bridge.trim().to_owned();
        let (base, name) = (stage.base.clone(), stage.name.clone());
        Ok(Self { program, base, template, dir, bridge, groups, name })
    }

    pub(super) async fn sweep(stage: &Stage) -> anyhow::Result<()> {
        if stage.scratch.join("floor").exists() {
            shell::run(Command::new("ip").args(["link", "delete", BRIDGE])).await?;
        }
        Ok(())
    }

    pub(super) async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        let mut command = Command::new(&self.program);
        command.arg("--base").arg(&self.base).arg("--template").arg(&self.template);
        command.arg("--work").arg(self.dir.join(slot.to_string()));
        command.args(["--link", &format!("floor-{slot}"), "--bridge", &self.bridge]);
        for group in &self.groups {
            command.arg("--group").arg(group.join(format!("{}-floor-{slot}", self.name)));
        }
        let output = command.kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{PROGRAM}: {}: {}", output.status, said.trim());
        let times: Times = serde_json::from_slice(&output.stdout).context("its times")?;
        Ok(Once {
            init: Duration::from_micros(times.init_us),
            released: Some(Duration::from_micros(times.released_us)),
            parts: Vec::new(),
        })
    }
}
