//! Across: the neighbour's address, the host's ports, places a pool forbids.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    process::Command,
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{HostDesktop, NetworkPolicy, StartHostDesktopRequest};
use rolltop_tests::{
    agent::{Agent, Settings},
    client::{self, Api},
};
use serde_json::Value;

use super::frames::{Mac, arp, ethernet, ipv6, neighbour, send, udp, udp_socket, within};
use crate::{
    crashes::murder,
    stage::{Elsewhere, Stage, demo, eventually, exec, host},
};

const BRIDGE: &str = "rolltop0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const PORT: u16 = 7777;

/// What one desktop should not be able to send to the host.
struct Attempt {
    /// Also the name of its counter in the table `probe`.
    name: &'static str,
    frame: Vec<u8>,
    /// By what it is known when it arrives at the bridge's own side.
    seen_as: &'static str,
    /// What counts it when it is dropped.
    counter: &'static str,
}

fn attempts(bridge: Mac, first: Mac, second: Mac) -> Vec<Attempt> {
    let nobody = [0x54, 0x52, 0, 0, 0, 9];
    let server = (bridge, GATEWAY, PORT);
    let tagged = [&[0, 5, 8, 0][..], &udp(server, (first, FIRST, 1))[14..]].concat();
    vec![
        Attempt {
            name: "neighbours_ip",
            frame: udp(server, (first, SECOND, 1)),
            seen_as: "ip saddr 10.77.0.2 udp dport 7777",
            counter: "address_dropped",
        },
        Attempt {
            name: "free_ip",
            frame: udp(server, (first, NOBODY, 1)),
            seen_as: "ip saddr 10.77.0.9 udp dport 7777",
            counter: "address_dropped",
        },
        Attempt {
            name: "neighbours_mac",
            frame: udp(server, (second, FIRST, 1)),
            seen_as: "ether saddr 54:52:00:00:00:02 udp dport 7777",
            counter: "address_dropped",
        },
        Attempt {
            name: "both_of_the_neighbour",
            frame: udp(server, (second, SECOND, 2)),
            seen_as: "ether saddr 54:52:00:00:00:02 udp sport 2 udp dport 7777",
            counter: "address_dropped",
        },
        Attempt {
            name: "no_known_mac",
            frame: udp(server, (nobody, FIRST, 1)),
            seen_as: "ether saddr 54:52:00:00:00:09 udp dport 7777",
            counter: "address_dropped",
        },
        Attempt {
            name: "arp_for_the_neighbour",
            frame: arp(bridge, first, (first, SECOND), GATEWAY),
            seen_as: "arp saddr ip 10.77.0.2",
            counter: "arp_dropped",
        },
        Attempt {
            name: "arp_for_the_gateway",
            frame: arp([0xff; 6], first, (first, GATEWAY), FIRST),
            seen_as: "arp saddr ip 10.77.255.254",
            counter: "arp_dropped",
        },
        Attempt {
            name: "arp_of_another_mac",
            frame: arp(bridge, first, (second, FIRST), GATEWAY),
            seen_as: "arp saddr ether 54:52:00:00:00:02",
            counter: "arp_dropped",
        },
        Attempt {
            name: "router_advertisement",
            frame: ethernet([0x33, 0x33, 0, 0, 0, 1], first, 0x86dd, &ROUTER),
            seen_as: "ether type ip6 icmpv6 type nd-router-advert",
            counter: "ipv6_dropped",
        },
        Attempt {
            name: "vlan_tag",
            frame: ethernet(bridge, first, 0x8100, &tagged),
            seen_as: "vlan id 5",
            counter: "vlan_dropped",
        },
        Attempt {
            name: "dhcp_answer",
            frame: udp((bridge, GATEWAY, 68), (first, FIRST, 67)),
            seen_as: "udp sport 67",
            counter: "server_dropped",
        },
        Attempt {
            name: "another_protocol",
            frame: ethernet(bridge, first, 0x88b5, b"experimental"),
            seen_as: "ether type 0x88b5",
            counter: "protocol_dropped",
        },
    ]
}

