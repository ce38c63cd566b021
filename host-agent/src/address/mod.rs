//! Addresses as pure functions of a desktop's number: no store, no DHCP, no
//! race. The same number has the same MAC, IP, link name and id range on every
//! host and after every restart.

mod export;
mod subnet;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
};

use thiserror::Error;

pub use self::{
    export::{Format, export},
    subnet::{Range, Subnet},
};

/// First three bytes of every desktop's MAC. The second-lowest bit of the
/// first byte is clear, as in the forerunner, whose sites have DHCP
/// reservations by this prefix.
const MAC_PREFIX: [u8; 3] = [0x54, 0x52, 0x00];

/// Ids (users or groups) in one desktop's range. 65,536 is what login
/// programs inside expect: `nobody` is 65534.
pub const IDS_PER_DESKTOP: u32 = 65_536;

/// A desktop's number: 1 and up, unique in the cluster.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Number(NonZeroU32);

/// Addressing rules of this host, from its configuration.
#[derive(Clone, Debug)]
pub struct AddressPlan {
    ranges: Vec<Range>,
    first_id: u32,
}

/// Everything that follows from a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Hardware address of `eth0` in the desktop.
    pub mac: Mac,
    /// Addresses of `eth0`, IPv4 first; none: it has no such link.
    pub joined: Vec<Joined>,
    /// Name of the link on the host.
    pub link: String,
    /// First host id of the desktop's user namespace.
    pub first_id: u32,
}

/// One address of a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The address.
    pub ip: IpAddr,
    /// Prefix length of the network.
    pub prefix: u8,
    /// Where packets to elsewhere go.
    pub gateway: IpAddr,
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// A number, network or gateway that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The number has no address in the network.
    #[error("number {number} is out of range: this host{network} holds 1 to {last}")]
    NumberOutOfRange {
        /// What was asked for.
        number: u32,
        /// "'s network" and its name; empty without one.
        network: String,
        /// The highest number there is room for.
        last: u32,
    },
    /// The number's address is the gateway's.
    #[error("number {number} has the address of the gateway, {gateway}: use another number")]
    NumberIsGateway {
        /// What was asked for.
        number: u32,
        /// The gateway.
        gateway: IpAddr,
    },
    /// Text that is no network.
    #[error("`{0}` is not a network such as 10.77.0.0/16 or fd77::/64")]
    NotANetwork(String),
    /// Bits set outside the prefix.
    #[error("`{given}` has bits set behind its prefix: write {meant}")]
    HostBits {
        /// What was given.
        given: String,
        /// The network it lies in.
        meant: String,
    },
    /// No room for gateway, broadcast and one desktop, or more than one link's.
    #[error("prefix /{prefix} cannot be desktops' network: use /{least} to /{most}")]
    Prefix {
        /// What was given.
        prefix: u8,
        /// The shortest.
        least: u8,
        /// The longest.
        most: u8,
    },
    /// A gateway outside of the network.
    #[error("gateway {gateway} is not a usable address of {network}")]
    Gateway {
        /// What was given.
        gateway: IpAddr,
        /// The network it should lie in.
        network: String,
    },
    /// A first address outside of the network.
    #[error("first address {first} is not a usable one of {network}")]
    First {
        /// What was given.
        first: IpAddr,
        /// The network it should lie in.
        network: String,
    },
}

// === impl Number ===

impl Number {
    /// `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The bare number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl AddressPlan ===

impl AddressPlan {
    /// `ranges`: of IPv4, of IPv6 or of both, or none where desktops have no
    /// links. `first_id`: where id ranges of desktops begin on this host.
    pub fn new(ranges: Vec<Range>, first_id: u32) -> Self {
        Self { ranges, first_id }
    }

    /// Where desktops' addresses are, IPv4 first.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether desktops have IPv6 addresses.
    pub fn has_ipv6(&self) -> bool {
        self.ranges.iter().any(|range| range.network().is_ipv6())
    }

