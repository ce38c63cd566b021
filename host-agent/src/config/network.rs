//! How desktops are joined to the world.

use std::net::IpAddr;

use super::{number, reader::Reader};
use crate::address::{AddressError, AddressPlan, Range, Subnet};

/// Ids below this belong to the host's own users.
const FIRST_FREE_ID: u32 = 65_536;

/// The least MTU that IPv4 hosts must be able to take, and the most a virtual
/// link has.
const MTUS: (u32, u32) = (576, 65_535);

/// How desktops are joined to the world.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// In which way.
    pub mode: Mode,
    /// The bridge; made if missing.
    pub bridge: String,
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
    /// They have no link but the loopback.
    None,
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
    let ipv4 = range(r, "", Subnet::DEFAULT);
    let first_id = r.value("network.first_id", FIRST_FREE_ID, number(FIRST_FREE_ID, 1 << 31));
    let ranges = if mode == Mode::None { Vec::new() } else { vec![ipv4] };
    NetworkConfig {
        mode,
        bridge: r.value("network.bridge", "rolltop0".into(), link_name),
        mtu: r.optional("network.mtu", number(MTUS.0, MTUS.1)),
        dns: r.list("network.dns", Vec::new(), ip),
        addresses: AddressPlan::new(ranges, first_id),
    }
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
        "none" => Ok(Mode::None),
        _ => Err("is neither nat, routed nor none".into()),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "is not an IP address".into())
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
        fault("mode = 'bridged'", "network.mode = `bridged` is neither nat, routed nor none");
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
}