/// IPv6 from fe80::1 to ff02::1 with ICMPv6 "here is a router", for 1,800 s. The
/// checksum does not matter to who only looks.
const ROUTER: [u8; 56] = {
    let mut packet = [0; 56];
    (packet[0], packet[5], packet[6], packet[7]) = (0x60, 16, 58, 255);
    (packet[8], packet[9], packet[23]) = (0xfe, 0x80, 1);
    (packet[24], packet[25], packet[39]) = (0xff, 0x02, 1);
    (packet[40], packet[44], packet[46], packet[47]) = (134, 64, 0x07, 0x08);
    packet
};

/// Counts what comes through to the host's side of the bridge, and as `own` what
/// looks like `own`.
fn probe(attempts: &[Attempt], own: &str) -> anyhow::Result<()> {
    let mut probe = "table netdev probe {\n counter own {}\n".to_owned();
    for Attempt { name, .. } in attempts {
        probe += &format!(" counter {name} {{}}\n");
    }
    probe += &format!(" chain in {{ type filter hook ingress device {BRIDGE} priority 0;\n");
    for Attempt { name, seen_as, .. } in attempts {
        probe += &format!("  {seen_as} counter name {name}\n");
    }
    probe += &format!("  {own} counter name own\n }}\n}}\n");
    nft(&probe)
}

fn are_dropped(init: i32, attempts: &[Attempt]) -> anyhow::Result<()> {
    for Attempt { name, frame, counter, .. } in attempts {
        let before = counters()?;
        send(init, frame)?;
        let after = counters()?;
        ensure!(after[*name] == before[*name], "{name} came through");
        ensure!(after[*counter] > before[*counter], "{name} was not counted as {counter}");
    }
    Ok(())
}

/// Without walls.
fn come_through(init: i32, attempts: &[Attempt]) -> anyhow::Result<()> {
    for Attempt { name, frame, .. } in attempts {
        let before = counters()?;
        send(init, frame)?;
        ensure!(counters()?[*name] > before[*name], "{name} is no attempt: it never comes through");
    }
    Ok(())
}

pub(crate) async fn frames_in_anothers_name_are_dropped(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let first = client::start(&mut api, demo(1)).await?.desktop;
    let second = client::start(&mut api, demo(2)).await?.desktop;
    let (bridge, first_mac, second_mac) = (mac_of(BRIDGE)?, mac(&first)?, mac(&second)?);
    let attempts = attempts(bridge, first_mac, second_mac);

    probe(&attempts, "ip saddr 10.77.0.1 udp sport 4")?;
    are_dropped(first.init_pid, &attempts)?;
    // Not everything is dropped.
    send(first.init_pid, &udp((bridge, GATEWAY, PORT), (first_mac, FIRST, 4)))?;
    ensure!(counters()?["own"] == 1, "its own frame did not come through");

    // To the neighbour: by the host's routing, and straight.
    let neighbour = within(second.init_pid, || udp_socket(PORT))?;
    let mine = (first_mac, FIRST, 1);
    let routed = udp((bridge, SECOND, PORT), mine);
    let straight = udp((second_mac, SECOND, PORT), mine);
    let before = counters()?;
    send(first.init_pid, &routed)?;
    send(first.init_pid, &straight)?;
    ensure!(counters()?["across_dropped"] == before["across_dropped"] + 1);
    ensure!(!heard(&neighbour)?, "a neighbour was reached");
    // To the host's own services.
    let service = udp_socket(PORT)?;
    let to_host = udp((bridge, GATEWAY, PORT), mine);
    send(first.init_pid, &to_host)?;
    ensure!(!heard(&service)?, "the host was reached");

    // All of it works where the walls are missing.
    nft("delete table bridge rolltop\ndelete table ip rolltop\n")?;
    host("bridge", &["link", "set", "dev", "rt1", "locked", "off", "isolated", "off"])?;
    come_through(first.init_pid, &attempts)?;
    // The attempts above have put the host wrong about who has which address.
    host("ip", &["neigh", "flush", "dev", BRIDGE])?;
    for (what, frame, socket) in [
        ("the host", &to_host, &service),
        ("the neighbour by the host", &routed, &neighbour),
        ("the neighbour", &straight, &neighbour),
    ] {
        send(first.init_pid, frame)?;
        eventually(&format!("{what} is reached"), async || heard(socket)).await?;
    }
    nft("delete table netdev probe\n")?;
    client::stop(&mut api, 1, 1).await?;
    client::stop(&mut api, 2, 1).await?;
    agent.purge().await
}

