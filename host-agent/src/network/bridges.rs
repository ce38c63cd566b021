//! Several bridges, for more desktops than one has ports.
//!
//! The first has the host's address or the uplink. Further ones hang on it by a
//! pair of links each. The first one's end of a pair is isolated as desktops'
//! ports are, so that frames from there reach the host and the LAN, and neither
//! desktops of the first bridge nor those of others.

use std::{collections::HashMap, path::PathBuf};

use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use rolltop_fail_points as fail_points;
use rtnetlink::{
    Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{InfoData, InfoVeth, LinkAttribute},
};

use super::{
    NetworkError,
    bridge::{self, Bridge},
    ipv6, is_errno, link,
    made::Made,
};
use crate::{address::number_of_link, config::NetworkConfig};

/// All bridges of this host.
#[derive(Debug)]
pub(super) struct Bridges {
    name: String,
    run_dir: PathBuf,
    /// Most desktops on each.
    room: usize,
    /// Most bridges.
    most: usize,
    /// Of desktops' links.
    mtu: u32,
    /// In the order they were made; never empty.
    indexes: Vec<u32>,
    /// Desktops' links, and on which bridge they are.
    places: HashMap<String, u32>,
}

impl Bridges {
    /// The first one, and what further ones an earlier agent has made or begun to
    /// make.
    pub(super) async fn find(
        handle: &Handle,
        first: (&str, Bridge),
        made: &Made,
        config: &NetworkConfig,
        run_dir: PathBuf,
    ) -> Result<Self, NetworkError> {
        let (name, Bridge { index, mtu }) = first;
        let (name, indexes) = (name.to_owned(), vec![index]);
        let (room, most) = (config.ports_per_bridge as usize, config.most_bridges() as usize);
        let mut bridges = Self { name, run_dir, room, most, mtu, indexes, places: HashMap::new() };
        while made.has_bridge(&further(&bridges.name, bridges.indexes.len())) {
            bridges.make(handle).await?;
        }
        for (link, bridge) in bridges.ports(handle).await? {
            bridges.places.insert(link, bridge);
        }
        Ok(bridges)
    }

    /// The bridge for a desktop's link, with the MTU it is to have.
    pub(super) async fn place(
        &mut self,
        handle: &Handle,
        link: &str,
    ) -> Result<Bridge, NetworkError> {
        let index = match self.places.get(link) {
            Some(index) => *index,
            None => match self.free() {
                Some(index) => index,
                None => self.add(handle).await?,
            },
        };
        self.places.insert(link.to_owned(), index);
        Ok(Bridge { index, mtu: self.mtu })
    }

    /// A desktop's link has gone.
    pub(super) fn vacate(&mut self, link: &str) {
        self.places.remove(link);
    }

    fn free(&self) -> Option<u32> {
        let used = |index: u32| self.places.values().filter(|there| **there == index).count();
        self.indexes.iter().copied().find(|index| used(*index) < self.room)
    }

    async fn add(&mut self, handle: &Handle) -> Result<u32, NetworkError> {
        let number = self.indexes.len();
        if number >= self.most {
            return Err(NetworkError::NoPorts {
                bridge: self.name.clone(),
                desktops: self.places.len(),
            });
        }
        let mut made = Made::read(&self.run_dir, &self.name);
        made.add_bridge(&further(&self.name, number));
        made.write(&self.run_dir)?;
        self.make(handle).await
    }

    /// The next one, or what of it is missing.
    async fn make(&mut self, handle: &Handle) -> Result<u32, NetworkError> {
        let number = self.indexes.len();
        let name = further(&self.name, number);
        let bridge = match bridge::find(handle, &name).await? {
            Some(bridge) => bridge,
            None => bridge::create(handle, &name, self.mtu).await?,
        };
        fail_points::pass("make further bridge");
        ipv6::deafen(&name)?;
        ipv6::no_address(handle, bridge.index, &name).await?;
        bridge::set_up(handle, bridge.index, &name).await?;
        self.join(handle, number, bridge.index).await?;
        self.indexes.push(bridge.index);
        Ok(bridge.index)
    }

    /// Hangs further bridge `number` on the first.
    async fn join(&self, handle: &Handle, number: usize, bridge: u32) -> Result<(), NetworkError> {
        let (down, up) = trunk(number);
        let peer = LinkMessageBuilder::<LinkUnspec>::new().name(up.clone()).mtu(self.mtu).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new(&down, &up)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(self.mtu)
            .build();
        match handle.link().add(pair).execute().await {
            Ok(()) => {}
            Err(error) if is_errno(&error, Errno::EEXIST) => {}
            Err(error) => return Err(NetworkError::netlink("make link", &down)(error)),
        }
        fail_points::pass("make trunk");
        for (end, bridge) in [(&down, self.indexes[0]), (&up, bridge)] {
            let failed = |verb| NetworkError::netlink(verb, end);
            let index = link::index_of(handle, end).await?;
            let port = LinkUnspec::new_with_index(index).controller(bridge).build();
            let set = handle.link().set(port).execute().await;
            set.map_err(failed("make a bridge port of"))?;
            ipv6::no_address(handle, index, end).await?;
            if end == &down {
                // Before it is up: not a frame passes to other desktops.
                let port = LinkBridgePort::new(index).isolated(true).build();
                let set = handle.link().set_port(port).execute().await;
                set.map_err(failed("isolate bridge port"))?;
            }
            link::up(handle, index).await.map_err(failed("set up"))?;
        }
        fail_points::pass("set trunk up");
        Ok(())
    }

    /// Desktops' links on any of them.
    pub(super) async fn ports(&self, handle: &Handle) -> Result<Vec<(String, u32)>, NetworkError> {
        let mut links = handle.link().get().execute();
        let mut found = Vec::new();
        while let Some(link) =
            links.try_next().await.map_err(NetworkError::netlink("list", "links"))?
        {
            let (mut name, mut bridge) = (None, None);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::Controller(index) => bridge = Some(index),
                    _ => {}
                }
            }
            let bridge = bridge.filter(|index| self.indexes.contains(index));
            found.extend(name.filter(|name| number_of_link(name).is_some()).zip(bridge));
        }
        Ok(found)
    }
}

/// Takes away the bridges that were made, with what joins them.
pub(super) async fn remove(handle: &Handle, made: &Made) -> Vec<NetworkError> {
    let mut errors = Vec::new();
    for (number, bridge) in made.bridges.iter().enumerate().rev() {
        // There are no more pairs than bridges; one that is not there is gone.
        errors.extend(link::delete(handle, &trunk(number + 1).0).await.err());
        errors.extend(link::delete(handle, bridge).await.err());
    }
    errors
}

/// The name of a further bridge, from 1.
fn further(first: &str, number: usize) -> String {
    format!("{first}-{number}")
}

/// The links between the first bridge and a further one: the first one's end, and
/// the other.
fn trunk(number: usize) -> (String, String) {
    (format!("rtdown{number}"), format!("rtup{number}"))
}
