//! How desktops are joined to the world.

use std::net::IpAddr;

use super::{number, reader::Reader};
use crate::address::{AddressError, AddressPlan, Range, Subnet};

/// Ids below this belong to the host's own users.
const FIRST_FREE_ID: u32 = 65_536;

/// The least MTU that IPv4 hosts must be able to take, and the most a virtual
/// link has.
const MTUS: (u32, u32) = (576, 65_535);

/// The least MTU of IPv6 (RFC 8200).
const IPV6_MTU: u32 = 1_280;

/// Ports of one Linux bridge (`BR_MAX_PORTS` is 1,024, and 0 is none).
const BRIDGE_PORTS: u32 = 1_023;

/// Desktops on one bridge: it has 1,023 ports, and leads to the LAN and to
/// further bridges by some of them.
const MOST_PORTS: u32 = 1_000;

/// What a faulty one is replaced by while other faults are looked for.
const IPV6_EXAMPLE: Subnet = Subnet::EXAMPLE6;

/// How desktops are joined to the world.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// In which way.
    pub mode: Mode,
    /// The bridge; made if missing.
    pub bridge: String,
    /// The link to the LAN that becomes a port of it; none: the bridge has one.
    pub uplink: Option<String>,
    /// Most desktops on one bridge; more have further ones.
    pub ports_per_bridge: u32,
    /// Number to address.
    pub addresses: AddressPlan,
    /// Of desktops' links and of a bridge that is made; none: the bridge's.
    pub mtu: Option<u32>,
    /// Name servers written into desktops; empty: the host's own.
    pub dns: Vec<IpAddr>,
}

/// Ways to join desktops to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The host is their router, and what leaves it has the host's address.
    Nat,
    /// The host is their router; others know the way to them.
    Routed,
    /// They are machines of the host's LAN, with a router there.
    Lan,
    /// They have no link but the loopback.
    None,
}

impl NetworkConfig {
    /// Bridges there can be: the first one leads to each other one by a port, and
    /// to the LAN by one more.
    pub fn most_bridges(&self) -> u32 {
        BRIDGE_PORTS - self.ports_per_bridge
    }

    /// Desktops for which there are ports.
    pub fn most_desktops(&self) -> u32 {
        match self.mode {
            Mode::None => u32::MAX,
            Mode::Nat | Mode::Routed | Mode::Lan => self.ports_per_bridge * self.most_bridges(),
        }
    }
}

pub(super) fn network(r: &mut Reader<'_>) -> NetworkConfig {
    let mode = r.value("network.mode", Mode::Nat, mode);
    if let Some(nat) = r.optional("network.nat", |text| Ok::<_, String>(text.to_owned())) {
        let meant = if nat == "false" { "routed" } else { "nat" };
        r.fault(
            "network.nat",
            nat,
            format!("is said by network.mode now: write mode = \"{meant}\""),
        );
    }
    let lan = mode == Mode::Lan;
    if lan {
        // What is right for a network of the agent's own is wrong for a LAN.
        for key in ["addresses", "first", "gateway"].map(|key| format!("network.{key}")) {
            if !r.has(&key) {
                r.fault(&key, "", "is missing: on a LAN its network, the address of desktop number 1 and its router have to be told");
            }
        }
    }
    let ipv4 = range(r, "", Subnet::DEFAULT);
    let ipv6 = ipv6(r, lan);
    let first_id = r.value("network.first_id", FIRST_FREE_ID, number(FIRST_FREE_ID, 1 << 31));
    let mtu = r.optional("network.mtu", number(MTUS.0, MTUS.1));
    if let Some(mtu) = mtu.filter(|mtu| ipv6.is_some() && *mtu < IPV6_MTU) {
        r.fault(
            "network.mtu",
            mtu.to_string(),
            format!("is too little for IPv6: {IPV6_MTU} at least"),
        );
    }
    let uplink = r.optional("network.uplink", link_name);
    if let Some(uplink) = uplink.as_ref().filter(|_| !lan) {
        r.fault("network.uplink", uplink, "is for network.mode = \"lan\" alone; take it out");
    }
    let ranges = match mode {
        Mode::None => Vec::new(),
        Mode::Nat | Mode::Routed | Mode::Lan => [ipv4].into_iter().chain(ipv6).collect(),
    };
    let ports = r.value("network.ports_per_bridge", MOST_PORTS, number(1, MOST_PORTS));
    NetworkConfig {
        mode,
        bridge: r.value("network.bridge", "rolltop0".into(), bridge_name),
        uplink,
        ports_per_bridge: ports,
        mtu,
        dns: r.list("network.dns", Vec::new(), ip),
        addresses: AddressPlan::new(ranges, first_id),
    }
}

/// Desktops have IPv6 where a network for it is named.
fn ipv6(r: &mut Reader<'_>, lan: bool) -> Option<Range> {
    let given = |key: &str, r: &Reader<'_>| r.has(&format!("network.{key}6"));
    if !given("addresses", r) {
        for key in ["gateway6", "first6"].map(|key| format!("network.{key}")) {
            if let Some(value) = r.optional(&key, |text| Ok::<_, String>(text.to_owned())) {
                r.fault(&key, value, "says nothing without network.addresses6");
            }
        }
        return None;
    }
    for key in ["first", "gateway"] {
        if lan && !given(key, r) {
            let reason = "is missing: on a LAN it has to be told with network.addresses6";
            r.fault(&format!("network.{key}6"), "", reason);
        }
    }
    Some(range(r, "6", IPV6_EXAMPLE))
}

