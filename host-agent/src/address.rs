//! Addresses as pure functions of a desktop's number: no store, no DHCP, no
//! race. The same number has the same MAC, IP, link name and id range on every
//! host and after every restart.

use std::{fmt, net::Ipv4Addr, num::NonZeroU32, str::FromStr};

use thiserror::Error;

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
    network: Network,
    gateway: Ipv4Addr,
    first_id: u32,
}

/// An IPv4 network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: Ipv4Addr,
    prefix: u8,
}

/// Everything that follows from a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Hardware address of `eth0` in the desktop.
    pub mac: Mac,
    /// Address of `eth0`.
    pub ip: Ipv4Addr,
    /// Prefix length of the network.
    pub prefix: u8,
    /// Where packets to elsewhere go.
    pub gateway: Ipv4Addr,
    /// Name of the link on the host.
    pub link: String,
    /// First host id of the desktop's user namespace.
    pub first_id: u32,
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// A number, network or gateway that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The number has no address in the network.
    #[error("number {number} is out of range: this host's network {network} holds 1 to {last}")]
    NumberOutOfRange {
        /// What was asked for.
        number: u32,
        /// The host's network.
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
        gateway: Ipv4Addr,
    },
    /// Text that is no network.
    #[error("`{0}` is not an IPv4 network such as 10.77.0.0/16")]
    NotANetwork(String),
    /// Bits set outside the prefix.
    #[error("`{given}` has bits set behind its prefix: write {meant}")]
    HostBits {
        /// What was given.
        given: String,
        /// The network it lies in.
        meant: String,
    },
    /// No room for gateway, broadcast and one desktop.
    #[error("prefix /{0} leaves no room for desktops: use /8 to /29")]
    Prefix(u8),
    /// A gateway outside of the network.
    #[error("gateway {gateway} is not a usable address of {network}")]
    Gateway {
        /// What was given.
        gateway: Ipv4Addr,
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

// === impl Network ===

impl Network {
    /// Used when the configuration names none.
    pub const DEFAULT: Self = Self { base: Ipv4Addr::new(10, 77, 0, 0), prefix: 16 };

    /// Prefix length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// First address, which no machine has.
    pub fn base(self) -> Ipv4Addr {
        self.base
    }

    /// Number of addresses, the unusable first and last included.
    fn len(self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The last address a machine may have.
    pub fn last_usable(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + self.len() - 2)
    }

    fn contains_usable(self, address: Ipv4Addr) -> bool {
        address > self.base && address <= self.last_usable()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::NotANetwork(text.into());
        let (base, prefix) = text.split_once('/').ok_or_else(bad)?;
        let base: Ipv4Addr = base.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if !(8..=29).contains(&prefix) {
            return Err(AddressError::Prefix(prefix));
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        let meant = Self { base: Ipv4Addr::from_bits(base.to_bits() & mask), prefix };
        if meant.base != base {
            return Err(AddressError::HostBits { given: text.into(), meant: meant.to_string() });
        }
        Ok(meant)
    }
}

// === impl AddressPlan ===

impl AddressPlan {
    /// `gateway`: the bridge's address; the network's last usable one if not
    /// given, so that number 1 has the first. `first_id`: where id ranges of
    /// desktops begin on this host.
    ///
    /// # Errors
    /// A gateway outside of the network.
    pub fn new(
        network: Network,
        gateway: Option<Ipv4Addr>,
        first_id: u32,
    ) -> Result<Self, AddressError> {
        let gateway = gateway.unwrap_or(network.last_usable());
        if !network.contains_usable(gateway) {
            return Err(AddressError::Gateway { gateway, network: network.to_string() });
        }
        Ok(Self { network, gateway, first_id })
    }

    /// The plan of a network whose gateway is its last usable address.
    pub fn with_last_gateway(network: Network, first_id: u32) -> Self {
        Self { network, gateway: network.last_usable(), first_id }
    }

    /// The network desktops live in.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The bridge's own address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Where the ids of desktops begin.
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    /// The highest number with an address and an id range. Ids end below
    /// 2^32 - 1, which the kernel reads as "no id".
    pub fn last_number(&self) -> u32 {
        let by_ids = (u32::MAX - self.first_id) / IDS_PER_DESKTOP;
        let by_mac = (1 << 24) - 1;
        (self.network.len() - 2).min(by_ids).min(by_mac)
    }

    /// What follows from `number`.
    ///
    /// # Errors
    /// A number without an address here.
    pub fn addresses(&self, number: Number) -> Result<Addresses, AddressError> {
        let n = number.get();
        if n > self.last_number() {
            return Err(AddressError::NumberOutOfRange {
                number: n,
                network: self.network.to_string(),
                last: self.last_number(),
            });
        }
        let ip = Ipv4Addr::from_bits(self.network.base.to_bits() + n);
        if ip == self.gateway {
            return Err(AddressError::NumberIsGateway { number: n, gateway: ip });
        }
        let [_, high, middle, low] = n.to_be_bytes();
        let [a, b, c] = MAC_PREFIX;
        Ok(Addresses {
            mac: Mac([a, b, c, high, middle, low]),
            ip,
            prefix: self.network.prefix,
            gateway: self.gateway,
            link: link_name(number),
            first_id: self.first_id + (n - 1) * IDS_PER_DESKTOP,
        })
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
        AddressPlan::new(network.parse().unwrap(), None, 65_536).unwrap()
    }

    #[test]
    fn follows_the_rule_of_the_design() {
        let got = plan("10.77.0.0/16").addresses(Number::new(300).unwrap()).unwrap();
        assert_eq!(got.mac.to_string(), "54:52:00:00:01:2c");
        assert_eq!(got.ip.to_string(), "10.77.1.44");
        assert_eq!(got.gateway.to_string(), "10.77.255.254");
        assert_eq!(got.link, "rt300");
    }

    #[test]
    fn refuses_numbers_without_an_address() {
        let small = plan("10.0.0.0/29");
        assert_eq!(small.last_number(), 6);
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
    fn bad_networks_say_what_would_be_right() {
        for (text, expected) in [
            ("10.77.0.0", "`10.77.0.0` is not an IPv4 network such as 10.77.0.0/16"),
            ("10.77.0.9/16", "`10.77.0.9/16` has bits set behind its prefix: write 10.77.0.0/16"),
            ("10.77.0.0/31", "prefix /31 leaves no room for desktops: use /8 to /29"),
            ("::/16", "`::/16` is not an IPv4 network such as 10.77.0.0/16"),
            ("", "`` is not an IPv4 network such as 10.77.0.0/16"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), expected);
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
            prop_assert_ne!(x.ip, y.ip);
            prop_assert_ne!(&x.link, &y.link);
            prop_assert!(x.first_id.abs_diff(y.first_id) >= IDS_PER_DESKTOP);
            prop_assert!(x.link.len() <= 15);
            prop_assert!(x.first_id.checked_add(IDS_PER_DESKTOP).is_some());
        }
    }
}
