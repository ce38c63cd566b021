//! The bridge that desktops hang on.

use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rtnetlink::{
    Handle, LinkBridge, LinkUnspec,
    packet_route::link::{InfoKind, LinkAttribute, LinkInfo},
};

use super::{NetworkError, is_errno};
use crate::address::Range;

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

pub(super) async fn create(
    handle: &Handle,
    name: &str,
    mtu: Option<u32>,
) -> Result<Bridge, NetworkError> {
    // A fixed MAC: an automatic one follows the ports as they come and go, and
    // desktops keep the old one in their neighbour tables, which stalls their
    // connections for seconds. Locally administered, distinct per name.
    let [a, b, c, d] = checksum(name).to_be_bytes();
    let message = LinkBridge::new(name)
        .address(vec![0x02, 0x72, a, b, c, d])
        .mtu(mtu.unwrap_or(DEFAULT_MTU))
        .build();
    match handle.link().add(message).execute().await {
        Ok(()) => {}
        Err(error) if is_errno(&error, Errno::EEXIST) => {}
        Err(error) => return Err(NetworkError::netlink("make bridge", name)(error)),
    }
    find(handle, name).await?.ok_or_else(|| NetworkError::NotABridge(name.into()))
}

pub(super) async fn configure(
    handle: &Handle,
    index: u32,
    name: &str,
    ranges: &[Range],
) -> Result<(), NetworkError> {
    for range in ranges {
        let prefix = range.network().prefix();
        match handle.address().add(index, range.gateway(), prefix).execute().await {
            Ok(()) => {}
            Err(error) if is_errno(&error, Errno::EEXIST) => {}
            Err(error) => {
                return Err(NetworkError::netlink("give the gateway's address to", name)(error));
            }
        }
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(NetworkError::netlink("set up", name))
}

/// Gives a bridge of the agent's own the MTU it is to have now.
pub(super) async fn set_mtu(
    handle: &Handle,
    bridge: &mut Bridge,
    name: &str,
    mtu: Option<u32>,
) -> Result<(), NetworkError> {
    let wanted = mtu.unwrap_or(DEFAULT_MTU);
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
