//! The packet filter's rules as text for `nft`.

use std::{collections::BTreeSet, net::IpAddr};

use rolltop_proto::egress::{Action, Destination, Egress, Protocol, Rule};
use sha2::{Digest as _, Sha256};

use super::{Family, Ground, Member, TABLE};

const BRIDGE: &str = include_str!("rules.nft");
const HOST: &str = include_str!("host.nft");
const LAN: &str = include_str!("lan.nft");
const MASQUERADE: &str = include_str!("masquerade.nft");

/// Bytes of a policy's digest in the name of its chains.
const DIGEST: usize = 12;

/// Everything, anew: takes the place of whatever was there.
pub(super) fn all<'a>(ground: &Ground, members: impl Iterator<Item = &'a Member>) -> String {
    let mut lines = vec![nothing(ground.ipv6_here), BRIDGE.into()];
    for range in &ground.ranges {
        let family = Family::of(range.gateway());
        // On a LAN the host is not their router. With br_netfilter on, what passes
        // from port to port comes here too.
        let leaving = if ground.lan { "oifname != INSIDE" } else { "oifname INSIDE" };
        let fill = |rules: &str| {
            rules
                .replace("FAMILY", family.name())
                .replace("ADDRESS", family.address_type())
                .replace("ANSWERED", answered(family))
                .replace("ARRIVING", if ground.lan { "" } else { "iifname INSIDE" })
                .replace("LEAVING", leaving)
                .replace("INSIDE", &format!("\"{}\"", ground.bridge))
                .replace("NETWORK", &range.network().to_string())
        };
        lines.push(fill(HOST));
        lines.extend(ground.masquerade.then(|| fill(MASQUERADE)));
    }
    lines.extend(ground.lan.then(|| LAN.into()));
    let element = |set: &str, element: &str| format!("add element {set} {{ {element} }}");
    for host in &ground.host {
        let set = format!("bridge {TABLE} {}", Family::of(*host).of_bridge("host"));
        lines.push(element(&set, &host.to_string()));
    }
    for server in &ground.name_servers {
        let family = Family::of(*server);
        if ground.families().any(|present| present == family) {
            let set = format!("{} {TABLE} name_servers", family.name());
            lines.push(element(&set, &server.to_string()));
        }
    }
    let mut chains = BTreeSet::new();
    for member in members {
        let Member { link, mac, egress, .. } = member;
        let chain = chain(egress);
        for ip in member.senders() {
            let family = Family::of(ip);
            let owners = format!("bridge {TABLE} {}", family.of_bridge("owners"));
            lines.push(element(&owners, &format!("\"{link}\" . {mac} . {ip}")));
            if ground.lan {
                let neighbours = format!("bridge {TABLE} {}", family.of_bridge("neighbours"));
                lines.push(element(&neighbours, &ip.to_string()));
            }
            if let IpAddr::V6(ip) = ip {
                let (mac, ip) = (mac.0.iter(), ip.octets());
                let mac: String = mac.map(|byte| format!("{byte:02x}")).collect();
                let ip: String = ip.iter().map(|byte| format!("{byte:02x}")).collect();
                let targets = format!("bridge {TABLE} targets");
                lines.push(element(&targets, &format!("\"{link}\" . 0x{mac} . 0x{ip}")));
            }
            let of_host = |set| format!("{} {TABLE} {set}", family.name());
            lines.push(element(&of_host("desktops"), &ip.to_string()));
        }
        let Some(chain) = chain else { continue };
        if chains.insert(chain.clone()) {
            lines.push(policy(&chain, egress, ground));
        }
        let policies = format!("bridge {TABLE} policies");
        lines.push(element(&policies, &format!("\"{link}\" : jump {chain}")));
        for ip in member.senders().into_iter().filter(|_| opens_host(egress)) {
            let policies = format!("{} {TABLE} policies", Family::of(ip).name());
            lines.push(element(&policies, &format!("{ip} : jump {chain}")));
        }
    }
    text(&lines)
}

/// What the host answers to whoever asks.
fn answered(family: Family) -> &'static str {
    match family {
        Family::Ipv6 => "icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert }",
        Family::Ipv4 | Family::Bridge => "icmp type echo-request",
    }
}

/// Takes all tables away, whether they are there or not.
pub(super) fn nothing(ipv6_here: bool) -> String {
    let families = [Family::Bridge, Family::Ipv4].into_iter();
    let families = families.chain(ipv6_here.then_some(Family::Ipv6));
    let gone = |family: Family| {
        let family = family.name();
        format!("table {family} {TABLE}\ndelete table {family} {TABLE}")
    };
    text(&families.map(gone).collect::<Vec<_>>())
}

