//! The network between brokers and hosts that have a machine of their own: a
//! bridge in the harness's network namespace, with a cable to each of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use super::cluster::host_name;

const BRIDGE: &str = "lan";
/// The link, as a host sees it.
pub(super) const INSIDE: &str = "lan0";
const AGENT_PORT: u16 = 7443;
/// Brokers' end; not the network that desktops have.
const OURS: &str = "10.98.0.254/24";
/// For the kernel to take away a network that nobody has any more; a process may
/// be in a call that has to end first.
const UNPLUGGED: Duration = Duration::from_secs(90);

/// Where brokers reach the agent of a host.
pub fn address(host: usize) -> SocketAddr {
    let last = u8::try_from(host + 1).unwrap_or(u8::MAX);
    SocketAddr::from((Ipv4Addr::new(10, 98, 0, last), AGENT_PORT))
}

/// Makes the bridge, if it is not there.
///
/// # Errors
/// The kernel refuses.
pub fn lay() -> anyhow::Result<()> {
    if has(BRIDGE) {
        return Ok(());
    }
    ip(&["link", "add", BRIDGE, "address", "02:00:00:00:98:fe", "type", "bridge"])?;
    ip(&["addr", "add", OURS, "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])
}

/// Joins the machine of a host, in which `pid` runs.
///
/// # Errors
/// The kernel refuses.
pub fn plug(host: usize, pid: i32) -> anyhow::Result<()> {
    let (name, pid) = (host_name(host), pid.to_string());
    ip(&["link", "add", &name, "type", "veth", "peer", "name", INSIDE, "netns", &pid])?;
    ip(&["link", "set", &name, "master", BRIDGE, "up"])?;
    let within = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        run(command.args(["--net", "--target", &pid, "--", "ip"]).args(arguments))
    };
    within(&["addr", "add", &format!("{}/24", address(host).ip()), "dev", INSIDE])?;
    within(&["link", "set", INSIDE, "up"])
}

/// Waits until the network of a host that has lost its power is gone, and with
/// it every process that was there.
///
/// # Errors
/// It stays.
pub async fn unplugged(host: usize) -> anyhow::Result<()> {
    let link = host_name(host);
    let deadline = Instant::now() + crate::patience::on_this_machine(UNPLUGGED);
    while has(&link) {
        ensure!(Instant::now() < deadline, "{link} does not go away");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn has(link: &str) -> bool {
    Path::new("/proc/sys/net/ipv4/conf").join(link).exists()
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
