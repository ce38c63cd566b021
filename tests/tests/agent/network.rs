//! What links show to others.

use std::{
    net::{Ipv6Addr, TcpListener},
    process::Command,
};

use anyhow::{Context as _, ensure};
use rolltop_fail_points::DIE_AT;
use rolltop_proto::v1::StartHostDesktopRequest;
use rolltop_tests::{
    agent::{Agent, Settings},
    client, display,
};
use serde_json::Value;

use crate::{
    crashes::murder,
    fail_points::armed,
    hostile::{Mac, counters, heard, mac, nft, parse_mac, reaches, send, udp, udp_socket, within},
    stage::{Elsewhere, Stage, demo, eventually, host, shell},
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
    shell(&mut api, 1, "getent hosts $(hostname) && bash -c 'exec 3<>/dev/udp/127.0.0.1/9'")
        .await?;
    ensure!(self::links("ip", &[])?.len() == before, "the host has a link more");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

/// On the LAN of [`lan`].
fn on_the_lan(mut settings: Settings) -> Settings {
    settings.more = toml::toml! {
        [network]
        mode = "lan"
        uplink = "lan0"
        addresses = "192.0.2.0/24"
        first = "192.0.2.100"
        gateway = "192.0.2.1"
        addresses6 = "2001:db8::/64"
        first6 = "2001:db8::100"
        gateway6 = "2001:db8::1"
        mtu = 1400
        ports_per_bridge = 1
    };
    settings
}

/// A LAN behind the link `lan0`, which is down, with a router on it.
fn lan() -> anyhow::Result<Elsewhere> {
    let router = Elsewhere::make()?;
    router.join("lan0", "l")?;
    for arguments in [
        &["ip", "addr", "add", "192.0.2.1/24", "dev", "l"][..],
        &["ip", "addr", "add", "2001:db8::1/64", "dev", "l", "nodad"],
        &["ip", "link", "set", "dev", "l", "up"],
        &["sysctl", "-qw", "net.ipv4.ip_forward=1"],
    ] {
        router.run(arguments)?;
    }
    Ok(router)
}

/// Whether `lan0` is as it was: on no bridge, and down.
fn is_given_back() -> anyhow::Result<()> {
    let links = self::links("ip", &[])?;
    let uplink = links.iter().find(|link| link["ifname"] == "lan0").context("no uplink")?;
    let flags = uplink["flags"].as_array().context("no flags")?;
    ensure!(uplink["master"].is_null() && !flags.contains(&"UP".into()), "{uplink}");
    Ok(())
}

pub(crate) async fn desktops_are_machines_of_the_lan(stage: &Stage) -> anyhow::Result<()> {
    let router = lan()?;
    let settings = on_the_lan(stage.settings()?);
    // A link the host goes by itself is left to it.
    host("ip", &["addr", "add", "192.0.2.9/24", "dev", "lan0"])?;
    let refused = Agent::start(settings.clone()).await.err().context("it took the host's link")?;
    ensure!(format!("{refused:#}").contains("addresses (192.0.2.9)"), "{refused:#}");
    host("ip", &["addr", "del", "192.0.2.9/24", "dev", "lan0"])?;

    let agent = Agent::start(settings.clone()).await?;
    let mut api = agent.api().await?;
    let first = client::start(&mut api, demo(1)).await?.desktop;
    let second = client::start(&mut api, demo(2)).await?.desktop;
    ensure!((first.ip.as_str(), first.ip6.as_str()) == ("192.0.2.100", "2001:db8::100"));
    let master = |name: &str| -> anyhow::Result<String> {
        let links = self::links("ip", &[])?;
        let link = links.iter().find(|link| link["ifname"] == name).context("no such link")?;
        ensure!(link["mtu"] == 1400, "{link}");
        Ok(link["master"].as_str().unwrap_or_default().to_owned())
    };
    ensure!((master("rt1")?, master("rt2")?) == (BRIDGE.into(), format!("{BRIDGE}-1")));
    // Both ways, in both families, from both bridges.
    let doors = [first.init_pid, second.init_pid]
        .map(|init| within(init, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 7000))?)));
    for to in ["192.0.2.100", "192.0.2.101", "2001:db8::100", "2001:db8::101"] {
        knock(&router, to, 7000).with_context(|| to.to_owned())?;
    }
    drop(doors);
    let pid = router.pid()?;
    let listener = within(pid, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80))?))?;
    for number in [1, 2] {
        for to in ["192.0.2.1", "2001:db8::1"] {
            ensure!(reaches(&mut api, number, to, 80).await?, "{number} does not reach {to}");
        }
    }
    // Nobody reaches the host, also by an address it got later.
    host("ip", &["addr", "add", "192.0.2.8/24", "dev", BRIDGE])?;
    let service = TcpListener::bind(("0.0.0.0", 7443))?;
    ensure!(!reaches(&mut api, 1, "192.0.2.8", 7443).await?, "the host was reached");
    knock(&router, "192.0.2.8", 7443)?;
    drop(service);
    host("ip", &["addr", "del", "192.0.2.8/24", "dev", BRIDGE])?;

    // To a neighbour: straight, and by the LAN's router.
    let neighbour = within(second.init_pid, || udp_socket(7777))?;
    let at_router = mac_at(&router, "l")?;
    let mine = (mac(&first)?, [192, 0, 2, 100].into(), 1);
    let straight = udp((mac(&second)?, [192, 0, 2, 101].into(), 7777), mine);
    let routed = udp((at_router, [192, 0, 2, 101].into(), 7777), mine);
    let before = counters()?;
    send(first.init_pid, &straight)?;
    send(first.init_pid, &routed)?;
    ensure!(counters()?["hairpin_dropped"] == before["hairpin_dropped"] + 2);
    ensure!(!heard(&neighbour)?, "a neighbour was reached");
    nft("delete table bridge rolltop\n")?;
    send(first.init_pid, &straight)?;
    ensure!(!heard(&neighbour)?, "ports of two bridges are not apart");
    send(first.init_pid, &routed)?;
    eventually("the neighbour is reached by the router", async || heard(&neighbour)).await?;

    // The next agent goes on where this one was.
    murder(agent).await?;
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(3)).await?;
    ensure!(master("rt3")? == format!("{BRIDGE}-2"));
    ensure!(reaches(&mut api, 2, "192.0.2.1", 80).await?, "after a kill");
    client::stop(&mut api, 1, 1).await?;
    // There is room again on the first.
    client::start(&mut api, demo(4)).await?;
    ensure!(master("rt4")? == BRIDGE);
    for number in [2, 3, 4] {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await?;
    is_given_back()?;
    drop(listener);
    host("ip", &["link", "del", "lan0"])?;
    router.end()
}

