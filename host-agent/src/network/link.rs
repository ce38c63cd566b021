//! One desktop's link: a veth pair with one end on the bridge and the other in
//! the desktop.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    thread,
};

use futures_util::TryStreamExt as _;
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use rolltop_fail_points as fail_points;
use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{InfoData, InfoVeth},
        neighbour::{NeighbourFlags, NeighbourState},
    },
};
use tokio::task::JoinHandle;

use super::{
    NetworkError, WallsError,
    bridge::{self, Bridge},
    ipv6, is_errno,
};
use crate::address::Addresses;

/// Index of the loopback link in every network namespace.
pub(super) const LOOPBACK: u32 = 1;
/// Index we give to `eth0` inside, so that it need not be looked up.
pub(super) const ETH0: u32 = 2;

pub(super) async fn attach(
    handle: &Handle,
    Bridge { index: bridge, mtu }: Bridge,
    addresses: &Addresses,
    init: i32,
    admitted: impl Future<Output = Result<(), WallsError>>,
) -> Result<(), NetworkError> {
    let namespace = namespace_of(init)?;

    // The peer is born inside the namespace: moving it there later waits for
    // the kernel to settle and takes ten times as long. Neither end is set up in
    // the same message: walls come first, and for the peer the kernel answers
    // ENOTCONN while its other end is missing.
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name("eth0".to_owned())
        .index(ETH0)
        .address(addresses.mac.0.to_vec())
        .mtu(mtu)
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(&addresses.link, "eth0")
        .controller(bridge)
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    let link = addresses.link.as_str();
    // Both are awaited, whatever the other says: nothing may be admitted after
    // the release of a failed start.
    let (made, admitted) = tokio::join!(handle.link().add(pair).execute(), admitted);
    fail_points::pass("make link");
    made.map_err(NetworkError::netlink("make link", link))?;
    // Before it is up: not a frame passes that is not looked at.
    admitted?;

    let outside = wall_off(handle, addresses);
    let inside =
        inside(&namespace, &addresses.link, async |handle| set_up_inside(handle, addresses).await);
    tokio::try_join!(outside, inside)?;
    Ok(())
}

/// Gives the network of process `init` its loopback and nothing else.
pub(super) async fn loopback_alone(addresses: &Addresses, init: i32) -> Result<(), NetworkError> {
    let namespace = namespace_of(init)?;
    inside(&namespace, &addresses.link, async |handle| {
        up(handle, LOOPBACK)
            .await
            .map_err(NetworkError::netlink("set up the loopback of", &addresses.link))
    })
    .await
}

pub(super) fn namespace_of(init: i32) -> Result<File, NetworkError> {
    let path = format!("/proc/{init}/ns/net");
    File::open(&path).map_err(|source| NetworkError::io("open", path, source))
}

/// No way from port to port, and only the desktop's own hardware address; up
/// only when this holds.
async fn wall_off(handle: &Handle, addresses: &Addresses) -> Result<(), NetworkError> {
    let name = addresses.link.as_str();
    let index = index_of(handle, name).await?;
    handle
        .neighbours()
        .add_bridge(index, &addresses.mac.0)
        .state(NeighbourState::Noarp)
        // Sticky: what claims it elsewhere does not move it there.
        .flags(NeighbourFlags::Controller | NeighbourFlags::Sticky)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink("fix the hardware address on", name))?;
    let port = LinkBridgePort::new(index)
        .isolated(true)
        .learning(false)
        .locked(true)
        // No part in the bridge's spanning tree.
        .guard(true)
        .build();
    handle
        .link()
        .set_port(port)
        .execute()
        .await
        .map_err(NetworkError::netlink("isolate bridge port", name))?;
    ipv6::no_address(handle, index, name).await?;
    fail_points::pass("wall off link");
    up(handle, index).await.map_err(NetworkError::netlink("set up", name))?;
    fail_points::pass("set link up");
    Ok(())
}

/// Does `work` with a socket in `namespace`, which belongs to `link`.
async fn inside(
    namespace: &File,
    link: &str,
    work: impl AsyncFnOnce(&Handle) -> Result<(), NetworkError>,
) -> Result<(), NetworkError> {
    let (handle, driver) = netlink_in(namespace)
        .map_err(|source| NetworkError::io("enter the network of", link, source))?;
    let result = work(&handle).await;
    driver.abort();
    result
}

pub(super) async fn up(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await
}

async fn set_up_inside(handle: &Handle, addresses: &Addresses) -> Result<(), NetworkError> {
    let link = addresses.link.as_str();
    up(handle, LOOPBACK).await.map_err(NetworkError::netlink("set up the loopback of", link))?;
    for joined in &addresses.joined {
        bridge::add_address(handle, ETH0, joined.ip, joined.prefix)
            .await
            .map_err(NetworkError::netlink("give the address to", link))?;
    }
    if addresses.joined.iter().any(|joined| joined.ip.is_ipv6()) {
        // Without one the kernel cannot ask after its neighbours again.
        bridge::add_address(handle, ETH0, addresses.mac.link_local().into(), 64)
            .await
            .map_err(NetworkError::netlink("give the address to", link))?;
    }
    ipv6::no_address(handle, ETH0, link).await?;
    fail_points::pass("give address");
    up(handle, ETH0).await.map_err(NetworkError::netlink("set up the inner end of", link))?;
    for joined in &addresses.joined {
        let route = match joined.gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                // A link-local one says nothing of where it is.
                .output_interface(ETH0)
                .build(),
        };
        handle
            .route()
            .add(route)
            .execute()
            .await
            .map_err(NetworkError::netlink("add the default route of", link))?;
    }
    Ok(())
}

/// A netlink socket that lives in `namespace`. Only the socket is made there,
/// on a thread that ends at once: no shared thread ever changes its namespace.
pub(super) fn netlink_in(namespace: &File) -> io::Result<(Handle, JoinHandle<()>)> {
    let runtime = tokio::runtime::Handle::current();
    let (connection, handle) = thread::scope(|scope| {
        let made = scope.spawn(|| {
            let _context = runtime.enter();
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            ipv6::ignore_routers("eth0")?;
            let (connection, handle, _) = rtnetlink::new_connection()?;
            io::Result::Ok((connection, handle))
        });
        made.join().unwrap_or_else(|_| Err(io::Error::other("the netlink thread panicked")))
    })?;
    Ok((handle, tokio::spawn(connection)))
}

pub(super) async fn delete(handle: &Handle, name: &str) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_name(name).build();
    let deleted = handle.link().del_with_message(message).execute().await;
    fail_points::pass("delete link");
    match deleted {
        Ok(()) => Ok(()),
        Err(error) if is_errno(&error, Errno::ENODEV) => Ok(()),
        Err(error) => Err(NetworkError::netlink("delete link", name)(error)),
    }
}

pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    let link = found.try_next().await.map_err(NetworkError::netlink("look up link", name))?;
    let link =
        link.ok_or_else(|| NetworkError::io("find link", name, io::ErrorKind::NotFound.into()))?;
    Ok(link.header.index)
}
