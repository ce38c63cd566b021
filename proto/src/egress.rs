//! What a network policy says: rules for packets that leave a desktop, as text
//! (the form of `NetworkPolicy.egress`) and as values. Broker, agent and command
//! line read them here, so that they agree.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

/// Most rules of one policy: each packet is held against all of them.
pub const MAX_RULES: usize = 64;

/// Rules in their order. The first that matches decides; what none matches may
/// leave. Empty: everything may leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress(Vec<Rule>);

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of packets that match.
    pub action: Action,
    /// Where they go.
    pub to: Destination,
    /// What they are; none: anything.
    pub protocol: Option<Protocol>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It may leave.
    Allow,
    /// It is dropped.
    Deny,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Anywhere but the host and other desktops.
    All,
    /// The host's own address on the desktops' network.
    Host,
    /// A network; of the longest prefix one machine, which may be the host.
    Network {
        /// First address.
        base: IpAddr,
        /// 0 to 32, or to 128 for IPv6.
        prefix: u8,
    },
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP, to these ports.
    Tcp(Option<Ports>),
    /// UDP, to these ports.
    Udp(Option<Ports>),
    /// ICMP of any type.
    Icmp,
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last, no less than the first.
    pub last: u16,
}

/// A policy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EgressError {
    /// One of the rules.
    #[error("rule {at} (`{text}`): {fault}")]
    Rule {
        /// Which, from 1.
        at: usize,
        /// As given, fit to be shown.
        text: String,
        /// What is wrong.
        fault: RuleError,
    },
    /// More than are held against a packet.
    #[error("{0} rules are too many: {MAX_RULES} at most")]
    TooMany(usize),
}

/// Text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// Not of the form at all.
    #[error(
        "write `allow|deny DESTINATION [tcp|udp|icmp [PORTS]]`, such as `allow 10.0.0.0/8 tcp 443`"
    )]
    Form,
    /// Not a destination.
    #[error(
        "`{0}` is no destination: `all`, `host`, an IP address, or a network such as 10.0.0.0/8 or fd00::/8"
    )]
    Destination(String),
    /// Bits behind the prefix.
    #[error("`{given}` has bits set behind its prefix: write {meant}")]
    HostBits {
        /// As given.
        given: String,
        /// The network it lies in.
        meant: Destination,
    },
    /// Not a protocol.
    #[error("`{0}` is no protocol: tcp, udp or icmp")]
    Protocol(String),
    /// Not a port or range of ports.
    #[error("`{0}` are no ports: 443, or 8000-8099; 1 to 65535")]
    Ports(String),
}

// === impl Egress ===

impl Egress {
    /// Reads every rule.
    ///
    /// # Errors
    /// All faults there are; never an empty list.
    pub fn parse<T: AsRef<str>>(rules: &[T]) -> Result<Self, Vec<EgressError>> {
        if rules.len() > MAX_RULES {
            return Err(vec![EgressError::TooMany(rules.len())]);
        }
        let (mut parsed, mut faults) = (Vec::new(), Vec::new());
        for (index, text) in rules.iter().map(AsRef::as_ref).enumerate() {
            match text.parse() {
                Ok(rule) => parsed.push(rule),
                Err(fault) => {
                    faults.push(EgressError::Rule { at: index + 1, text: shown(text), fault })
                }
            }
        }
        if faults.is_empty() { Ok(Self(parsed)) } else { Err(faults) }
    }

