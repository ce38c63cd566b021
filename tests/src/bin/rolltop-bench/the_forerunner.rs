//! Reference: the steps of the forerunner (QVD: `VMHandler/LXC.pm`,
//! `LXC/FS/overlayfs.pm`), as the commands it runs: an overlay disk, its
//! mounts, `lxc-start` with a link on a bridge, and the wait for `RUNNING`.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::Context as _;
use nix::unistd::Pid;
use rolltop_tests::{bench::Report, machine::control_groups};
use tokio::process::Command;

use crate::{
    names::{FORERUNNER_INIT, FORERUNNER_RELEASED},
    shell,
    stage::Stage,
};

const BRIDGE: &str = "qvdnet";
const ID: &str = "reference";
const WAIT_SECONDS: &str = "10";

/// Its directories.
#[derive(Debug)]
pub(crate) struct Forerunner {
    base: PathBuf,
    disk: PathBuf,
    layers: PathBuf,
    root: PathBuf,
    containers: PathBuf,
    /// Of the process that watches the container.
    pid_file: PathBuf,
    group: String,
}

impl Forerunner {
    pub(crate) fn new(stage: &Stage) -> Self {
        let dir = stage.scratch.join("forerunner");
        Self {
            base: stage.base.clone(),
            disk: dir.join("overlay.img"),
            layers: dir.join("overlay"),
            root: dir.join("root"),
            containers: dir.join("lxc"),
            pid_file: dir.join("pid"),
            group: format!("{}-lxc", stage.name),
        }
    }

    /// Makes what it makes once: directories, a bridge.
    pub(crate) async fn prepare(&self) -> anyhow::Result<()> {
        for path in [&self.layers, &self.root, &self.containers.join(ID)] {
            fs::create_dir_all(path)?;
        }
        ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
        ip(&["link", "set", BRIDGE, "up"]).await
    }

    /// One container from nothing to running to nothing.
    pub(crate) async fn measure(&self, round: u32, figures: &mut Report) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut lap = begun;
        let mut split = |name: &'static str, figures: &mut Report| {
            figures.add_time(name, lap.elapsed());
            lap = Instant::now();
        };
        shell::run(Command::new("truncate").args(["-s", "5G"]).arg(&self.disk)).await?;
        shell::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&self.disk)).await?;
        split("forerunner: truncate, mkfs.ext4", figures);
        let mut disk = Command::new("mount");
        shell::run(disk.args(["-o", "loop"]).arg(&self.disk).arg(&self.layers)).await?;
        let (upper, work) = (self.layers.join("upper"), self.layers.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.base.display(),
            upper.display(),
            work.display()
        );
        let mut join = Command::new("mount");
        join.args(["-t", "overlay", "overlay", "-o", &options]).arg(&self.root);
        shell::run(&mut join).await?;
        split("forerunner: mount loop, overlay", figures);
        fs::write(self.containers.join(ID).join("config"), self.config(round))?;
        shell::run(self.lxc("lxc-start").args(["-d", "-p"]).arg(&self.pid_file)).await?;
        shell::run(self.lxc("lxc-wait").args(["-s", "RUNNING", "-t", WAIT_SECONDS])).await?;
        split("forerunner: lxc-start, lxc-wait", figures);
        figures.add_time(FORERUNNER_INIT, begun.elapsed());

        let begun = Instant::now();
        let pid = Pid::from_raw(fs::read_to_string(&self.pid_file)?.trim().parse()?);
        shell::run(self.lxc("lxc-stop").arg("-k")).await?;
        // Its watcher is this process's child.
        shell::reap(pid).await.context("the watcher of `lxc-start`")?;
        shell::run(Command::new("umount").arg(&self.root).arg(&self.layers)).await?;
        fs::remove_file(&self.disk)?;
        figures.add_time(FORERUNNER_RELEASED, begun.elapsed());
        Ok(())
    }

    fn lxc(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-P").arg(&self.containers).args(["-n", ID]);
        command
    }

    /// As its template has it, without what this image lacks (an init of its
    /// own, AppArmor).
    fn config(&self, round: u32) -> String {
        let host = round % 250 + 2;
        format!(
            "lxc.uts.name = qvd\n\
             lxc.rootfs.path = dir:{root}\n\
             lxc.init.cmd = /bin/sleep infinity\n\
             lxc.autodev = 1\n\
             lxc.tty.max = 3\n\
             lxc.pty.max = 1024\n\
             lxc.mount.auto = proc:mixed sys:ro\n\
             lxc.apparmor.profile = unconfined\n\
             lxc.cgroup.dir = {group}\n\
             lxc.net.0.type = veth\n\
             lxc.net.0.link = {BRIDGE}\n\
             lxc.net.0.flags = up\n\
             lxc.net.0.name = eth0\n\
             lxc.net.0.hwaddr = 54:52:00:01:00:{host:02x}\n\
             lxc.net.0.ipv4.address = 10.78.1.{host}/16\n",
            root = self.root.display(),
            group = self.group,
        )
    }

    /// Takes away what it made once, and what an interrupted round left.
    pub(crate) async fn sweep(&self) -> anyhow::Result<()> {
        if !self.containers.exists() {
            return Ok(());
        }
        // These fail when nothing is left, which is how it should be.
        let _stopped = shell::run(self.lxc("lxc-stop").arg("-k")).await;
        let mut unmount = Command::new("umount");
        let _unmounted =
            shell::run(unmount.args(["--lazy", "--quiet"]).arg(&self.root).arg(&self.layers)).await;
        // LXC leaves its own behind. The inner ones come later in the set.
        for group in control_groups(&self.group)?.iter().rev() {
            fs::remove_dir(group).with_context(|| format!("cannot remove {group}"))?;
        }
        ip(&["link", "delete", BRIDGE]).await
    }
}

async fn ip(words: &[&str]) -> anyhow::Result<()> {
    shell::run(Command::new("ip").args(words)).await
}