/// A network behind the host, with somebody on it.
struct World {
    elsewhere: Elsewhere,
    listeners: Vec<TcpListener>,
}

impl World {
    /// 198.51.100.1, 203.0.113.1 and 2001:db8:9::1 with these ports, behind the
    /// link `world`.
    fn make(ports: &[u16]) -> anyhow::Result<Self> {
        let mut world = Self { elsewhere: Elsewhere::make()?, listeners: Vec::new() };
        world.elsewhere.join("world", "w")?;
        host("ip", &["addr", "add", "198.51.100.254/24", "dev", "world"])?;
        host("ip", &["addr", "add", "2001:db8:9::254/64", "dev", "world", "nodad"])?;
        host("ip", &["link", "set", "world", "up"])?;
        host("ip", &["route", "add", "203.0.113.0/24", "via", "198.51.100.1"])?;
        for arguments in [
            &["addr", "add", "198.51.100.1/24", "dev", "w"][..],
            &["addr", "add", "203.0.113.1/24", "dev", "w"],
            &["addr", "add", "2001:db8:9::1/64", "dev", "w", "nodad"],
            &["link", "set", "w", "up"],
        ] {
            world.elsewhere.run(&[&["ip"], arguments].concat())?;
        }
        let pid = world.elsewhere.pid()?;
        for &port in ports {
            // Of both families.
            let listener = within(pid, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?))?;
            world.listeners.push(listener);
        }
        Ok(world)
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.listeners.clear();
        host("ip", &["link", "del", "world"])?;
        self.elsewhere.end()
    }
}

/// Whether a program in desktop `number` gets a TCP connection.
pub(crate) async fn reaches(
    api: &mut Api,
    number: u32,
    to: &str,
    port: u16,
) -> anyhow::Result<bool> {
    let command = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{to}/{port}'");
    Ok(exec(api, number, true, &command).await?.1 == 0)
}

pub(crate) fn with_rules(number: u32, rules: &[&str]) -> StartHostDesktopRequest {
    let egress = rules.iter().map(|&rule| rule.to_owned()).collect();
    StartHostDesktopRequest { network: Some(NetworkPolicy { egress }), ..demo(number) }
}