    /// The networks desktops live in, for people.
    pub fn networks(&self) -> String {
        let networks: Vec<_> =
            self.ranges.iter().map(|range| range.network().to_string()).collect();
        networks.join(" and ")
    }

    /// Where the ids of desktops begin.
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    /// The highest number with addresses and an id range. Ids end below
    /// 2^32 - 1, which the kernel reads as "no id".
    pub fn last_number(&self) -> u32 {
        let by_ids = (u32::MAX - self.first_id) / IDS_PER_DESKTOP;
        let by_mac = (1 << 24) - 1;
        let by_ranges = self.ranges.iter().map(|range| range.last_number());
        by_ranges.min().unwrap_or(u32::MAX).min(by_ids).min(by_mac)
    }

    /// The highest number a desktop can have: the last one's address may be the
    /// gateway's.
    pub fn last_desktop(&self) -> u32 {
        let last = self.last_number();
        let is_gateway = |range: &Range| last > 0 && range.address(last) == range.gateway();
        if self.ranges.iter().any(is_gateway) { last - 1 } else { last }
    }

    /// What follows from `number`.
    ///
    /// # Errors
    /// A number without an address here.
    pub fn addresses(&self, number: Number) -> Result<Addresses, AddressError> {
        let n = number.get();
        if n > self.last_number() {
            let networks = self.networks();
            return Err(AddressError::NumberOutOfRange {
                number: n,
                network: if networks.is_empty() {
                    networks
                } else {
                    format!("'s network {networks}")
                },
                last: self.last_number(),
            });
        }
        let joined = |range: &Range| {
            let (ip, gateway) = (range.address(n), range.gateway());
            if ip == gateway {
                return Err(AddressError::NumberIsGateway { number: n, gateway });
            }
            Ok(Joined { ip, prefix: range.network().prefix(), gateway })
        };
        let [_, high, middle, low] = n.to_be_bytes();
        let [a, b, c] = MAC_PREFIX;
        Ok(Addresses {
            mac: Mac([a, b, c, high, middle, low]),
            joined: self.ranges.iter().map(joined).collect::<Result<_, _>>()?,
            link: link_name(number),
            first_id: self.first_id + (n - 1) * IDS_PER_DESKTOP,
        })
    }
}

impl Addresses {
    /// The bare addresses of `eth0`.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.joined.iter().map(|joined| joined.ip).collect()
    }
}

/// Name of a desktop's link on the host: at most 15 bytes (`IFNAMSIZ` - 1).
pub fn link_name(number: Number) -> String {
    format!("rt{number}")
}

/// The number in a link name made by [`link_name`].
pub fn number_of_link(name: &str) -> Option<Number> {
    let digits = name.strip_prefix("rt")?;
    let number = Number::new(digits.parse().ok()?)?;
    (link_name(number) == name).then_some(number)
}

