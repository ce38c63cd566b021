//! Networks in CIDR form, of either family, and the part of one in which
//! desktops are.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::AddressError;

/// An IPv4 or IPv6 network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: IpAddr,
    prefix: u8,
}

/// Where desktops' addresses are: number 1 has `first`, and so on upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    network: Subnet,
    gateway: IpAddr,
    first: IpAddr,
}

// === impl Subnet ===

impl Subnet {
    /// Used when the configuration names none.
    pub const DEFAULT: Self = Self { base: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), prefix: 16 };

    /// What one of IPv6 looks like.
    pub const EXAMPLE6: Self =
        Self { base: IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0)), prefix: 64 };

    /// Prefix length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// First address, which no machine has.
    pub fn base(self) -> IpAddr {
        self.base
    }

    /// Whether it is of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.base.is_ipv6()
    }

    /// Number of addresses, the unusable first and last included.
    fn len(self) -> u128 {
        1 << (width(self.base) - self.prefix)
    }

    /// The first address a machine may have.
    pub fn first_usable(self) -> IpAddr {
        offset(self.base, 1)
    }

    /// The last address a machine may have. IPv6 has no broadcast address, but
    /// the rule is the same.
    pub fn last_usable(self) -> IpAddr {
        offset(self.base, self.len() - 2)
    }

    fn contains_usable(self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6()
            && address >= self.first_usable()
            && address <= self.last_usable()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::NotANetwork(text.into());
        let (base, prefix) = text.split_once('/').ok_or_else(bad)?;
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let possible = if base.is_ipv6() { 64..=120 } else { 8..=29 };
        if !possible.contains(&prefix) {
            let (least, most) = (*possible.start(), *possible.end());
            return Err(AddressError::Prefix { prefix, least, most });
        }
        let mask = u128::MAX << (width(base) - prefix);
        let meant = Self { base: with_bits(base, bits(base) & mask), prefix };
        if meant.base != base {
            return Err(AddressError::HostBits { given: text.into(), meant: meant.to_string() });
        }
        Ok(meant)
    }
}

// === impl Range ===

impl Range {
    /// `gateway`: the network's last usable address if not given; it may be
    /// link-local. `first`: number 1's; the first usable one if not given.
    ///
    /// # Errors
    /// Either is outside of the network, or of the other family.
    pub fn new(
        network: Subnet,
        gateway: Option<IpAddr>,
        first: Option<IpAddr>,
    ) -> Result<Self, AddressError> {
        let gateway = gateway.unwrap_or(network.last_usable());
        let near = network.is_ipv6() && is_link_local(gateway);
        if !near && !network.contains_usable(gateway) {
            return Err(AddressError::Gateway { gateway, network: network.to_string() });
        }
        let first = first.unwrap_or(network.first_usable());
        if !network.contains_usable(first) {
            return Err(AddressError::First { first, network: network.to_string() });
        }
        Ok(Self { network, gateway, first })
    }

    /// The range of a network where nothing is given but itself.
    pub fn whole(network: Subnet) -> Self {
        Self { network, gateway: network.last_usable(), first: network.first_usable() }
    }

    /// The network it lies in.
    pub fn network(self) -> Subnet {
        self.network
    }

    /// Where packets to elsewhere go.
    pub fn gateway(self) -> IpAddr {
        self.gateway
    }

    /// Whether the gateway's address is good on the link alone.
    pub fn is_near(self) -> bool {
        is_link_local(self.gateway)
    }

    /// The highest number with an address in it.
    pub(super) fn last_number(self) -> u32 {
        let numbers = bits(self.network.last_usable()) - bits(self.first) + 1;
        u32::try_from(numbers).unwrap_or(u32::MAX)
    }

    /// Of a number from 1 to the last.
    pub(super) fn address(self, number: u32) -> IpAddr {
        offset(self.first, u128::from(number) - 1)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of these bits, of the family of `like`.
fn with_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        // What lies above are the bits of a mask that is too wide.
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn offset(address: IpAddr, by: u128) -> IpAddr {
    with_bits(address, bits(address).wrapping_add(by))
}
