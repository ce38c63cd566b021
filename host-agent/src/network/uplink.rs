//! The link by which a bridge of the agent's own reaches the LAN.
//!
//! It is taken only while it carries none of the host's own addresses: whoever
//! gave it those (a DHCP client, a network manager) would give it them again.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rolltop_fail_points as fail_points;
use rtnetlink::{
    Handle, LinkUnspec,
    packet_route::{
        address::AddressAttribute,
        link::{LinkAttribute, LinkFlags},
    },
};
use serde::{Deserialize, Serialize};

use super::{NetworkError, bridge::DEFAULT_MTU, is_errno};

/// An uplink as it was before the agent took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) name: String,
    was_up: bool,
}

/// A link that can be one.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    name: String,
    index: u32,
    is_up: bool,
    bridge: Option<u32>,
    pub(super) mtu: u32,
}

/// The link `name`.
pub(super) async fn find(handle: &Handle, name: &str) -> Result<Uplink, NetworkError> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let link = match found.try_next().await {
        Err(error) if !is_errno(&error, Errno::ENODEV) => {
            return Err(NetworkError::netlink("look up link", name)(error));
        }
        other => other.ok().flatten().ok_or_else(|| NetworkError::NoUplink(name.into()))?,
    };
    let mut uplink = Uplink {
        name: name.into(),
        index: link.header.index,
        is_up: link.header.flags.contains(LinkFlags::Up),
        bridge: None,
        mtu: DEFAULT_MTU,
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => uplink.mtu = mtu,
            LinkAttribute::Controller(bridge) => uplink.bridge = Some(bridge),
            _ => {}
        }
    }
    Ok(uplink)
}

impl Uplink {
    /// Whether `bridge` can have it; [`Uplink::join`] does not ask again.
    pub(super) async fn may_join(
        &self,
        handle: &Handle,
        bridge: Option<u32>,
    ) -> Result<(), NetworkError> {
        let name = self.name.clone();
        match self.bridge {
            Some(other) if bridge != Some(other) => return Err(NetworkError::UplinkTaken(name)),
            Some(_) => return Ok(()),
            None => {}
        }
        let addresses = addresses(handle, self.index, &name).await?;
        if addresses.is_empty() {
            return Ok(());
        }
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        Err(NetworkError::UplinkInUse { uplink: name, addresses: addresses.join(", ") })
    }

    /// How it is now, unless it is the bridge's already.
    pub(super) fn to_be_taken(&self) -> Option<Taken> {
        self.bridge.is_none().then(|| Taken { name: self.name.clone(), was_up: self.is_up })
    }

    /// Makes it a port of the bridge, and sets it up.
    pub(super) async fn join(&self, handle: &Handle, bridge: u32) -> Result<(), NetworkError> {
        if self.bridge.is_none() {
            let message = LinkUnspec::new_with_index(self.index).controller(bridge).build();
            let set = handle.link().set(message).execute().await;
            set.map_err(NetworkError::netlink("make a bridge port of", &self.name))?;
            fail_points::pass("take uplink");
        }
        let up = LinkUnspec::new_with_index(self.index).up().build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(NetworkError::netlink("set up", &self.name))?;
        fail_points::pass("set uplink up");
        Ok(())
    }
}

/// Gives back what was taken; a link that has gone is success.
pub(super) async fn give_back(handle: &Handle, taken: &Taken) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_name(&taken.name).nocontroller();
    let message = if taken.was_up { message.build() } else { message.down().build() };
    match handle.link().set(message).execute().await {
        Ok(()) => Ok(()),
        Err(error) if is_errno(&error, Errno::ENODEV) => Ok(()),
        Err(error) => Err(NetworkError::netlink("give back", &taken.name)(error)),
    }
}

/// Addresses of link `index`, but those that are good on the link alone.
pub(super) async fn addresses(
    handle: &Handle,
    index: u32,
    name: &str,
) -> Result<Vec<IpAddr>, NetworkError> {
    let listed = handle.address().get().set_link_index_filter(index).execute();
    let listed: Vec<_> =
        listed.try_collect().await.map_err(NetworkError::netlink("list addresses of", name))?;
    let address = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let own = listed.iter().filter_map(|message| message.attributes.iter().find_map(address));
    let near = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    Ok(own.filter(|ip| !near(ip)).collect())
}
