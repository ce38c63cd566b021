//! What links show to others.

use std::process::Command;

use anyhow::{Context as _, ensure};
use rolltop_tests::{agent::Agent, client, display};
use serde_json::Value;

use crate::{
    crashes::murder,
    stage::{Stage, demo, shell},
};

const BRIDGE: &str = "rolltop0";

/// A browser drops its requests (`ERR_NETWORK_CHANGED`) whenever an address
/// appears on its machine, be that the host or the desktop.
pub(crate) async fn no_link_gets_an_ipv6_address(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let desktop = client::start(&mut api, demo(1)).await?.desktop;

    // Whether addresses are made is asked, not only whether there are any: the
    // kernel makes them some time after a link is up.
    let mut links = links("ip", &[])?;
    links.retain(|link| link["ifname"] == BRIDGE || link["master"] == BRIDGE);
    ensure!(links.len() == 2, "the bridge and one port are expected: {links:?}");
    let init = desktop.init_pid.to_string();
    let inside = self::links("nsenter", &["--net", "--target", &init, "ip"])?;
    links.extend(inside.into_iter().filter(|link| link["ifname"] == "eth0"));
    ensure!(links.len() == 3, "the desktop has no eth0: {links:?}");
    for link in &links {
        ensure!(link["inet6_addr_gen_mode"] == "none", "it makes IPv6 addresses: {link}");
        let flags = link["flags"].as_array().context("no flags")?;
        ensure!(flags.contains(&"UP".into()), "it is not up: {link}");
    }
    let addresses = std::fs::read_to_string("/proc/self/net/if_inet6")?;
    ensure!(addresses.lines().all(|line| line.ends_with(" lo")), "on the host: {addresses}");
    let addresses = shell(&mut api, 1, "cat /proc/net/if_inet6").await?;
    ensure!(addresses.lines().all(|line| line.ends_with(" lo")), "inside: {addresses}");

    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

/// Desktops have IPv4 alone; one that speaks IPv6 anyway must not become the
/// host's router.
pub(crate) async fn the_host_is_deaf_to_ipv6_of_desktops(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let setting = format!("/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6");
    let deaf = std::fs::read_to_string(&setting).with_context(|| setting.clone())?;
    ensure!(deaf.trim() == "1", "{setting} is {deaf}");
    agent.purge().await
}

pub(crate) async fn desktops_may_have_no_links(stage: &Stage) -> anyhow::Result<()> {
    let mut settings = stage.settings()?;
    settings.more = toml::toml! {
        [network]
        mode = "none"
    };
    let before = self::links("ip", &[])?.len();
    let agent = Agent::start(settings.clone()).await?;
    let mut api = agent.api().await?;
    let desktop = client::start(&mut api, demo(1)).await?.desktop;
    ensure!(desktop.ip.is_empty() && desktop.ip6.is_empty(), "{desktop:?}");
    // The next agent finds one that has no link by its record alone.
    murder(agent).await?;
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    drop(display::connect(&mut api, 1, 1).await?);
    let init = desktop.init_pid.to_string();
    let inside = self::links("nsenter", &["--net", "--target", &init, "ip"])?;
    ensure!(inside.len() == 1, "more than a loopback: {inside:?}");
    shell(&mut api, 1, "getent hosts $(hostname) && exec 3<>/dev/udp/127.0.0.1/9").await?;
    ensure!(self::links("ip", &[])?.len() == before, "the host has a link more");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

/// All links as `ip` tells them, which `program` is or runs.
fn links(program: &str, before: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(program);
    let output = command.args(before).args(["-json", "-details", "link", "show"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} failed: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
