use super::*;

fn ground() -> Ground {
    Ground {
        bridge: "rolltop0".into(),
        gateway: Ipv4Addr::new(10, 77, 255, 254),
        network: Network::DEFAULT,
        masquerade: true,
        name_servers: vec![Ipv4Addr::new(192, 0, 2, 53)],
    }
}

fn member(n: u8, egress: &[&str]) -> Member {
    Member {
        link: format!("rt{n}"),
        mac: Mac([0x54, 0x52, 0, 0, 0, n]),
        ip: Ipv4Addr::new(10, 77, 0, n),
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
        "define inside = \"rolltop0\"",
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
