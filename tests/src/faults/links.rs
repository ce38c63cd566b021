//! Links that are cut, by the kernel's packet filter: a connection is told by who
//! opened it (each process has a user of its own) and where to, is marked with its
//! first packet, and so both its directions are cut.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Stdio,
};

use anyhow::{Context as _, ensure};

use super::{
    cluster::{broker_uid, client_port, member_uid, peer_port},
    schedule::{How, Link, links},
};

/// The mark of a link's connections. Those between members have one a pair.
fn mark(link: Link) -> usize {
    match link {
        Link::BrokerHost(broker, host) => 0x1000 + 0x100 * broker + host,
        Link::BrokerMember(broker, member) => 0x2000 + 0x100 * broker + member,
        Link::Members(a, b) => 0x3000 + 0x100 * a + b,
    }
}

/// Has connections marked from now on; hosts are at these addresses.
///
/// # Errors
/// The filter cannot be set.
pub fn prepare(hosts: &[SocketAddr]) -> anyhow::Result<()> {
    let mut rules = String::new();
    for link in links() {
        let local = |port: usize| (IpAddr::from(Ipv4Addr::LOCALHOST), port);
        let ways = match link {
            Link::BrokerHost(broker, host) => {
                let at = hosts.get(host).context("a host without an address")?;
                vec![(broker_uid(broker), (at.ip(), at.port().into()))]
            }
            Link::BrokerMember(broker, member) => {
                vec![(broker_uid(broker), local(client_port(member)))]
            }
            Link::Members(a, b) => {
                vec![(member_uid(a), local(peer_port(b))), (member_uid(b), local(peer_port(a)))]
            }
        };
        for (uid, (ip, port)) in ways {
            let mark = mark(link);
            writeln!(rules, "meta skuid {uid} ip daddr {ip} tcp dport {port} ct mark set {mark}")?;
        }
    }
    // Before the filter that looks at the marks.
    set(&format!(
        "table inet marks {{ chain out {{ type filter hook output priority -10;\n{rules}}}; }}"
    ))
}

/// Cuts these, and no others.
///
/// # Errors
/// The filter cannot be set.
pub fn cut(cuts: &[(Link, How)]) -> anyhow::Result<()> {
    let mut rules = String::new();
    for (link, how) in cuts {
        let verdict = match how {
            How::Drop => "drop",
            How::Reset => "reject with tcp reset",
        };
        writeln!(rules, "meta l4proto tcp ct mark {} {verdict}", mark(*link))?;
    }
    // All at once: declared, so that it can be deleted; deleted; made anew.
    set(&format!(
        "table inet cut {{ }}\ndelete table inet cut\n\
         table inet cut {{ chain out {{ type filter hook output priority 0;\n{rules}}}; \
         chain in {{ type filter hook input priority 0;\n{rules}}}; }}"
    ))
}

fn set(rules: &str) -> anyhow::Result<()> {
    let mut nft = std::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run nft")?;
    nft.stdin.take().context("nft has no input")?.write_all(rules.as_bytes())?;
    let output = nft.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft refuses {rules}\n{said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_link_has_a_mark_of_its_own() {
        let marks: BTreeSet<_> = links().into_iter().map(mark).collect();
        assert_eq!(marks.len(), links().len());
    }
}
