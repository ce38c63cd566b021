//! What a desktop may send: under its own addresses only, nothing to the host
//! or to other desktops, and elsewhere what its pool allows.
//!
//! The rules stand in tables called `rolltop`, of the families `bridge` (what
//! enters by desktops' ports), `ip` and, where desktops have IPv6, `ip6` (what the
//! host would take for itself or route), all of the agent alone. Rules never change; a desktop is an
//! element of their sets, in before its port is up and out after it is gone, and
//! a policy is a chain named by what it says, there as long as a desktop has it.
//! Whatever the kernel says of a change that was not expected (somebody flushed
//! the rules), all is written anew from memory, in one transaction.

mod batch;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::IpAddr,
    process::{Command, Stdio},
};

use rolltop_proto::egress::Egress;
use thiserror::Error;
use tracing::warn;

use self::batch::{Batch, Family, Filter, Key};
use super::ipv6;
use crate::address::{Mac, Range};

/// Name of all tables.
const TABLE: &str = "rolltop";

/// The walls of this host.
#[derive(Debug)]
pub(super) struct Walls {
    ground: Ground,
    filter: Filter,
    members: BTreeMap<String, Member>,
}

/// What all desktops have in common.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    /// The bridge.
    pub bridge: String,
    /// Where desktops' addresses are.
    pub ranges: Vec<Range>,
    /// The host's own addresses on their network.
    pub host: Vec<IpAddr>,
    /// Whether the kernel knows IPv6.
    pub ipv6_here: bool,
    /// Whether the bridge is part of a LAN, with a router there.
    pub lan: bool,
    /// Whether what leaves gets the host's address.
    pub masquerade: bool,
    /// As desktops are told.
    pub name_servers: Vec<IpAddr>,
}

/// A desktop, as far as the packet filter knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its port.
    pub link: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Where it may send.
    pub egress: Egress,
}

/// The packet filter cannot be set as it has to be.
#[derive(Debug, Error)]
pub enum WallsError {
    /// `nft` is missing, or cannot be talked to.
    #[error("cannot run nft: is the package nftables installed?")]
    NoNft(#[source] io::Error),
    /// What `nft` has against the rules.
    #[error("nft cannot {verb} the tables `rolltop`: {said}")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// Its first words.
        said: String,
    },
    /// No socket to the packet filter.
    #[error("cannot open a socket to the packet filter")]
    Socket(#[source] io::Error),
}

// === impl Ground ===

impl Ground {
    /// Of desktops' addresses.
    fn families(&self) -> impl Iterator<Item = Family> {
        self.ranges.iter().map(|range| Family::of(range.gateway()))
    }
}

// === impl Member ===

impl Member {
    /// All addresses it may send from: with IPv6, also the one of its link.
    fn senders(&self) -> Vec<IpAddr> {
        let near = self.ips.iter().any(IpAddr::is_ipv6).then(|| self.mac.link_local().into());
        self.ips.iter().copied().chain(near).collect()
    }
}

// === impl Walls ===

impl Walls {
    /// Changes nothing yet: what an earlier agent has left stands until
    /// [`Walls::rebuild`].
    pub(super) fn new(ground: Ground) -> Result<Self, WallsError> {
        let filter = Filter::open().map_err(WallsError::Socket)?;
        Ok(Self { ground, filter, members: BTreeMap::new() })
    }

    /// Puts up all rules with exactly these desktops in them, at one instant.
    pub(super) fn rebuild(
        &mut self,
        members: impl IntoIterator<Item = Member>,
    ) -> Result<(), WallsError> {
        self.members = members.into_iter().map(|member| (member.link.clone(), member)).collect();
        self.write_anew()
    }

    /// Lets a desktop send. Before its port is up.
    pub(super) fn admit(&mut self, member: Member) -> Result<(), WallsError> {
        let known = self.members.insert(member.link.clone(), member.clone());
        let admitted = match self.try_admit(&member) {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(%error, "the packet filter is not as it was left; writing it anew");
                self.write_anew()
            }
        };
        if admitted.is_err() {
            self.members.remove(&member.link);
            self.members.extend(known.map(|known| (known.link.clone(), known)));
        }
        admitted
    }

