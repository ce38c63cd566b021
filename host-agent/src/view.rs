//! What others see of a desktop: a snapshot, replaced as a whole whenever
//! something changes.

use std::{net::IpAddr, time::Duration};

use rolltop_overlay::OverlayKind;

use crate::{
    address::Mac,
    lifecycle::{EndReason, State},
    record::Record,
};

/// A step of a start, in the order people see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Base root and overlay.
    Disk,
    /// Link, MAC, IP.
    Network,
    /// Namespaces, limits, init.
    Container,
    /// Account and session command.
    Session,
    /// The display's answer.
    Display,
}

/// A phase that began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which.
    pub phase: Phase,
    /// Ended well, or only begun.
    pub done: bool,
    /// Since the request arrived.
    pub elapsed: Duration,
}

/// Why a desktop did not come up, or ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where it failed.
    pub phase: Phase,
    /// Stable word for programs.
    pub code: &'static str,
    /// One sentence for a person.
    pub reason: String,
    /// The last lines the session wrote.
    pub output_tail: Vec<String>,
}

/// A desktop at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Everything that is also on disk.
    pub record: Record,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
    /// Which overlay it has.
    pub overlay: OverlayKind,
    /// The home volume it has beside that.
    pub home_volume: Option<OverlayKind>,
    /// Phases so far.
    pub marks: Vec<Mark>,
    /// Set when the state is `Failed`, and beside `end` when it was no good end.
    pub failure: Option<Failure>,
    /// Set when the state is `Stopping` or `Gone`.
    pub end: Option<EndReason>,
}

impl View {
    /// Where the desktop is in its life.
    pub fn state(&self) -> State {
        self.record.state
    }

    /// Whether this is its overlay or home.
    pub fn uses(&self, kind: &OverlayKind) -> bool {
        self.overlay == *kind || self.home_volume.as_ref() == Some(kind)
    }
}

impl Phase {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Disk, Self::Network, Self::Container, Self::Session, Self::Display];

    /// The word for people and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Container => "container",
            Self::Session => "session",
            Self::Display => "display",
        }
    }
}
