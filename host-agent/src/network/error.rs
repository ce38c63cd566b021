//! What can go wrong with links, addresses and rules.

use std::io;

use thiserror::Error;

use super::WallsError;

/// A step on links, addresses or rules that the kernel refused.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A netlink request.
    #[error("cannot {verb} {operand}")]
    Netlink {
        /// What was tried.
        verb: &'static str,
        /// On which link or address.
        operand: String,
        /// The kernel's answer.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// A system call or file.
    #[error("cannot {verb} {operand}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        operand: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The packet filter.
    #[error(transparent)]
    Walls(#[from] WallsError),
    /// A link of the bridge's name that is no bridge.
    #[error("link {0} is there but is no bridge: name another in network.bridge, or remove it")]
    NotABridge(String),
    /// A bridge on the LAN that is not there, and nothing to make it with.
    #[error("there is no bridge {0}: make it, or let network.uplink name the link to the LAN")]
    NoBridge(String),
    /// No such uplink.
    #[error("there is no link {0}: let network.uplink name one that `ip link` lists")]
    NoUplink(String),
    /// An uplink that belongs to another.
    #[error(
        "link {0} is a port of another bridge or bond: name that bridge in network.bridge and leave network.uplink out"
    )]
    UplinkTaken(String),
    /// An uplink the host itself goes by.
    #[error(
        "link {uplink} carries this host's own addresses ({addresses}): have the host's network configuration make a bridge of it, name that in network.bridge and leave network.uplink out; or use a link of its own"
    )]
    UplinkInUse {
        /// The link.
        uplink: String,
        /// What it has.
        addresses: String,
    },
    /// No room on any bridge, nor for another one.
    #[error("the bridges of {bridge} are full with {desktops} desktops: lower max_desktops")]
    NoPorts {
        /// The first one.
        bridge: String,
        /// On all of them.
        desktops: usize,
    },
    /// Forwarding would take the host's own route away.
    #[error(
        "this host has its IPv6 route from router advertisements on {0}, which a router ignores: set net.ipv6.conf.{0}.accept_ra = 2 and net.ipv6.conf.all.forwarding = 1 first"
    )]
    RouteByAdvertisement(String),
    /// Links that carry more than the bridge does.
    #[error(
        "network.mtu = {mtu} is more than {link} carries, {most}: lower it, or raise the link's"
    )]
    MtuTooLarge {
        /// As configured.
        mtu: u32,
        /// The bridge or uplink.
        link: String,
        /// What that has.
        most: u32,
    },
}

impl NetworkError {
    pub(super) fn netlink(
        verb: &'static str,
        operand: impl Into<String>,
    ) -> impl FnOnce(rtnetlink::Error) -> Self {
        let operand = operand.into();
        move |source| Self::Netlink { verb, operand, source: Box::new(source) }
    }

    pub(super) fn io(verb: &'static str, operand: impl Into<String>, source: io::Error) -> Self {
        Self::Io { verb, operand: operand.into(), source }
    }
}

/// `true` when the kernel's answer to a netlink request is this error number.
pub(super) fn is_errno(error: &rtnetlink::Error, errno: nix::errno::Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.code.is_some_and(|code| code.get() == -(errno as i32)))
}