impl Mac {
    /// The IPv6 address of a link with this one (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let word = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(network: &str) -> AddressPlan {
        AddressPlan::new(vec![Range::whole(network.parse().unwrap())], 65_536)
    }

    #[test]
    fn follows_the_rule_of_the_design() {
        let got = plan("10.77.0.0/16").addresses(Number::new(300).unwrap()).unwrap();
        assert_eq!(got.mac.to_string(), "54:52:00:00:01:2c");
        assert_eq!(got.joined[0].ip.to_string(), "10.77.1.44");
        assert_eq!(got.joined[0].gateway.to_string(), "10.77.255.254");
        assert_eq!(got.link, "rt300");
    }

    #[test]
    fn refuses_numbers_without_an_address() {
        let small = plan("10.0.0.0/29");
        assert_eq!((small.last_number(), small.last_desktop()), (6, 5));
        assert!(small.addresses(Number::new(5).unwrap()).is_ok());
        assert_eq!(
            small.addresses(Number::new(6).unwrap()),
            Err(AddressError::NumberIsGateway { number: 6, gateway: "10.0.0.6".parse().unwrap() })
        );
        let error = small.addresses(Number::new(7).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "number 7 is out of range: this host's network 10.0.0.0/29 holds 1 to 6"
        );
        assert_eq!(Number::new(0), None);
    }

    #[test]
    fn a_range_may_begin_anywhere_in_its_network() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let lan = "192.0.2.0/24".parse().unwrap();
        let lan = Range::new(lan, ip("192.0.2.1"), ip("192.0.2.100")).unwrap();
        let near = "2001:db8::/64".parse().unwrap();
        let near = Range::new(near, ip("fe80::1"), ip("2001:db8::d:0")).unwrap();
        let plan = AddressPlan::new(vec![lan, near], 65_536);
        assert_eq!(plan.last_number(), 155);
        let first = plan.addresses(Number::new(1).unwrap()).unwrap();
        let told: Vec<_> = first.ips().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.100", "2001:db8::d:0"]);
        let last = plan.addresses(Number::new(155).unwrap()).unwrap();
        let told: Vec<_> = last.ips().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.254", "2001:db8::d:9a"]);
        assert_eq!(last.joined[1].gateway.to_string(), "fe80::1");
        assert!(plan.addresses(Number::new(156).unwrap()).is_err());
    }

    #[test]
    fn what_is_outside_of_its_network_is_refused() {
        let range = |network: &str, gateway: Option<&str>, first: Option<&str>| {
            let ip = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            Range::new(network.parse().unwrap(), ip(gateway), ip(first))
        };
        assert!(range("192.0.2.0/24", Some("192.0.3.1"), None).is_err());
        assert!(range("192.0.2.0/24", Some("fe80::1"), None).is_err(), "of the other family");
        assert!(range("192.0.2.0/24", None, Some("192.0.2.0")).is_err(), "nobody's address");
        assert!(range("192.0.2.0/24", None, Some("192.0.2.255")).is_err(), "everybody's");
        assert!(range("fd77::/64", Some("fd78::1"), None).is_err());
        assert!(range("fd77::/64", None, Some("fe80::2")).is_err());
        // The host's highest number without any network: by its ids.
        let plan = AddressPlan::new(Vec::new(), 65_536);
        assert_eq!(plan.last_number(), 65_534);
        assert_eq!(
            plan.addresses(Number::new(65_535).unwrap()).unwrap_err().to_string(),
            "number 65535 is out of range: this host holds 1 to 65534"
        );
    }

    #[test]
    fn bad_networks_say_what_would_be_right() {
        for (text, expected) in [
            ("10.77.0.0", "`10.77.0.0` is not a network such as 10.77.0.0/16 or fd77::/64"),
            ("10.77.0.9/16", "`10.77.0.9/16` has bits set behind its prefix: write 10.77.0.0/16"),
            ("fd77::9/64", "`fd77::9/64` has bits set behind its prefix: write fd77::/64"),
            ("10.77.0.0/31", "prefix /31 cannot be desktops' network: use /8 to /29"),
            ("fd77::/48", "prefix /48 cannot be desktops' network: use /64 to /120"),
            ("", "`` is not a network such as 10.77.0.0/16 or fd77::/64"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn only_our_own_link_names_are_read_back() {
        assert_eq!(number_of_link("rt17"), Number::new(17));
        for name in ["rt", "rt0", "rt017", "rt-1", "rolltop0", "eth0", "rt4294967296"] {
            assert_eq!(number_of_link(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn two_numbers_never_share_anything(a in 1u32..65_000, b in 1u32..65_000) {
            prop_assume!(a != b);
            let plan = plan("10.0.0.0/12");
            let (x, y) = (
                plan.addresses(Number::new(a).unwrap()).unwrap(),
                plan.addresses(Number::new(b).unwrap()).unwrap(),
            );
            prop_assert_ne!(x.mac, y.mac);
            prop_assert_ne!(x.ips(), y.ips());
            prop_assert_ne!(&x.link, &y.link);
            prop_assert!(x.first_id.abs_diff(y.first_id) >= IDS_PER_DESKTOP);
            prop_assert!(x.link.len() <= 15);
            prop_assert!(x.first_id.checked_add(IDS_PER_DESKTOP).is_some());
        }
    }
}
