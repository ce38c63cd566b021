//! Whether the desktops' network fits beside what the host has already.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use super::{Findings, Verdict, kernel::read};
use crate::{
    address::Subnet,
    config::{Config, Mode, NetworkConfig},
    network::advertised_route,
};

pub(super) fn look(root: &Path, config: &Config, findings: &mut Findings) {
    let network = &config.network;
    if network.mode == Mode::None {
        findings.good("addresses", "desktops have no links (network.mode is none)");
        return;
    }
    let links = root.join("sys/class/net");
    let bridge = &network.bridge;
    let link = links.join(bridge);
    match (link.exists(), link.join("bridge").exists()) {
        (false, _) if network.mode == Mode::Lan && network.uplink.is_none() => findings.add(
            Verdict::Bad,
            "bridge",
            format!("{bridge} is not there, and network.uplink names no link to make it with"),
            "make the bridge in the host's network configuration, or name an uplink",
        ),
        (false, _) => findings.good("bridge", format!("{bridge} will be made")),
        (true, true) => findings.good("bridge", format!("{bridge} is there and will be used")),
        (true, false) => findings.add(
            Verdict::Bad,
            "bridge",
            format!("{bridge} is there, but no bridge"),
            "let network.bridge name another link",
        ),
    }
    if network.mode == Mode::Lan {
        lan(root, network, findings);
    } else {
        addresses(root, network, findings);
    }
    ipv6(root, network, findings);
}

/// What makes a LAN fit for desktops.
fn lan(root: &Path, network: &NetworkConfig, findings: &mut Findings) {
    if let Some(uplink) = &network.uplink {
        let link = root.join("sys/class/net").join(uplink);
        let bad = |findings: &mut Findings, found: &str, remedy: &str| {
            findings.add(Verdict::Bad, "uplink", format!("{uplink} {found}"), remedy);
        };
        let bridge = fs::read_link(link.join("master")).ok();
        let bridge = bridge.as_deref().and_then(Path::file_name);
        let table = read(root, "proc/net/route").unwrap_or_default();
        let own = "have the host's network configuration make a bridge of it, name that in network.bridge and leave network.uplink out";
        if !link.exists() {
            bad(findings, "is not there", "let network.uplink name a link that `ip link` lists");
        } else if link.join("phy80211").exists() || link.join("wireless").exists() {
            let remedy = "use a cable: access points take one hardware address from each machine";
            bad(findings, "is wireless, and cannot be a bridge's", remedy);
        } else if bridge.is_some_and(|bridge| bridge != network.bridge.as_str()) {
            bad(findings, "is a port of another bridge or bond", own);
        } else if all_routes(&table).any(|route| route.link == uplink) {
            bad(findings, "carries this host's own addresses", own);
        } else {
            findings.good("uplink", format!("{uplink} can be the bridge's"));
        }
    }
    if read(root, "proc/sys/net/bridge/bridge-nf-call-iptables").is_some_and(|on| on.trim() == "1")
    {
        findings.add(
            Verdict::Weak,
            "br_netfilter",
            "rules of iptables for what is routed also meet what desktops send to the LAN",
            "see to it that the chain FORWARD lets it pass, or set net.bridge.bridge-nf-call-iptables = 0",
        );
    }
}

/// Whether the host can have IPv6 for its desktops.
fn ipv6(root: &Path, network: &NetworkConfig, findings: &mut Findings) {
    if !network.addresses.has_ipv6() {
        return;
    }
    let forwards = read(root, "proc/sys/net/ipv6/conf/all/forwarding");
    let table = read(root, "proc/net/ipv6_route").unwrap_or_default();
    match (forwards.as_deref().map(str::trim), advertised_route(&table)) {
        (None, _) => findings.add(
            Verdict::Bad,
            "IPv6",
            "this kernel has none",
            "take network.addresses6 out, or boot without ipv6.disable=1",
        ),
        (Some("0"), Some(link)) if network.mode != Mode::Lan => findings.add(
            Verdict::Bad,
            "IPv6",
            format!("this host has its route from router advertisements on {link}, which a router ignores"),
            format!("set net.ipv6.conf.{link}.accept_ra = 2 and net.ipv6.conf.all.forwarding = 1"),
        ),
        (Some(_), _) => findings.good("IPv6", "is there"),
    }
}

/// Whether other links lead to where desktops' addresses are.
fn addresses(root: &Path, network: &NetworkConfig, findings: &mut Findings) {
    let table = read(root, "proc/net/route").unwrap_or_default();
    let routes: Vec<Route<'_>> =
        routes(&table).filter(|route| route.link != network.bridge).collect();
    // The table has IPv4 alone.
    for range in network.addresses.ranges().iter().filter(|range| !range.network().is_ipv6()) {
        let network = range.network();
        let taken: Vec<String> = routes
            .iter()
            .filter(|route| overlap(route, network))
            .map(|route| format!("{}/{} at {}", route.base, route.prefix, route.link))
            .collect();
        if taken.is_empty() {
            findings.good("addresses", format!("{network} is free"));
        } else {
            findings.add(
                Verdict::Bad,
                "addresses",
                format!("{network} overlaps {}", taken.join(", ")),
                "choose another network.addresses, the same on all hosts",
            );
        }
    }
}