pub(crate) async fn only_what_a_pool_allows_may_leave(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let fault = api.start_desktop(with_rules(1, &["deny all", "allow 10.0.0.1/8"])).await;
    let fault = fault.err().context("a rule with bits behind its prefix was taken")?;
    let details = String::from_utf8_lossy(fault.details()).into_owned();
    ensure!(
        details.contains("write 10.0.0.0/8") && details.contains("network.egress"),
        "{fault:?}"
    );

    let world = World::make(&[80, 443, 8001])?;
    // One of the host's own, and one more address of the host.
    let services = [TcpListener::bind(("0.0.0.0", 7443))?, TcpListener::bind(("0.0.0.0", 7444))?];
    host("ip", &["addr", "add", "192.0.2.77/32", "dev", "lo"])?;
    const HERE: &str = "198.51.100.1";
    const BEYOND: &str = "203.0.113.1";
    const HOST: &str = "10.77.255.254";
    const OTHER: &str = "192.0.2.77";

    let closed = ["allow 198.51.100.0/24 tcp 8000-8001", "allow host tcp 7443", "deny all"];
    let open = ["deny 203.0.113.1 tcp 80", "allow 192.0.2.77 tcp 7444", "allow all"];
    client::start(&mut api, demo(1)).await?;
    client::start(&mut api, with_rules(2, &closed)).await?;
    client::start(&mut api, with_rules(3, &open)).await?;
    let expected = [
        // No rules: everything but the host.
        (1, HERE, 80, true),
        (1, BEYOND, 443, true),
        (1, HOST, 7443, false),
        (1, OTHER, 7444, false),
        // Deny all but.
        (2, HERE, 8001, true),
        (2, HERE, 80, false),
        (2, BEYOND, 443, false),
        (2, BEYOND, 8001, false),
        (2, HOST, 7443, true),
        (2, HOST, 7444, false),
        (2, OTHER, 7443, false),
        // Allow all but; the host by one address.
        (3, HERE, 80, true),
        (3, BEYOND, 80, false),
        (3, BEYOND, 443, true),
        (3, OTHER, 7444, true),
        (3, OTHER, 7443, false),
        (3, HOST, 7444, false),
    ];
    for (number, to, port, may) in expected {
        let does = reaches(&mut api, number, to, port).await?;
        ensure!(does == may, "desktop {number} to {to} port {port}: {does}, should be {may}");
    }

    // The next agent knows it from their records.
    murder(agent).await?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    for (number, to, port, may) in expected {
        let does = reaches(&mut api, number, to, port).await?;
        ensure!(does == may, "after a kill: desktop {number} to {to} port {port}: {does}");
    }
    client::stop(&mut api, 2, 1).await?;
    ensure!(elements()?.iter().filter(|name| name.starts_with("chain policy_")).count() == 2);
    for number in [1, 3] {
        client::stop(&mut api, number, 1).await?;
    }
    let left = elements()?;
    ensure!(left.is_empty(), "what was theirs is left: {left:?}");

    // None of it was a matter of nobody listening.
    client::start(&mut api, demo(4)).await?;
    nft("delete table bridge rolltop\nflush chain ip rolltop input\n")?;
    for (to, port) in [(HOST, 7443), (HOST, 7444), (OTHER, 7443), (OTHER, 7444), (HERE, 80)] {
        ensure!(reaches(&mut api, 4, to, port).await?, "nobody listens at {to} port {port}");
    }
    client::stop(&mut api, 4, 1).await?;
    drop(services);
    host("ip", &["addr", "del", "192.0.2.77/32", "dev", "lo"])?;
    world.end()?;
    agent.purge().await
}

const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0xffff, 0xffff, 0xffff, 0xfffe);
const FIRST6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const SECOND6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn attempts6(bridge: Mac, first: Mac, second: Mac) -> Vec<Attempt> {
    // Ports 1 and 7777, length, no checksum, four bytes.
    let udp = [0, 1, 0x1e, 0x61, 0, 12, 0, 0, b'h', b'i', b'!', b'\n'];
    let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let attempt = |name, frame, seen_as, counter| Attempt { name, frame, seen_as, counter };
    vec![
        attempt(
            "neighbours_ip6",
            ipv6((bridge, GATEWAY6), (first, SECOND6), 17, &udp),
            "ip6 saddr fd77::2 udp dport 7777",
            "ipv6_dropped",
        ),
        attempt(
            "advert_for_the_neighbour",
            neighbour(136, (bridge, GATEWAY6), (first, FIRST6), SECOND6, Some(first)),
            "icmpv6 type nd-neighbor-advert @th,64,128 0xfd770000000000000000000000000002",
            "neighbour_dropped",
        ),
        attempt(
            "advert_for_the_gateway",
            neighbour(136, (ALL_NODES_MAC, ALL_NODES), (first, FIRST6), GATEWAY6, None),
            "icmpv6 type nd-neighbor-advert @th,64,128 0xfd77000000000000fffffffffffffffe",
            "neighbour_dropped",
        ),
        attempt(
            "advert_of_another_mac",
            neighbour(136, (bridge, GATEWAY6), (first, FIRST6), FIRST6, Some(second)),
            "icmpv6 type nd-neighbor-advert @th,208,48 0x545200000002",
            "neighbour_dropped",
        ),
        attempt(
            "solicitation_of_another_mac",
            neighbour(135, (bridge, GATEWAY6), (first, FIRST6), GATEWAY6, Some(second)),
            "icmpv6 type nd-neighbor-solicit @th,208,48 0x545200000002",
            "neighbour_dropped",
        ),
        attempt(
            "router_advertisement_6",
            ipv6((ALL_NODES_MAC, ALL_NODES), (first, FIRST6), 58, &router),
            "icmpv6 type nd-router-advert",
            "server_dropped",
        ),
    ]
}

