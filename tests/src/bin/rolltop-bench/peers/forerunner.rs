//! The steps of the forerunner (QVD: `VMHandler/LXC.pm`,
//! `LXC/FS/overlayfs.pm`), as the commands it runs: an overlay disk, its
//! mounts, `lxc-start` with a link on a bridge, and the wait for `RUNNING`.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::unistd::Pid;
use tokio::process::Command;

use super::{Once, SLOTS};
use crate::{shell, stage::Stage};

const BRIDGE: &str = "qvdnet";
const WAIT_SECONDS: &str = "60";

/// Its directories.
#[derive(Debug)]
pub(crate) struct Forerunner {
    base: PathBuf,
    dir: PathBuf,
    containers: PathBuf,
    group: String,
}

/// One container's.
struct Place {
    id: String,
    disk: PathBuf,
    layers: PathBuf,
    root: PathBuf,
    /// Of the process that watches the container.
    pid_file: PathBuf,
}

impl Forerunner {
    fn new(stage: &Stage) -> Self {
        let dir = stage.scratch.join("forerunner");
        Self {
            base: stage.base.clone(),
            containers: dir.join("lxc"),
            dir,
            group: format!("{}-lxc", stage.name),
        }
    }

    /// Makes what it makes once: directories, a bridge.
    pub(super) async fn prepare(stage: &Stage) -> anyhow::Result<Self> {
        let this = Self::new(stage);
        for slot in 0..SLOTS {
            let place = this.place(slot);
            for path in [&place.layers, &place.root, &this.containers.join(&place.id)] {
                fs::create_dir_all(path)?;
            }
        }
        ip(&["link", "add", BRIDGE, "type", "bridge"]).await?;
        ip(&["link", "set", BRIDGE, "up"]).await?;
        Ok(this)
    }

    fn place(&self, slot: u32) -> Place {
        let dir = self.dir.join(slot.to_string());
        Place {
            id: format!("reference-{slot}"),
            disk: dir.join("overlay.img"),
            layers: dir.join("overlay"),
            root: dir.join("root"),
            pid_file: dir.join("pid"),
        }
    }

    /// One container from nothing to running to nothing.
    pub(super) async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        let place = self.place(slot);
        let Place { id, disk, layers, root, pid_file } = &place;
        let begun = Instant::now();
        let mut parts: Vec<(&'static str, Duration)> = Vec::new();
        let mut lap = begun;
        let mut split = |name: &'static str| {
            parts.push((name, lap.elapsed()));
            lap = Instant::now();
        };
        shell::run(Command::new("truncate").args(["-s", "5G"]).arg(disk)).await?;
        shell::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(disk)).await?;
        split("truncate, mkfs.ext4");
        let mut mount_disk = Command::new("mount");
        shell::run(mount_disk.args(["-o", "loop"]).arg(disk).arg(layers)).await?;
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.base.display(),
            upper.display(),
            work.display()
        );
        let mut join = Command::new("mount");
        join.args(["-t", "overlay", "overlay", "-o", &options]).arg(root);
        shell::run(&mut join).await?;
        split("mount loop, overlay");
        fs::write(self.containers.join(id).join("config"), self.config(slot, &place))?;
        shell::run(self.lxc("lxc-start", id).args(["-d", "-p"]).arg(pid_file)).await?;
        shell::run(self.lxc("lxc-wait", id).args(["-s", "RUNNING", "-t", WAIT_SECONDS])).await?;
        split("lxc-start, lxc-wait");
        let init = begun.elapsed();

        let begun = Instant::now();
        let pid = Pid::from_raw(fs::read_to_string(pid_file)?.trim().parse()?);
        shell::run(self.lxc("lxc-stop", id).arg("-k")).await?;
        // Its watcher is this process's child.
        shell::reap(pid).await.context("the watcher of `lxc-start`")?;
        shell::run(Command::new("umount").arg(root).arg(layers)).await?;
        fs::remove_file(disk)?;
        Ok(Once { init, released: Some(begun.elapsed()), parts })
    }

    fn lxc(&self, program: &str, id: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-P").arg(&self.containers).args(["-n", id]);
        command
    }

    /// As its template has it, without what this image lacks (an init of its
    /// own, AppArmor).
    fn config(&self, slot: u32, place: &Place) -> String {
        let host = slot + 2;
        format!(
            "lxc.uts.name = qvd\n\
             lxc.rootfs.path = dir:{root}\n\
             lxc.init.cmd = /bin/sleep infinity\n\
             lxc.autodev = 1\n\
             lxc.tty.max = 3\n\
             lxc.pty.max = 1024\n\
             lxc.mount.auto = proc:mixed sys:ro\n\
             lxc.apparmor.profile = unconfined\n\
             lxc.cgroup.dir = {group}-{slot}\n\
             lxc.net.0.type = veth\n\
             lxc.net.0.link = {BRIDGE}\n\
             lxc.net.0.flags = up\n\
             lxc.net.0.name = eth0\n\
             lxc.net.0.hwaddr = 54:52:00:01:00:{host:02x}\n\
             lxc.net.0.ipv4.address = 10.78.1.{host}/16\n",
            root = place.root.display(),
            group = self.group,
        )
    }

    /// Takes away what was made once, and what an interrupted round left.
    pub(super) async fn sweep(stage: &Stage) -> anyhow::Result<()> {
        let this = Self::new(stage);
        if !this.containers.exists() {
            return Ok(());
        }
        for slot in 0..SLOTS {
            let place = this.place(slot);
            if !place.disk.exists() {
                continue;
            }
            // These fail when nothing is left, which is how it should be.
            let _stopped = shell::run(this.lxc("lxc-stop", &place.id).arg("-k")).await;
            let mut unmount = Command::new("umount");
            unmount.args(["--lazy", "--quiet"]).arg(&place.root).arg(&place.layers);
            let _unmounted = shell::run(&mut unmount).await;
        }
        ip(&["link", "delete", BRIDGE]).await
    }
}

async fn ip(words: &[&str]) -> anyhow::Result<()> {
    shell::run(Command::new("ip").args(words)).await
}
