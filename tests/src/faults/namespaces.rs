//! Namespaces of one's own: addresses and ports are free there, links can be
//! cut, and when it ends, however it ends, no process is left.

use std::process::ExitStatus;

use anyhow::{Context as _, bail, ensure};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

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
        return Ok(None);
    }
    let mut inside = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(INSIDE, "1")
        .kill_on_drop(true)
        .spawn()
        .context("cannot run unshare")?;
    // It ignores what would end it while it waits for its child, and so does the
    // child, as the first process there is: both are killed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        status = inside.wait() => return Ok(Some(status.context("cannot wait for unshare")?)),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    inside.kill().await.context("cannot end unshare")?;
    bail!("ended by a signal")
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
    (!nix::unistd::geteuid().is_root()).then(|| "needs root".to_owned())
}