pub(crate) fn with_ipv6(mut settings: Settings) -> Settings {
    settings.more = toml::toml! {
        [network]
        addresses6 = "fd77::/64"
    };
    settings
}

pub(crate) async fn ipv6_has_walls_too(stage: &Stage) -> anyhow::Result<()> {
    let world = World::make(&[80, 443])?;
    let agent = Agent::start(with_ipv6(stage.settings()?)).await?;
    let mut api = agent.api().await?;
    let first = client::start(&mut api, demo(1)).await?.desktop;
    ensure!(first.ip6 == "fd77::1", "{first:?}");
    let closed = ["allow 2001:db8:9::/64 tcp 443", "allow host tcp 7443", "deny all"];
    let second = client::start(&mut api, with_rules(2, &closed)).await?.desktop;
    let services =
        [7443, 7444].map(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).into_iter();
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let there = within(second.init_pid, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80))?))?;
    const WORLD: &str = "2001:db8:9::1";
    let gateway = GATEWAY6.to_string();
    for (number, to, port, may) in [
        // Its way back is known to nobody: it has the host's address.
        (1, WORLD, 80, true),
        (1, gateway.as_str(), 7443, false),
        (1, "2001:db8:9::254", 7444, false),
        (1, "fd77::2", 80, false),
        (2, WORLD, 443, true),
        (2, WORLD, 80, false),
        (2, gateway.as_str(), 7443, true),
        (2, gateway.as_str(), 7444, false),
    ] {
        let does = reaches(&mut api, number, to, port).await?;
        ensure!(does == may, "desktop {number} to {to} port {port}: {does}, should be {may}");
    }
    ensure!(
        exec(&mut api, 1, false, "getent ahostsv6 $(hostname) | grep -q fd77::1").await?.1 == 0
    );
    drop((services, there));

    let (bridge, first_mac) = (mac_of(BRIDGE)?, mac(&first)?);
    let attempts = attempts6(bridge, first_mac, mac(&second)?);
    probe(&attempts, "icmpv6 type nd-neighbor-advert ip6 length 32")?;
    are_dropped(first.init_pid, &attempts)?;
    let own = neighbour(136, (bridge, GATEWAY6), (first_mac, FIRST6), FIRST6, Some(first_mac));
    let before = counters()?;
    send(first.init_pid, &own)?;
    ensure!(counters()?["own"] > before["own"], "its own advertisement did not come through");
    nft("delete table bridge rolltop\n")?;
    host("bridge", &["link", "set", "dev", "rt1", "locked", "off"])?;
    come_through(first.init_pid, &attempts)?;
    // A router nobody asked for is not believed inside.
    let routes = exec(&mut api, 1, false, "cat /proc/sys/net/ipv6/conf/eth0/accept_ra").await?.0;
    ensure!(routes.trim() == "0", "{routes}");
    nft("delete table netdev probe\n")?;
    client::stop(&mut api, 1, 1).await?;
    client::stop(&mut api, 2, 1).await?;
    agent.purge().await?;
    world.end()
}

