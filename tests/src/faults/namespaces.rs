//! Namespaces of one's own: addresses and ports are free there, links can be
//! cut, and when it ends, however it ends, no process is left.

use std::process::ExitStatus;

use anyhow::{Context as _, ensure};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

use super::{clocks, real::remove_groups};

/// Set within them.
const INSIDE: &str = "ROLLTOP_FAULTS_INSIDE";

/// Runs this program once more within namespaces of its own, with these
/// arguments, and answers how it ended; none: it is within them.
///
/// # Errors
/// They cannot be made, or loopback cannot be brought up in them.
pub async fn enter(arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<ExitStatus>> {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().await;
        ensure!(up.context("cannot run ip")?.success(), "loopback cannot be brought up");
        // What killed programs leave in memory that is shared goes with these.
        let memory = Command::new("mount").args(["-t", "tmpfs", "shm", "/dev/shm"]).status().await;
        ensure!(memory.context("cannot run mount")?.success(), "/dev/shm cannot be covered");
        return Ok(None);
    }
    let name = format!("faults-{}", std::process::id());
    let limits = inotify_limits();
    let mut inside = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(INSIDE, &name)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run unshare")?;
    // It ignores what would end it while it waits for its child, and so does the
    // child, as the first process there is: both are killed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        status = inside.wait() => Some(status.context("cannot wait for unshare")?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if ended.is_none() {
        inside.kill().await.context("cannot end unshare")?;
    }
    // Control groups are the whole machine's, and so is what agents raise.
    remove_groups(&format!("/{name}-")).await?;
    for (path, before) in limits {
        std::fs::write(&path, before).with_context(|| format!("cannot write {path}"))?;
    }
    ended.map(Some).context("ended by a signal")
}

/// Limits that agents raise for good when their machines lose power.
fn inotify_limits() -> Vec<(String, String)> {
    let paths =
        ["instances", "watches"].map(|name| format!("/proc/sys/fs/inotify/max_user_{name}"));
    let read = |path: String| Some((path.clone(), std::fs::read_to_string(path).ok()?));
    paths.into_iter().filter_map(read).collect()
}

/// Within them: a name that nobody else on this machine has.
pub fn name() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// What is missing here; none: nothing.
pub fn missing() -> Option<String> {
    let programs = [
        ("etcd", "etcd-server"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
    ];
    for (program, package) in programs {
        let there = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        });
        if !there {
            return Some(format!("there is no {program} (package {package})"));
        }
    }
    if clocks::library().is_none() {
        return Some("there is no libfaketime (package faketime)".to_owned());
    }
    (!nix::unistd::geteuid().is_root()).then(|| "needs root".to_owned())
}