    /// Nothing may leave.
    pub fn none() -> Self {
        Self(vec![Rule { action: Action::Deny, to: Destination::All, protocol: None }])
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// Whether everything may leave.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Each rule in its one spelling.
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// Fit for a message: what came from outside may be long, or steer a terminal.
fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

// === impl Rule ===

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut words = text.split_ascii_whitespace();
        let action = match words.next() {
            Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            Some(_) | None => return Err(RuleError::Form),
        };
        let to = words.next().ok_or(RuleError::Form)?.parse()?;
        let protocol = match (words.next(), words.next()) {
            (None, _) => None,
            (Some("icmp"), None) => Some(Protocol::Icmp),
            (Some("tcp"), ports) => Some(Protocol::Tcp(ports.map(str::parse).transpose()?)),
            (Some("udp"), ports) => Some(Protocol::Udp(ports.map(str::parse).transpose()?)),
            (Some("icmp"), Some(_)) => return Err(RuleError::Form),
            (Some(other), _) => return Err(RuleError::Protocol(shown(other))),
        };
        if words.next().is_some() {
            return Err(RuleError::Form);
        }
        Ok(Self { action, to, protocol })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        };
        write!(f, "{action} {}", self.to)?;
        match self.protocol {
            None => Ok(()),
            Some(Protocol::Icmp) => f.write_str(" icmp"),
            Some(Protocol::Tcp(None)) => f.write_str(" tcp"),
            Some(Protocol::Udp(None)) => f.write_str(" udp"),
            Some(Protocol::Tcp(Some(ports))) => write!(f, " tcp {ports}"),
            Some(Protocol::Udp(Some(ports))) => write!(f, " udp {ports}"),
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Whether it is a single address.
    pub fn is_one_machine(self) -> bool {
        matches!(self, Self::Network { base, prefix } if prefix == longest_prefix(base))
    }
}

fn longest_prefix(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

impl FromStr for Destination {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text {
            "all" => return Ok(Self::All),
            "host" => return Ok(Self::Host),
            _ => {}
        }
        let bad = || RuleError::Destination(shown(text));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let longest = longest_prefix(address);
        let prefix = match prefix {
            None => longest,
            Some(text) => text.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(bad)?,
        };
        let behind = u32::from(longest - prefix);
        let base: IpAddr = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        let meant = Self::Network { base, prefix };
        if base == address {
            Ok(meant)
        } else {
            Err(RuleError::HostBits { given: shown(text), meant })
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Host => f.write_str("host"),
            Self::Network { base, .. } if self.is_one_machine() => base.fmt(f),
            Self::Network { base, prefix } => write!(f, "{base}/{prefix}"),
        }
    }
}

// === impl Ports ===

impl FromStr for Ports {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let bad = || RuleError::Ports(shown(text));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or_else(bad);
        let (first, last) = (port(first)?, port(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(bad()) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_comes_back_in_its_one_spelling() {
        for (text, spelling) in [
            ("deny all", "deny all"),
            ("  allow\thost   icmp ", "allow host icmp"),
            ("allow 10.0.0.0/8", "allow 10.0.0.0/8"),
            ("allow 192.0.2.7/32 tcp 443", "allow 192.0.2.7 tcp 443"),
            ("deny 0.0.0.0/0 udp 8000-8000", "deny 0.0.0.0/0 udp 8000"),
            ("deny 192.0.2.7 tcp 1-65535", "deny 192.0.2.7 tcp 1-65535"),
            ("allow all udp", "allow all udp"),
            ("allow ::1/128", "allow ::1"),
            ("deny FD00::/8 tcp 22", "deny fd00::/8 tcp 22"),
            ("deny ::/0 icmp", "deny ::/0 icmp"),
            // Not one machine, however short it looks.
            ("deny 2001:db8::/32", "deny 2001:db8::/32"),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), spelling);
            assert_eq!(spelling.parse(), Ok(rule));
        }
    }

    #[test]
    fn what_is_no_rule_is_told_what_would_be_right() {
        let fault = |text: &str| text.parse::<Rule>().unwrap_err();
        for text in
            ["", "allow", "permit all", "allow all icmp 8", "allow all tcp 1 2", "Allow all"]
        {
            assert_eq!(fault(text), RuleError::Form, "{text:?}");
        }
        for destination in ["any", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::1/129", "1.2.3.4/-1"]
        {
            let text = format!("allow {destination}");
            assert_eq!(fault(&text), RuleError::Destination(destination.into()));
        }
        for ports in ["0", "70000", "9-8", "http", "1-", "-1", "1-2-3"] {
            let text = format!("allow all tcp {ports}");
            assert_eq!(fault(&text), RuleError::Ports(ports.into()));
        }
        assert_eq!(fault("allow all gre"), RuleError::Protocol("gre".into()));
        assert!(fault("allow 10.1.0.0/8").to_string().ends_with("write 10.0.0.0/8"));
        assert!(fault("allow fd00:1::/16").to_string().ends_with("write fd00::/16"));
    }

    #[test]
    fn all_faults_at_once_with_their_places() {
        let faults = Egress::parse(&["deny all", "alow all", "allow x\u{1b}"]).unwrap_err();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("rule 2 (`alow all`): write `allow|deny"), "{told:?}");
        assert!(
            told[1].starts_with("rule 3 (`allow x\\u{1b}`): `x\\u{1b}` is no dest"),
            "{told:?}"
        );
        let many = vec!["deny all"; MAX_RULES + 1];
        assert_eq!(Egress::parse(&many).unwrap_err(), [EgressError::TooMany(MAX_RULES + 1)]);
        assert!(Egress::parse(&many[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }

        #[test]
        fn rules_of_every_shape_come_back(
            text in "(allow|deny) (all|host|[0-9]{1,3}\\.0\\.0\\.0/[0-9]{1,2}) ?(tcp|udp|icmp)? ?[0-9]{0,5}-?[0-9]{0,5}",
        ) {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