/// The chains of one policy, of the same name in all tables; whatever was in
/// them goes.
pub(super) fn policy(chain: &str, egress: &Egress, ground: &Ground) -> String {
    let mut lines = Vec::new();
    for family in [Family::Bridge].into_iter().chain(ground.families()) {
        let family = family.name();
        lines.push(format!("add chain {family} {TABLE} {chain}"));
        lines.push(format!("flush chain {family} {TABLE} {chain}"));
    }
    let families: Vec<Family> = ground.families().collect();
    for rule in egress.rules() {
        let outward = outward(rule, &families).into_iter();
        lines.extend(outward.map(|rule| format!("add rule bridge {TABLE} {chain} {rule}")));
        for (family, rule) in to_host(rule, ground) {
            lines.push(format!("add rule {} {TABLE} {chain} {rule}", family.name()));
        }
    }
    text(&lines)
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Name of the chains of a policy, which follows from what it says; none for
/// one that says nothing.
pub(super) fn chain(egress: &Egress) -> Option<String> {
    if egress.is_open() {
        return None;
    }
    let digest = Sha256::digest(egress.to_texts().join("\n"));
    let hex: String = digest.iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("policy_{hex}"))
}

/// Whether a policy lets its desktops reach more of the host than others.
pub(super) fn opens_host(egress: &Egress) -> bool {
    egress.rules().iter().any(|rule| rule.action == Action::Allow && may_be_host(rule.to))
}

fn may_be_host(to: Destination) -> bool {
    match to {
        Destination::Host => true,
        Destination::All => false,
        Destination::Network { .. } => to.is_one_machine(),
    }
}

/// Of frames that enter the bridge. Stateless: what may not be sent may not be
/// answered either.
fn outward(rule: &Rule, families: &[Family]) -> Vec<String> {
    let verdict = match rule.action {
        Action::Allow => "accept",
        Action::Deny => "counter name policy_dropped drop",
    };
    let mut lines = Vec::new();
    for &family in families {
        let to = match rule.to {
            Destination::Host => return Vec::new(),
            Destination::Network { base, .. } if Family::of(base) != family => continue,
            Destination::Network { prefix, .. } if prefix > 0 => {
                format!("{} daddr {} ", family.name(), rule.to)
            }
            // Nothing else comes here.
            Destination::All if families.len() == 1 => String::new(),
            Destination::All | Destination::Network { .. } => {
                format!("ether type {} ", family.name())
            }
        };
        lines.push(format!("{to}{}{verdict}", protocol(rule.protocol, family)));
        // Only the first fragment of a packet has its ports; without that one,
        // which is looked at, the others are worth nothing.
        if let (Action::Allow, Some(name)) = (rule.action, with_ports(rule.protocol)) {
            lines.push(match family {
                Family::Ipv6 => format!("{to}meta l4proto {name} frag frag-off != 0 accept"),
                Family::Ipv4 | Family::Bridge => {
                    format!("{to}ip protocol {name} ip frag-off & 0x1fff != 0 accept")
                }
            });
        }
    }
    lines
}

/// Of packets that the host would take for itself.
fn to_host(rule: &Rule, ground: &Ground) -> Vec<(Family, String)> {
    let verdict = match rule.action {
        Action::Allow => "accept",
        Action::Deny => "counter name host_dropped drop",
    };
    let to: Vec<IpAddr> = match rule.to {
        Destination::Host => ground.host.clone(),
        Destination::Network { base, .. } if rule.to.is_one_machine() => vec![base],
        Destination::All | Destination::Network { .. } => Vec::new(),
    };
    let present = |ip: &IpAddr| ground.families().any(|family| family == Family::of(*ip));
    to.into_iter()
        .filter(present)
        .map(|ip| {
            let family = Family::of(ip);
            let protocol = protocol(rule.protocol, family);
            (family, format!("{} daddr {ip} {protocol}{verdict}", family.name()))
        })
        .collect()
}

fn protocol(protocol: Option<Protocol>, family: Family) -> String {
    let whole = |name: &str| match family {
        // Of IPv6 the protocol stands behind any number of other headers.
        Family::Ipv6 => format!("meta l4proto {name} "),
        Family::Ipv4 | Family::Bridge => format!("ip protocol {name} "),
    };
    match protocol {
        None => String::new(),
        Some(Protocol::Icmp) => whole(if family == Family::Ipv6 { "ipv6-icmp" } else { "icmp" }),
        Some(Protocol::Tcp(None)) => whole("tcp"),
        Some(Protocol::Udp(None)) => whole("udp"),
        Some(Protocol::Tcp(Some(ports))) => format!("tcp dport {ports} "),
        Some(Protocol::Udp(Some(ports))) => format!("udp dport {ports} "),
    }
}

fn with_ports(protocol: Option<Protocol>) -> Option<&'static str> {
    match protocol? {
        Protocol::Tcp(Some(_)) => Some("tcp"),
        Protocol::Udp(Some(_)) => Some("udp"),
        Protocol::Tcp(None) | Protocol::Udp(None) | Protocol::Icmp => None,
    }
}
