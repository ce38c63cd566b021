use std::net::Ipv4Addr;

use super::*;
use crate::address::Subnet;

fn ground() -> Ground {
    Ground {
        bridge: "rolltop0".into(),
        ranges: vec![Range::whole(Subnet::DEFAULT)],
        host: vec![Ipv4Addr::new(10, 77, 255, 254).into()],
        ipv6_here: true,
        lan: false,
        masquerade: true,
        name_servers: vec![Ipv4Addr::new(192, 0, 2, 53).into()],
    }
}

fn member(n: u8, egress: &[&str]) -> Member {
    Member {
        link: format!("rt{n}"),
        mac: Mac([0x54, 0x52, 0, 0, 0, n]),
        ips: vec![Ipv4Addr::new(10, 77, 0, n).into()],
        egress: Egress::parse(egress).unwrap(),
    }
}

#[test]
fn desktops_with_one_policy_share_its_chains() {
    let closed = ["allow 192.0.2.0/24 tcp 443-444", "deny all"];
    let members = [member(1, &[]), member(2, &closed), member(3, &closed)];
    let text = rules::all(&ground(), members.iter());
    let chain = rules::chain(&members[1].egress).unwrap();
    assert_eq!(text.matches(&format!("add chain bridge rolltop {chain}\n")).count(), 1);
    for line in [
        "add element bridge rolltop host { 10.77.255.254 }",
        "add element bridge rolltop owners { \"rt1\" . 54:52:00:00:00:01 . 10.77.0.1 }",
        "add element ip rolltop desktops { 10.77.0.3 }",
        &format!("add element bridge rolltop policies {{ \"rt2\" : jump {chain} }}"),
        &format!("add element bridge rolltop policies {{ \"rt3\" : jump {chain} }}"),
        &format!("add rule bridge rolltop {chain} ip daddr 192.0.2.0/24 tcp dport 443-444 accept"),
        &format!("add rule bridge rolltop {chain} counter name policy_dropped drop"),
        "add element ip rolltop name_servers { 192.0.2.53 }",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("policies { \"rt1\""), "the open one has no policy");
    assert!(!text.contains("policies { 10.77"), "nobody may reach the host");
}

#[test]
fn the_host_is_opened_by_its_name_or_one_address_only() {
    let opens = |rule: &str| rules::opens_host(&Egress::parse(&[rule]).unwrap());
    assert!(opens("allow host tcp 80") && opens("allow 192.0.2.1"));
    for rule in
        ["allow all", "allow 0.0.0.0/0", "allow 192.0.2.0/31", "deny host", "deny 192.0.2.1"]
    {
        assert!(!opens(rule), "{rule}");
    }
    let text = rules::policy(
        "p",
        &Egress::parse(&["deny host tcp 22", "allow host", "allow 192.0.2.1 udp 53"]).unwrap(),
        &ground(),
    );
    let of_host: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("add rule ip rolltop p ")).collect();
    assert_eq!(
        of_host,
        [
            "ip daddr 10.77.255.254 tcp dport 22 counter name host_dropped drop",
            "ip daddr 10.77.255.254 accept",
            "ip daddr 192.0.2.1 udp dport 53 accept",
        ]
    );
}

#[test]
fn chains_are_named_by_what_a_policy_says() {
    let chain = |rules: &[&str]| rules::chain(&Egress::parse(rules).unwrap());
    assert_eq!(chain(&[]), None);
    assert_eq!(chain(&["deny 192.0.2.1/32"]), chain(&[" deny  192.0.2.1"]));
    assert_ne!(chain(&["deny all", "allow host"]), chain(&["allow host", "deny all"]));
    assert!(chain(&["deny all"]).unwrap().len() < 128, "NFT_NAME_MAXLEN");
}

#[test]
fn ipv6_has_the_same_walls() {
    let mut ground = ground();
    ground.ranges.push(Range::whole("fd77::/64".parse().unwrap()));
    ground.host.push("fd77::ffff:ffff:ffff:fffe".parse().unwrap());
    ground.name_servers.push("2001:db8::53".parse().unwrap());
    let rules = ["allow 2001:db8::/32 tcp 443", "allow host icmp", "allow ::1", "deny all"];
    let mut member = member(2, &rules);
    member.ips.push("fd77::2".parse().unwrap());
    let text = rules::all(&ground, [&member].into_iter());
    let chain = rules::chain(&member.egress).unwrap();
    for line in [
        "delete table ip6 rolltop",
        "add element bridge rolltop owners6 { \"rt2\" . 54:52:00:00:00:02 . fd77::2 }",
        "add element bridge rolltop owners6 { \"rt2\" . 54:52:00:00:00:02 . fe80::5652:ff:fe00:2 }",
        "add element bridge rolltop targets { \"rt2\" . 0x545200000002 . 0xfd770000000000000000000000000002 }",
        "add element bridge rolltop host6 { fd77::ffff:ffff:ffff:fffe }",
        "add element ip6 rolltop desktops { fe80::5652:ff:fe00:2 }",
        "add element ip6 rolltop name_servers { 2001:db8::53 }",
        &format!("add element ip6 rolltop policies {{ fd77::2 : jump {chain} }}"),
        &format!("add rule bridge rolltop {chain} ip6 daddr 2001:db8::/32 tcp dport 443 accept"),
        &format!(
            "add rule bridge rolltop {chain} ip6 daddr 2001:db8::/32 meta l4proto tcp frag frag-off != 0 accept"
        ),
        &format!("add rule bridge rolltop {chain} ether type ip counter name policy_dropped drop"),
        &format!("add rule bridge rolltop {chain} ether type ip6 counter name policy_dropped drop"),
        &format!(
            "add rule ip6 rolltop {chain} ip6 daddr fd77::ffff:ffff:ffff:fffe meta l4proto ipv6-icmp accept"
        ),
        &format!("add rule ip6 rolltop {chain} ip6 daddr ::1 accept"),
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("ip6 saddr fd77::/64 oifname != \"rolltop0\" masquerade"), "{text}");
    // Where desktops have IPv4 alone, there is nothing of it.
    let text = rules::all(&self::ground(), std::iter::empty());
    assert!(!text.contains("table ip6 rolltop {"), "{text}");
}

#[test]
fn on_a_lan_neither_host_nor_router_lead_to_other_desktops() {
    let ground = Ground { lan: true, masquerade: false, ..ground() };
    let text = rules::all(&ground, [&member(2, &[])].into_iter());
    for line in [
        "add element bridge rolltop neighbours { 10.77.0.2 }",
        "add rule bridge rolltop across ip daddr @neighbours counter name hairpin_dropped drop",
        "iifname \"rolltop0\" ip saddr @desktops oifname != \"rolltop0\" counter name across_dropped drop",
        // By whichever link it comes back to the host.
        "ip saddr @desktops jump from_desktops",
    ] {
        assert!(text.lines().any(|there| there.trim() == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("masquerade"), "{text}");
}
