//! The host's side of desktop networks: bridges, made as they are needed, and
//! one link per desktop.

mod bridge;
mod bridges;
mod error;
mod forwarding;
mod ipv6;
mod link;
mod made;
mod rate;
mod traffic;
mod uplink;
mod walls;

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rolltop_fail_points as fail_points;
use rolltop_proto::egress::Egress;
use rtnetlink::Handle;
use tokio::task::JoinHandle;

pub(crate) use self::forwarding::advertised as advertised_route;
use self::{
    bridge::Bridge,
    bridges::Bridges,
    error::is_errno,
    made::Made,
    walls::{Ground, Walls},
};
pub use self::{
    error::NetworkError,
    rate::Rates,
    traffic::Traffic,
    walls::{Member, WallsError},
};
use crate::{
    address::{Addresses, Range},
    config::{Mode, NetworkConfig},
    work::blocking,
};

/// A netlink socket in the host's network namespace, and what desktops hang on.
#[derive(Debug)]
pub struct Network {
    handle: Handle,
    driver: JoinHandle<()>,
    /// None: desktops have no links.
    joint: Option<Joint>,
}

/// The bridges, and what stands around desktops.
#[derive(Debug)]
struct Joint {
    bridges: tokio::sync::Mutex<Bridges>,
    walls: Arc<Mutex<Walls>>,
}

impl Network {
    /// Makes or adopts the bridge, and forwards what leaves it where the mode
    /// asks for it. The packet filter stays as an earlier agent has left it until
    /// [`Network::wall_in`]. Repeatable.
    ///
    /// # Errors
    /// Any step the kernel refuses.
    pub async fn set_up(
        config: &NetworkConfig,
        name_servers: Vec<IpAddr>,
        run_dir: &Path,
    ) -> Result<Self, NetworkError> {
        let (handle, driver) = netlink()?;
        let joint = match config.mode {
            Mode::None => None,
            Mode::Nat | Mode::Routed | Mode::Lan => {
                Some(Joint::make(&handle, config, name_servers, run_dir).await?)
            }
        };
        Ok(Self { handle, driver, joint })
    }

    /// Puts up the packet filter with exactly these desktops in it.
    ///
    /// # Errors
    /// `nft` refuses, or is missing; what stood before stands then.
    pub async fn wall_in(&self, members: Vec<Member>) -> Result<(), NetworkError> {
        let Some(joint) = &self.joint else { return Ok(()) };
        joint.change(|walls| walls.rebuild(members)).await?;
        fail_points::pass("write rules");
        Ok(())
    }

    /// Joins the network namespace of process `init` to the bridge: link,
    /// hardware address, IP and route, and what it may send by it. Without a
    /// bridge it has its loopback.
    ///
    /// # Errors
    /// Any step the kernel refuses; call [`Network::detach`] then.
    pub async fn attach(
        &self,
        addresses: &Addresses,
        egress: &Egress,
        init: i32,
    ) -> Result<(), NetworkError> {
        let Some(joint) = &self.joint else {
            return link::loopback_alone(addresses, init).await;
        };
        let member = Member {
            link: addresses.link.clone(),
            mac: addresses.mac,
            ips: addresses.ips(),
            egress: egress.clone(),
        };
        let bridge = joint.bridges.lock().await.place(&self.handle, &addresses.link).await?;
        let admitted = joint.change(|walls| walls.admit(member));
        link::attach(&self.handle, bridge, addresses, init, admitted).await
    }

    /// Sets how fast a desktop's link is, whose inner end is in the network of
    /// process `init`. Without a link there is nothing to do.
    ///
    /// # Errors
    /// The kernel refuses, or has no `tbf`.
    pub async fn set_rates(&self, link: &str, init: i32, rates: Rates) -> Result<(), NetworkError> {
        if self.joint.is_none() {
            return Ok(());
        }
        rate::set(&self.handle, link, init, rates).await?;
        fail_points::pass("set rates");
        Ok(())
    }

    /// Whether rates can be set at all: by trying it on the loopback.
    ///
    /// # Errors
    /// They cannot, and why.
    pub async fn try_rate(&self) -> Result<(), NetworkError> {
        rate::attempt(&self.handle).await
    }