/// A line of the kernel's routing table.
struct Route<'a> {
    link: &'a str,
    base: Ipv4Addr,
    prefix: u8,
}

/// Routes but the default one.
fn routes(table: &str) -> impl Iterator<Item = Route<'_>> {
    all_routes(table).filter(|route| route.prefix > 0)
}

/// `/proc/net/route` has a head, then the link, the
/// destination and (as field 8) its mask, both as little-endian hexadecimal.
fn all_routes(table: &str) -> impl Iterator<Item = Route<'_>> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let mask = hexadecimal(7)?;
        let base = Ipv4Addr::from(hexadecimal(1)?.swap_bytes());
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        Some(Route { link: fields[0], base, prefix })
    })
}

fn overlap(route: &Route<'_>, network: Subnet) -> bool {
    let IpAddr::V4(base) = network.base() else { return false };
    let shorter = route.prefix.min(network.prefix());
    let mask = u32::MAX.checked_shl(32 - u32::from(shorter)).unwrap_or(0);
    u32::from(route.base) & mask == u32::from(base) & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
        eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n\
        eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n\
        tun0\t00044D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";

    fn look_at(addresses: &str, bridge: &str) -> Findings {
        look_with(&format!("addresses = '{addresses}'\nbridge = '{bridge}'\n"), &[])
    }

    fn look_with(network: &str, files: &[(&str, &str)]) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let common = [
            ("proc/net/route", ROUTES),
            ("sys/class/net/br1/bridge/x", ""),
            ("sys/class/net/eth0/x", ""),
        ];
        for (path, text) in common.iter().chain(files) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let config = Config::read(&format!("[network]\n{network}"), &|_| None).unwrap();
        let mut findings = Findings::default();
        look(dir.path(), &config, &mut findings);
        findings
    }

    fn found<'a>(findings: &'a Findings, item: &str) -> &'a Finding {
        findings.0.iter().find(|finding| finding.item == item).unwrap()
    }

    #[test]
    fn a_network_that_is_taken_is_told_with_its_link() {
        assert_eq!(look_at("10.78.0.0/16", "rolltop0").worst(), Verdict::Good);
        let taken = look_at("10.77.0.0/16", "rolltop0");
        let expected = "10.77.0.0/16 overlaps 10.77.4.0/24 at tun0";
        assert_eq!(found(&taken, "addresses").found, expected);
        // Of the bridge itself: adopted from an earlier agent.
        let own = look_at("10.77.0.0/16", "tun0");
        assert_eq!(found(&own, "addresses").verdict, Verdict::Good);
    }

    #[test]
    fn a_link_that_is_no_bridge_is_not_taken_for_one() {
        assert_eq!(look_at("10.78.0.0/16", "br1").worst(), Verdict::Good);
        assert_eq!(found(&look_at("10.78.0.0/16", "eth0"), "bridge").verdict, Verdict::Bad);
    }

    #[test]
    fn an_uplink_has_to_be_fit_for_it() {
        let lan =
            "mode = 'lan'\naddresses = '10.0.0.0/16'\nfirst = '10.0.1.1'\ngateway = '10.0.0.1'\n";
        let with = |uplink: &str, files: &[(&str, &str)]| {
            look_with(&format!("{lan}uplink = '{uplink}'"), files)
        };
        let used = with("eth0", &[]);
        assert_eq!(found(&used, "uplink").found, "eth0 carries this host's own addresses");
        assert_eq!(found(&with("eth9", &[]), "uplink").found, "eth9 is not there");
        let wireless = with("wlan0", &[("sys/class/net/wlan0/wireless/x", "")]);
        assert!(found(&wireless, "uplink").found.contains("is wireless"));
        let cable = [("sys/class/net/eth1/x", "")];
        let fit = with("eth1", &cable);
        assert_eq!(fit.worst(), Verdict::Good, "also where routes lead to the LAN: {fit}");
        assert_eq!(found(&look_with(lan, &[]), "bridge").verdict, Verdict::Bad, "neither is there");
        let filtered = [cable[0], ("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n")];
        assert_eq!(found(&with("eth1", &filtered), "br_netfilter").verdict, Verdict::Weak);
    }

    #[test]
    fn a_host_that_listens_to_routers_cannot_be_one() {
        let both = "addresses = '10.78.0.0/16'\naddresses6 = 'fd77::/64'";
        assert_eq!(found(&look_with(both, &[]), "IPv6").verdict, Verdict::Bad, "no IPv6");
        let off = ("proc/sys/net/ipv6/conf/all/forwarding", "0\n");
        assert_eq!(look_with(both, &[off]).worst(), Verdict::Good);
        let zeros = "0".repeat(32);
        let route = format!("{zeros} 00 {zeros} 00 {zeros} 00000400 1 0 00450003 eth0\n");
        let told = look_with(both, &[off, ("proc/net/ipv6_route", &route)]);
        assert!(found(&told, "IPv6").found.contains("advertisements on eth0"), "{told}");
    }
}
