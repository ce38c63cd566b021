//! Whether the host passes packets on between its links.

use std::{fs, io};

use super::NetworkError;

/// Of RTF_DEFAULT and RTF_ADDRCONF: a default route from an advertisement.
const BY_ADVERTISEMENT: u32 = 0x0005_0000;

/// The switch of one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarding(&'static str);

pub(super) const IPV4: Forwarding = Forwarding("/proc/sys/net/ipv4/ip_forward");
pub(super) const IPV6: Forwarding = Forwarding("/proc/sys/net/ipv6/conf/all/forwarding");

impl Forwarding {
    pub(super) fn is_on(self) -> Result<bool, NetworkError> {
        let text = fs::read_to_string(self.0)
            .map_err(|source| NetworkError::io("read", self.0, source))?;
        Ok(text.trim() != "0")
    }

    pub(super) fn set(self, on: bool) -> Result<(), NetworkError> {
        fs::write(self.0, if on { "1" } else { "0" })
            .map_err(|source| NetworkError::io("write", self.0, source))
    }
}

/// Refuses where IPv6 forwarding would take away the route the host itself uses.
pub(super) fn spares_own_route() -> Result<(), NetworkError> {
    const TABLE: &str = "/proc/net/ipv6_route";
    let table = match fs::read_to_string(TABLE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|source| NetworkError::io("read", TABLE, source))?,
    };
    match advertised(&table) {
        Some(link) => Err(NetworkError::RouteByAdvertisement(link.into())),
        None => Ok(()),
    }
}

/// The link of a default route that a router has announced. The table has the
/// flags as its ninth field, hexadecimal, and the link as its tenth.
pub(crate) fn advertised(table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let link = *fields.get(9)?;
        (flags & BY_ADVERTISEMENT == BY_ADVERTISEMENT).then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_route_is_told_from_others() {
        let line = |flags: &str| {
            let zeros = "0".repeat(32);
            format!("{zeros} 00 {zeros} 00 fe80{} 00000400 1 0 {flags} eth7\n", "0".repeat(28))
        };
        assert_eq!(advertised(&line("00450003")), Some("eth7"));
        assert_eq!(advertised(&line("00000003")), None, "set by hand");
        assert_eq!(advertised(&line("00040001")), None, "not the default one");
        assert_eq!(advertised(""), None);
    }
}