pub(crate) async fn an_uplink_is_taken_and_given_back_whenever_the_agent_dies(
    stage: &Stage,
) -> anyhow::Result<()> {
    let settings = on_the_lan(armed(stage)?);
    let router = lan()?;
    for place in ["make bridge", "take uplink", "set uplink up", "write rules"] {
        let mut dying = settings.clone();
        dying.environment = vec![(DIE_AT.into(), format!("{place}#1"))];
        ensure!(Agent::start(dying).await.is_err(), "it lives on after {place}");
        let agent = Agent::start(settings.clone()).await.with_context(|| place.to_owned())?;
        agent.purge().await?;
        is_given_back().with_context(|| format!("after death at {place}"))?;
    }
    let pid = router.pid()?;
    let listener = within(pid, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80))?))?;
    for place in ["make further bridge", "make trunk", "set trunk up"] {
        let mut dying = settings.clone();
        dying.environment = vec![(DIE_AT.into(), format!("{place}#1"))];
        let agent = Agent::start(dying).await?;
        let mut api = agent.api().await?;
        client::start(&mut api, demo(1)).await?;
        ensure!(client::start(&mut api, demo(2)).await.is_err(), "it lives on after {place}");
        agent.ended().await?;
        let agent = Agent::start(settings.clone()).await.with_context(|| place.to_owned())?;
        let mut api = agent.api().await?;
        let again = StartHostDesktopRequest { epoch: 2, request_id: "again".into(), ..demo(2) };
        client::start(&mut api, again).await.with_context(|| place.to_owned())?;
        ensure!(reaches(&mut api, 2, "192.0.2.1", 80).await?, "after death at {place}");
        client::stop(&mut api, 1, 1).await?;
        client::stop(&mut api, 2, 2).await?;
        agent.purge().await?;
    }
    drop(listener);
    host("ip", &["link", "del", "lan0"])?;
    router.end()
}

/// Connects from elsewhere.
fn knock(elsewhere: &Elsewhere, to: &str, port: u16) -> anyhow::Result<()> {
    let connect = format!("exec 3<>/dev/tcp/{to}/{port}");
    elsewhere.run(&["timeout", "5", "bash", "-c", &connect])
}

/// The hardware address of a link elsewhere.
fn mac_at(elsewhere: &Elsewhere, name: &str) -> anyhow::Result<Mac> {
    let pid = elsewhere.pid()?.to_string();
    let links = self::links("nsenter", &["--net", "--target", &pid, "ip"])?;
    let link = links.iter().find(|link| link["ifname"] == name).context("no such link")?;
    parse_mac(link["address"].as_str().context("no address")?)
}

/// All links as `ip` tells them, which `program` is or runs.
fn links(program: &str, before: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(program);
    let output = command.args(before).args(["-json", "-details", "link", "show"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} failed: {said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
