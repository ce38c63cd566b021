//! Whether the desktops' network fits beside what the host has already.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use super::{Findings, Verdict, kernel::read};
use crate::{
    address::Subnet,
    config::{Config, Mode, NetworkConfig},
};

pub(super) fn look(root: &Path, config: &Config, findings: &mut Findings) {
    let network = &config.network;
    if network.mode == Mode::None {
        findings.good("addresses", "desktops have no links (network.mode is none)");
        return;
    }
    addresses(root, network, findings);
    let bridge = &network.bridge;
    let link = root.join("sys/class/net").join(bridge);
    match (link.exists(), link.join("bridge").exists()) {
        (false, _) => findings.good("bridge", format!("{bridge} will be made")),
        (true, true) => findings.good("bridge", format!("{bridge} is there and will be used")),
        (true, false) => findings.add(
            Verdict::Bad,
            "bridge",
            format!("{bridge} is there, but no bridge"),
            "let network.bridge name another link",
        ),
    }
}

/// Whether other links lead to where desktops' addresses are.
fn addresses(root: &Path, network: &NetworkConfig, findings: &mut Findings) {
    let table = read(root, "proc/net/route").unwrap_or_default();
    let routes: Vec<Route<'_>> =
        routes(&table).filter(|route| route.link != network.bridge).collect();
    for range in network.addresses.ranges() {
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

/// Routes but the default one. `/proc/net/route` has a head, then the link, the
/// destination and (as field 8) its mask, both as little-endian hexadecimal.
fn routes(table: &str) -> impl Iterator<Item = Route<'_>> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let mask = hexadecimal(7)?;
        let base = Ipv4Addr::from(hexadecimal(1)?.swap_bytes());
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        (prefix > 0).then(|| Route { link: fields[0], base, prefix })
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

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
        eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n\
        eth0\t0000000A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n\
        tun0\t00044D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n";

    fn look_at(addresses: &str, bridge: &str) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/net/route", ROUTES),
            ("sys/class/net/br1/bridge/x", ""),
            ("sys/class/net/eth0/x", ""),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let text = format!("[network]\naddresses = '{addresses}'\nbridge = '{bridge}'\n");
        let config = Config::read(&text, &|_| None).unwrap();
        let mut findings = Findings::default();
        look(dir.path(), &config, &mut findings);
        findings
    }

    #[test]
    fn a_network_that_is_taken_is_told_with_its_link() {
        assert_eq!(look_at("10.78.0.0/16", "rolltop0").worst(), Verdict::Good);
        let taken = look_at("10.77.0.0/16", "rolltop0");
        assert_eq!(taken.0[0].found, "10.77.0.0/16 overlaps 10.77.4.0/24 at tun0");
        // Of the bridge itself: adopted from an earlier agent.
        assert_eq!(look_at("10.77.0.0/16", "tun0").0[0].verdict, Verdict::Good);
    }

    #[test]
    fn a_link_that_is_no_bridge_is_not_taken_for_one() {
        assert_eq!(look_at("10.78.0.0/16", "br1").0[1].verdict, Verdict::Good);
        assert_eq!(look_at("10.78.0.0/16", "eth0").0[1].verdict, Verdict::Bad);
    }
}