/// What is said of one family's addresses.
fn range(r: &mut Reader<'_>, family: &str, default: Subnet) -> Range {
    let key = |name: &str| format!("network.{name}{family}");
    let network = r.value(&key("addresses"), default, |text| {
        let network: Subnet =
            text.parse().map_err(|e: AddressError| format!("cannot be used: {e}"))?;
        if network.is_ipv6() == default.is_ipv6() {
            Ok(network)
        } else {
            Err(format!("is of the other family: one such as {default} is wanted"))
        }
    });
    let gateway = r.optional(&key("gateway"), ip);
    let first = r.optional(&key("first"), ip);
    Range::new(network, gateway, first).unwrap_or_else(|error| {
        let (key, value) = match error {
            AddressError::First { .. } => (key("first"), first),
            _ => (key("gateway"), gateway),
        };
        let value = value.map_or_else(String::new, |given| given.to_string());
        r.fault(&key, value, format!("cannot be used: {error}"));
        Range::whole(network)
    })
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "nat" => Ok(Mode::Nat),
        "routed" => Ok(Mode::Routed),
        "lan" => Ok(Mode::Lan),
        "none" => Ok(Mode::None),
        _ => Err("is neither nat, routed, lan nor none".into()),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "is not an IP address".into())
}

/// Further bridges are called like the first, with a number behind it.
fn bridge_name(text: &str) -> Result<String, String> {
    let name = link_name(text)?;
    if name.len() <= 12 {
        Ok(name)
    } else {
        Err("is too long: 12 bytes at most, so that further bridges can have a number".into())
    }
}

/// The kernel's rule for link names (`dev_valid_name`), and no `rt7`, which
/// would be a desktop's. Nor what means something to `nft` in a name.
fn link_name(text: &str) -> Result<String, String> {
    let fits = (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"/:*\"\\".contains(&b))
        && crate::address::number_of_link(text).is_none();
    if fits {
        Ok(text.into())
    } else {
        Err("is not a link name: 1 to 15 printable bytes without any of `/:*\"\\`, not rt and a number"
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<NetworkConfig, String> {
        Config::read(&format!("[network]\n{text}"), &|_| None)
            .map(|config| config.network)
            .map_err(|bad| bad.to_string())
    }

    fn fault(text: &str, expected: &str) {
        let told = read(text).unwrap_err();
        assert!(told.contains(expected), "{text}: {told}");
    }

    #[test]
    fn every_mode_has_a_name_and_the_former_key_says_so() {
        assert_eq!(read("").unwrap().mode, Mode::Nat);
        assert_eq!(read("mode = 'routed'").unwrap().mode, Mode::Routed);
        let none = read("mode = 'none'").unwrap();
        assert_eq!((none.mode, none.addresses.ranges().len()), (Mode::None, 0));
        fault("mode = 'bridged'", "network.mode = `bridged` is neither nat, routed, lan nor none");
        fault("nat = false", "write mode = \"routed\"");
        fault("nat = true", "write mode = \"nat\"");
    }

    #[test]
    fn addresses_that_do_not_fit_together_are_faults() {
        fault("gateway = '10.78.0.1'", "10.78.0.1 is not a usable address of 10.77.0.0/16");
        fault("first = '10.78.0.1'", "network.first = `10.78.0.1` cannot be used");
        fault("addresses = 'fd77::/64'", "is of the other family: one such as 10.77.0.0/16");
        let config = read("first = '10.77.1.0'\nmtu = 1400").unwrap();
        assert_eq!((config.addresses.last_number(), config.mtu), (65_534 - 255, Some(1400)));
        fault("mtu = 575", "network.mtu = `575` is not a whole number from 576 to 65535");
    }

    #[test]
    fn a_lan_has_to_be_told_of() {
        fault("mode = 'lan'", "network.addresses is missing");
        fault("mode = 'lan'", "network.gateway is missing");
        fault("mode = 'lan'", "network.first is missing");
        fault("uplink = 'eth1'", "is for network.mode = \"lan\" alone");
        let lan = "mode = 'lan'\nuplink = 'eth1'\naddresses = '192.0.2.0/24'\n\
                   first = '192.0.2.100'\ngateway = '192.0.2.1'\n";
        let config = read(lan).unwrap();
        assert_eq!((config.mode, config.uplink.as_deref()), (Mode::Lan, Some("eth1")));
        fault(&format!("{lan}addresses6 = '2001:db8::/64'"), "network.gateway6 is missing");
        let near = "addresses6 = '2001:db8::/64'\nfirst6 = '2001:db8::d:1'\ngateway6 = 'fe80::1'";
        assert!(read(&format!("{lan}{near}")).unwrap().addresses.has_ipv6());
    }

    #[test]
    fn ipv6_begins_with_its_network() {
        let both = read("addresses6 = 'fd77::/64'").unwrap().addresses;
        assert_eq!(both.networks(), "10.77.0.0/16 and fd77::/64");
        fault("gateway6 = 'fd77::1'", "says nothing without network.addresses6");
        fault("addresses6 = '10.0.0.0/8'", "is of the other family");
        fault("addresses6 = 'fd77::/64'\nmtu = 1279", "is too little for IPv6: 1280 at least");
        assert_eq!(read("").unwrap().most_desktops(), 23_000);
        fault("bridge = 'thirteen-long'", "12 bytes at most");
    }
}
