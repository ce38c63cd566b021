//! The packet filter's rules as text for `nft`.

use std::collections::BTreeSet;

use rolltop_proto::egress::{Action, Destination, Egress, Protocol, Rule};
use sha2::{Digest as _, Sha256};

use super::{Ground, Member, TABLE};

const WALLS: &str = include_str!("rules.nft");
const MASQUERADE: &str = include_str!("masquerade.nft");

const FAMILIES: [&str; 2] = ["bridge", "ip"];

/// Bytes of a policy's digest in the name of its chains.
const DIGEST: usize = 12;

/// Everything, anew: takes the place of whatever was there.
pub(super) fn all<'a>(ground: &Ground, members: impl Iterator<Item = &'a Member>) -> String {
    let mut lines = vec![
        format!("define inside = \"{}\"", ground.bridge),
        format!("define gateway = {}", ground.gateway),
        format!("define network = {}", ground.network),
        WALLS.into(),
    ];
    lines.extend(ground.masquerade.then(|| MASQUERADE.into()));
    let element = |set: &str, element: &str| format!("add element {set} {{ {element} }}");
    let servers = ground.name_servers.iter();
    lines.extend(servers.map(|server| element("ip rolltop name_servers", &server.to_string())));
    let mut chains = BTreeSet::new();
    for Member { link, mac, ip, egress } in members {
        lines.push(element("bridge rolltop owners", &format!("\"{link}\" . {mac} . {ip}")));
        lines.push(element("ip rolltop desktops", &ip.to_string()));
        let Some(chain) = chain(egress) else { continue };
        if chains.insert(chain.clone()) {
            lines.push(policy(&chain, egress, ground));
        }
        lines.push(element("bridge rolltop policies", &format!("\"{link}\" : jump {chain}")));
        if opens_host(egress) {
            lines.push(element("ip rolltop policies", &format!("{ip} : jump {chain}")));
        }
    }
    text(&lines)
}

/// Takes both tables away, whether they are there or not.
pub(super) fn nothing() -> String {
    text(&FAMILIES.map(|family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}")))
}

/// The chains of one policy, of the same name in both tables; whatever was in
/// them goes.
pub(super) fn policy(chain: &str, egress: &Egress, ground: &Ground) -> String {
    let mut lines = Vec::new();
    for family in FAMILIES {
        lines.push(format!("add chain {family} {TABLE} {chain}"));
        lines.push(format!("flush chain {family} {TABLE} {chain}"));
    }
    for rule in egress.rules() {
        let outward = outward(rule).into_iter();
        lines.extend(outward.map(|rule| format!("add rule bridge {TABLE} {chain} {rule}")));
        let to_host = to_host(rule, ground);
        lines.extend(to_host.map(|rule| format!("add rule ip {TABLE} {chain} {rule}")));
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
    egress.rules().iter().any(|rule| {
        rule.action == Action::Allow
            && matches!(rule.to, Destination::Host | Destination::Network { prefix: 32, .. })
    })
}

/// Of frames that enter the bridge. Stateless: what may not be sent may not be
/// answered either.
fn outward(rule: &Rule) -> Vec<String> {
    let to = match rule.to {
        Destination::Host => return Vec::new(),
        Destination::All | Destination::Network { prefix: 0, .. } => String::new(),
        Destination::Network { .. } => format!("ip daddr {} ", rule.to),
    };
    let verdict = match rule.action {
        Action::Allow => "accept",
        Action::Deny => "counter name policy_dropped drop",
    };
    let mut lines = vec![format!("{to}{}{verdict}", protocol(rule.protocol))];
    // Only the first fragment of a packet has its ports; without that one, which
    // is looked at, the others are worth nothing.
    if let (Action::Allow, Some(name)) = (rule.action, with_ports(rule.protocol)) {
        lines.push(format!("{to}ip protocol {name} ip frag-off & 0x1fff != 0 accept"));
    }
    lines
}

/// Of packets that the host would take for itself.
fn to_host(rule: &Rule, ground: &Ground) -> Option<String> {
    let to = match rule.to {
        Destination::Host => ground.gateway,
        Destination::Network { base, prefix: 32 } => base,
        Destination::All | Destination::Network { .. } => return None,
    };
    let verdict = match rule.action {
        Action::Allow => "accept",
        Action::Deny => "counter name host_dropped drop",
    };
    Some(format!("ip daddr {to} {}{verdict}", protocol(rule.protocol)))
}

fn protocol(protocol: Option<Protocol>) -> String {
    match protocol {
        None => String::new(),
        Some(Protocol::Icmp) => "ip protocol icmp ".into(),
        Some(Protocol::Tcp(None)) => "ip protocol tcp ".into(),
        Some(Protocol::Udp(None)) => "ip protocol udp ".into(),
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