    /// Deletes a desktop's link, and shuts out what went by it. A link that is
    /// not there is success.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn detach(&self, link: &str) -> Result<(), NetworkError> {
        let deleted = link::delete(&self.handle, link).await;
        if let Some(joint) = &self.joint {
            if deleted.is_ok() {
                joint.bridges.lock().await.vacate(link);
            }
            let link = link.to_owned();
            joint.change(move |walls| walls.expel(&link)).await?;
        }
        fail_points::pass("take out of rules");
        deleted
    }

    /// What has gone over a desktop's link; `None` if there is no such link.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub async fn traffic(&self, link: &str) -> Result<Option<Traffic>, NetworkError> {
        traffic::of(&self.handle, link).await
    }

    /// Names of all links on the bridges that look like a desktop's.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn desktop_links(&self) -> Result<Vec<String>, NetworkError> {
        match &self.joint {
            Some(joint) => {
                let ports = joint.bridges.lock().await.ports(&self.handle).await?;
                Ok(ports.into_iter().map(|(link, _bridge)| link).collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// Takes away the rules, and the bridges and forwarding if the agent made
    /// them; gives back the uplink. Returns what could not be done.
    pub async fn purge(config: &NetworkConfig, run_dir: &Path) -> Vec<NetworkError> {
        let mut errors = Vec::new();
        let made = Made::read(run_dir, &config.bridge);
        match blocking(Walls::remove).await {
            // Where desktops have no links, nobody needs it.
            Err(WallsError::NoNft(_)) if config.mode == Mode::None => {}
            removed => errors.extend(removed.err().map(Into::into)),
        }
        if made.forwarding_was_off {
            errors.extend(forwarding::IPV4.set(false).err());
        }
        if made.forwarding6_was_off {
            errors.extend(forwarding::IPV6.set(false).err());
        }
        if made.bridges.is_empty() && made.uplink.is_none() {
            return errors;
        }
        match netlink() {
            Ok((handle, driver)) => {
                if let Some(taken) = &made.uplink {
                    errors.extend(uplink::give_back(&handle, taken).await.err());
                }
                errors.extend(bridges::remove(&handle, &made).await);
                driver.abort();
            }
            Err(error) => errors.push(error),
        }
        errors
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

// === impl Joint ===

impl Joint {
    async fn make(
        handle: &Handle,
        config: &NetworkConfig,
        name_servers: Vec<IpAddr>,
        run_dir: &Path,
    ) -> Result<Self, NetworkError> {
        let mut made = Made::read(run_dir, &config.bridge);
        let bridge = first_bridge(handle, config, &mut made, run_dir).await?;
        let (name, ranges) = (config.bridge.as_str(), config.addresses.ranges());
        let host = if config.mode == Mode::Lan {
            uplink::addresses(handle, bridge.index, name).await?
        } else {
            bridge::configure(handle, bridge.index, name, ranges).await?;
            ranges.iter().map(|range| range.gateway()).collect()
        };
        bridge::set_up(handle, bridge.index, name).await?;
        if config.mode != Mode::Lan {
            forward(ranges, &mut made, run_dir)?;
        }
        let bridges =
            Bridges::find(handle, (name, bridge), &made, config, run_dir.to_owned()).await?;
        let walls = Walls::new(Ground {
            bridge: config.bridge.clone(),
            ranges: ranges.to_vec(),
            host,
            ipv6_here: ipv6::is_here(),
            masquerade: config.mode == Mode::Nat,
            lan: config.mode == Mode::Lan,
            name_servers,
        })?;
        let bridges = tokio::sync::Mutex::new(bridges);
        Ok(Self { bridges, walls: Arc::new(Mutex::new(walls)) })
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Walls) -> T + Send + 'static,
    ) -> T {
        let walls = Arc::clone(&self.walls);
        // Whatever a panic leaves is written anew with the next fault.
        blocking(move || work(&mut walls.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

/// A netlink socket and what drives it.
fn netlink() -> Result<(Handle, JoinHandle<()>), NetworkError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| NetworkError::io("open", "a netlink socket", source))?;
    Ok((handle, tokio::spawn(connection)))
}

/// The bridge that has the host's address or the uplink, with the MTU of
/// desktops' links.
async fn first_bridge(
    handle: &Handle,
    config: &NetworkConfig,
    made: &mut Made,
    run_dir: &Path,
) -> Result<Bridge, NetworkError> {
    let name = config.bridge.as_str();
    let found = bridge::find(handle, name).await?;
    let uplink = match &config.uplink {
        Some(uplink) => Some(uplink::find(handle, uplink).await?),
        None => None,
    };
    if let Some(uplink) = &uplink {
        // Before anything is made.
        uplink.may_join(handle, found.map(|bridge| bridge.index)).await?;
    }
    let least = uplink.as_ref().map_or(bridge::DEFAULT_MTU, |uplink| uplink.mtu);
    let mut bridge = match found {
        Some(bridge) => bridge,
        None if config.mode == Mode::Lan && uplink.is_none() => {
            return Err(NetworkError::NoBridge(name.into()));
        }
        None => {
            made.add_bridge(name);
            made.write(run_dir)?;
            let bridge = bridge::create(handle, name, config.mtu.unwrap_or(least)).await?;
            fail_points::pass("make bridge");
            bridge
        }
    };
    if made.has_bridge(name) {
        // One that was there before may serve others too.
        let routes_ipv6 = config.mode != Mode::Lan && config.addresses.has_ipv6();
        if routes_ipv6 {
            ipv6::listen(name)?
        } else {
            ipv6::deafen(name)?
        }
        ipv6::no_address(handle, bridge.index, name).await?;
        if routes_ipv6 {
            let near = bridge::mac(name).link_local().into();
            let given = bridge::add_address(handle, bridge.index, near, 64).await;
            given.map_err(NetworkError::netlink("give a link-local address to", name))?;
        }
        bridge::set_mtu(handle, &mut bridge, name, config.mtu.unwrap_or(least)).await?;
    }
    if let Some(mtu) = config.mtu {
        let (link, most) = match &config.uplink {
            Some(uplink) if least < bridge.mtu => (uplink, least),
            _ => (&config.bridge, bridge.mtu),
        };
        if mtu > most {
            return Err(NetworkError::MtuTooLarge { mtu, link: link.clone(), most });
        }
        bridge.mtu = mtu;
    }
    if let Some(uplink) = uplink {
        if let Some(taken) = uplink.to_be_taken() {
            made.uplink = Some(taken);
            made.write(run_dir)?;
        }
        uplink.join(handle, bridge.index).await?;
    }
    Ok(bridge)
}

/// Has the host pass packets on, in the families desktops have.
fn forward(ranges: &[Range], made: &mut Made, run_dir: &Path) -> Result<(), NetworkError> {
    for range in ranges {
        let (switch, was_off) = if range.network().is_ipv6() {
            (forwarding::IPV6, &mut made.forwarding6_was_off)
        } else {
            (forwarding::IPV4, &mut made.forwarding_was_off)
        };
        if switch.is_on()? {
            continue;
        }
        if range.network().is_ipv6() {
            forwarding::spares_own_route()?;
        }
        *was_off = true;
        made.write(run_dir)?;
        switch.set(true)?;
        fail_points::pass("switch forwarding on");
    }
    Ok(())
}