    /// Shuts out a desktop that has gone. One that is not known is success.
    pub(super) fn expel(&mut self, link: &str) -> Result<(), WallsError> {
        let Some(member) = self.members.remove(link) else { return Ok(()) };
        match self.filter.commit(self.without(&member)) {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(%error, "the packet filter is not as it was left; writing it anew");
                self.write_anew()
            }
        }
    }

    /// Takes all of it away.
    pub(super) fn remove() -> Result<(), WallsError> {
        nft("remove", &rules::nothing(ipv6::is_here()))
    }

    fn try_admit(&self, member: &Member) -> Result<(), Box<dyn std::error::Error>> {
        let Member { link, mac, egress, .. } = member;
        let mut batch = Batch::new();
        for ip in member.senders() {
            for set in sets_of_owners(ip) {
                batch.add(Family::Bridge, set, &Key::owner(link, *mac, ip), None);
            }
            if self.ground.lan {
                let set = Family::of(ip).of_bridge("neighbours");
                batch.add(Family::Bridge, &set, &Key::ip(ip), None);
            }
            batch.add(Family::of(ip), "desktops", &Key::ip(ip), None);
        }
        if let Some(chain) = rules::chain(egress) {
            if !self.others_have(link, egress) {
                nft("add a policy to", &rules::policy(&chain, egress, &self.ground))?;
            }
            batch.add(Family::Bridge, "policies", &Key::link(link), Some(&chain));
            for ip in member.senders().into_iter().filter(|_| rules::opens_host(egress)) {
                batch.add(Family::of(ip), "policies", &Key::ip(ip), Some(&chain));
            }
        }
        Ok(self.filter.commit(batch)?)
    }

    fn without(&self, member: &Member) -> Batch {
        let Member { link, mac, egress, .. } = member;
        let mut batch = Batch::new();
        for ip in member.senders() {
            for set in sets_of_owners(ip) {
                batch.remove(Family::Bridge, set, &Key::owner(link, *mac, ip));
            }
            if self.ground.lan {
                let set = Family::of(ip).of_bridge("neighbours");
                batch.remove(Family::Bridge, &set, &Key::ip(ip));
            }
            batch.remove(Family::of(ip), "desktops", &Key::ip(ip));
        }
        if let Some(chain) = rules::chain(egress) {
            batch.remove(Family::Bridge, "policies", &Key::link(link));
            for ip in member.senders().into_iter().filter(|_| rules::opens_host(egress)) {
                batch.remove(Family::of(ip), "policies", &Key::ip(ip));
            }
            if !self.others_have(link, egress) {
                batch.remove_chain(Family::Bridge, &chain);
                for family in self.ground.families() {
                    batch.remove_chain(family, &chain);
                }
            }
        }
        batch
    }

    fn others_have(&self, link: &str, egress: &Egress) -> bool {
        self.members.values().any(|other| other.link != link && other.egress == *egress)
    }

    fn write_anew(&self) -> Result<(), WallsError> {
        nft("write", &rules::all(&self.ground, self.members.values()))
    }
}

/// Of the bridge's table, which have the owner of an address.
fn sets_of_owners(ip: IpAddr) -> &'static [&'static str] {
    if ip.is_ipv6() { &["owners6", "targets"] } else { &["owners"] }
}

/// Has `nft` apply `rules`, all or nothing.
fn nft(verb: &'static str, rules: &str) -> Result<(), WallsError> {
    let mut child = Command::new("nft")
        .args(["--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(WallsError::NoNft)?;
    let written = match child.stdin.take() {
        // nft reads to the end before it says anything.
        Some(mut stdin) => stdin.write_all(rules.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output().map_err(WallsError::NoNft)?;
    if output.status.success() {
        return written.map_err(WallsError::NoNft);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it failed without a word").to_owned();
    Err(WallsError::Refused { verb, said })
}
