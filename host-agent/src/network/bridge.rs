//! The bridge that desktops hang on.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec,
    packet_route::{
        address::AddressHeaderFlags,
        link::{InfoKind, LinkAttribute, LinkInfo},
    },
};

use super::{NetworkError, is_errno, link};
use crate::address::{Mac, Range};

/// What an Ethernet link has unless somebody says otherwise.
pub(super) const DEFAULT_MTU: u32 = 1500;

/// A bridge that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bridge {
    pub(super) index: u32,
    pub(super) mtu: u32,
}

/// The bridge `name`, if it is there.
pub(super) async fn find(handle: &Handle, name: &str) -> Result<Option<Bridge>, NetworkError> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let link = match found.try_next().await {
        Ok(Some(link)) => link,
        Ok(None) => return Ok(None),
        Err(error) if is_errno(&error, Errno::ENODEV) => return Ok(None),
        Err(error) => return Err(NetworkError::netlink("look up link", name)(error)),
    };
    let is_bridge = link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
            if infos.contains(&LinkInfo::Kind(InfoKind::Bridge)))
    });
    if !is_bridge {
        return Err(NetworkError::NotABridge(name.into()));
    }
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    Ok(Some(Bridge { index: link.header.index, mtu: mtu.unwrap_or(DEFAULT_MTU) }))
}

pub(super) async fn create(handle: &Handle, name: &str, mtu: u32) -> Result<Bridge, NetworkError> {
    // A fixed MAC: an automatic one follows the ports as they come and go, and
    // desktops keep the old one in their neighbour tables, which stalls their
    // connections for seconds. Locally administered, distinct per name.
    let message = LinkBridge::new(name).address(mac(name).0.to_vec()).mtu(mtu).build();
    match handle.link().add(message).execute().await {
        Ok(()) => {}
        Err(error) if is_errno(&error, Errno::EEXIST) => {}
        Err(error) => return Err(NetworkError::netlink("make bridge", name)(error)),
    }
    find(handle, name).await?.ok_or_else(|| NetworkError::NotABridge(name.into()))
}

/// Gives the bridge the gateways' addresses.
pub(super) async fn configure(
    handle: &Handle,
    index: u32,
    name: &str,
    ranges: &[Range],
) -> Result<(), NetworkError> {
    for range in ranges {
        let prefix = if range.is_near() { 64 } else { range.network().prefix() };
        add_address(handle, index, range.gateway(), prefix)
            .await
            .map_err(NetworkError::netlink("give the gateway's address to", name))?;
    }
    Ok(())
}

/// Gives a link an address, which is known to be nobody else's. One it has
/// already is fine.
pub(super) async fn add_address(
    handle: &Handle,
    index: u32,
    ip: IpAddr,
    prefix: u8,
) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, ip, prefix);
    if ip.is_ipv6() {
        // Asking around whose it is takes a second, in which it cannot be used.
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    match request.execute().await {
        Err(error) if is_errno(&error, Errno::EEXIST) => Ok(()),
        other => other,
    }
}

pub(super) async fn set_up(handle: &Handle, index: u32, name: &str) -> Result<(), NetworkError> {
    link::up(handle, index).await.map_err(NetworkError::netlink("set up", name))
}

/// The hardware address of bridges of the agent's own.
pub(super) fn mac(name: &str) -> Mac {
    let [a, b, c, d] = checksum(name).to_be_bytes();
    Mac([0x02, 0x72, a, b, c, d])
}

/// Gives a bridge of the agent's own the MTU it is to have now.
pub(super) async fn set_mtu(
    handle: &Handle,
    bridge: &mut Bridge,
    name: &str,
    wanted: u32,
) -> Result<(), NetworkError> {
    if bridge.mtu != wanted {
        let message = LinkUnspec::new_with_index(bridge.index).mtu(wanted).build();
        let set = handle.link().set(message).execute().await;
        set.map_err(NetworkError::netlink("set the MTU of", name))?;
        bridge.mtu = wanted;
    }
    Ok(())
}

/// FNV-1a: spreads names over hardware addresses.
fn checksum(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