/// Somebody flushes all rules, as a restart of the service nftables does.
pub(crate) async fn walls_are_mended_and_taken_away(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, with_rules(1, &["deny 192.0.2.1", "allow host"])).await?;
    client::start(&mut api, demo(2)).await?;
    let whole = elements()?;
    ensure!(whole.len() == 8, "two ports, two addresses, two policies of two chains: {whole:?}");

    nft("flush ruleset\n")?;
    client::start(&mut api, demo(3)).await?;
    client::stop(&mut api, 3, 1).await?;
    ensure!(elements()? == whole, "after a start: {:?}", elements()?);
    // Gone by another hand: no reason not to come down.
    nft("flush ruleset\n")?;
    client::start(&mut api, demo(4)).await?;
    nft("flush set bridge rolltop owners\n")?;
    client::stop(&mut api, 4, 1).await?;
    ensure!(elements()? == whole, "after a stop: {:?}", elements()?);
    // Strangers in the sets, and a desktop missing.
    nft("add element bridge rolltop owners { \"rt9\" . 54:52:00:00:00:09 . 10.77.0.9 }\n\
         add chain bridge rolltop policy_stray\n\
         delete element ip rolltop desktops { 10.77.0.2 }\n")?;
    murder(agent).await?;
    let agent = stage.agent().await?;
    ensure!(elements()? == whole, "after a kill: {:?}", elements()?);
    let mut api = agent.api().await?;
    client::stop(&mut api, 1, 1).await?;
    client::stop(&mut api, 2, 1).await?;
    // That both tables are gone then, the stage looks after.
    agent.purge().await
}

pub(crate) fn nft(rules: &str) -> anyhow::Result<()> {
    host("nft", &[rules])
}

fn list(what: &str) -> anyhow::Result<Vec<Value>> {
    let output = Command::new("nft").args(["-j", "list", what]).output()?;
    ensure!(output.status.success(), "nft cannot list {what}");
    let mut told: Value = serde_json::from_slice(&output.stdout)?;
    let objects = told["nftables"].as_array_mut().context("no objects")?;
    Ok(std::mem::take(objects))
}

/// Packets by name of the counter.
pub(crate) fn counters() -> anyhow::Result<BTreeMap<String, u64>> {
    let counters = list("counters")?.into_iter().filter_map(|object| {
        let counter = object.get("counter")?;
        Some((counter["name"].as_str()?.to_owned(), counter["packets"].as_u64()?))
    });
    Ok(counters.collect())
}

/// What there is of desktops: elements of sets and maps, and chains of policies.
fn elements() -> anyhow::Result<std::collections::BTreeSet<String>> {
    let mut found = std::collections::BTreeSet::new();
    for object in list("ruleset")? {
        for kind in ["set", "map"] {
            let Some(set) = object.get(kind) else { continue };
            for element in set["elem"].as_array().into_iter().flatten() {
                found.insert(format!("{} {} {element}", set["family"], set["name"]));
            }
        }
        if let Some(name) = object["chain"]["name"].as_str()
            && name.starts_with("policy_")
        {
            found.insert(format!("chain {name} {}", object["chain"]["family"]));
        }
    }
    found.retain(|element| !element.contains("name_servers") && !element.contains(" \"host"));
    Ok(found)
}

/// Whether anything came.
pub(crate) fn heard(socket: &UdpSocket) -> anyhow::Result<bool> {
    match socket.recv(&mut [0; 64]) {
        Ok(_length) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn mac_of(link: &str) -> anyhow::Result<Mac> {
    parse(&std::fs::read_to_string(format!("/sys/class/net/{link}/address"))?)
}

pub(crate) fn mac(desktop: &HostDesktop) -> anyhow::Result<Mac> {
    parse(&desktop.mac)
}

pub(crate) fn parse(text: &str) -> anyhow::Result<Mac> {
    let bytes: Result<Vec<u8>, _> =
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes?.try_into().ok().with_context(|| format!("{text} is no hardware address"))
}
