//! The host's side of desktop networks: one bridge, made once, and one link
//! per desktop.

mod bridge;
mod error;
mod forwarding;
mod ipv6;
mod link;
mod made;
mod traffic;
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

use self::{
    bridge::Bridge,
    error::is_errno,
    made::Made,
    walls::{Ground, Walls},
};
pub use self::{
    error::NetworkError,
    traffic::Traffic,
    walls::{Member, WallsError},
};
use crate::{
    address::Addresses,
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

/// The bridge, with the MTU of desktops' links, and what stands around them.
#[derive(Debug)]
struct Joint {
    bridge: Bridge,
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
            Mode::Nat | Mode::Routed => {
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
        let admitted = joint.change(|walls| walls.admit(member));
        link::attach(&self.handle, joint.bridge, addresses, init, admitted).await
    }

    /// Deletes a desktop's link, and shuts out what went by it. A link that is
    /// not there is success.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn detach(&self, link: &str) -> Result<(), NetworkError> {
        let deleted = link::delete(&self.handle, link).await;
        if let Some(joint) = &self.joint {
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

    /// Names of all links on the bridge that look like a desktop's.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub async fn desktop_links(&self) -> Result<Vec<String>, NetworkError> {
        match &self.joint {
            Some(joint) => link::list(&self.handle, joint.bridge.index).await,
            None => Ok(Vec::new()),
        }
    }

    /// Takes away the rules, and the bridge and forwarding if the agent made
    /// them. Returns what could not be done.
    pub async fn purge(config: &NetworkConfig, run_dir: &Path) -> Vec<NetworkError> {
        let mut errors = Vec::new();
        let made = Made::read(run_dir, &config.bridge);
        match blocking(Walls::remove).await {
            // Where desktops have no links, nobody needs it.
            Err(WallsError::NoNft(_)) if config.mode == Mode::None => {}
            removed => errors.extend(removed.err().map(Into::into)),
        }
        if made.forwarding_was_off {
            errors.extend(forwarding::set(false).err());
        }
        if made.bridges.is_empty() {
            return errors;
        }
        match netlink() {
            Ok((handle, driver)) => {
                for bridge in made.bridges.iter().rev() {
                    errors.extend(link::delete(&handle, bridge).await.err());
                }
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
        let name = config.bridge.as_str();
        let mut made = Made::read(run_dir, name);
        let mut bridge = match bridge::find(handle, name).await? {
            Some(bridge) => bridge,
            None => {
                made.add_bridge(name);
                made.write(run_dir)?;
                let bridge = bridge::create(handle, name, config.mtu).await?;
                fail_points::pass("make bridge");
                bridge
            }
        };
        if made.has_bridge(name) {
            // One that was there before may serve others too.
            ipv6::deafen(name)?;
            ipv6::no_address(handle, bridge.index, name).await?;
            bridge::set_mtu(handle, &mut bridge, name, config.mtu).await?;
        }
        if let Some(mtu) = config.mtu {
            if mtu > bridge.mtu {
                let (link, most) = (name.into(), bridge.mtu);
                return Err(NetworkError::MtuTooLarge { mtu, link, most });
            }
            bridge.mtu = mtu;
        }
        bridge::configure(handle, bridge.index, name, config.addresses.ranges()).await?;
        made.forwarding_was_off |= !forwarding::is_on()?;
        made.write(run_dir)?;
        forwarding::set(true)?;
        fail_points::pass("switch forwarding on");
        let walls = Walls::new(Ground {
            bridge: config.bridge.clone(),
            ranges: config.addresses.ranges().to_vec(),
            host: config.addresses.ranges().iter().map(|range| range.gateway()).collect(),
            ipv6_here: ipv6::is_here(),
            masquerade: config.mode == Mode::Nat,
            name_servers,
        })?;
        Ok(Self { bridge, walls: Arc::new(Mutex::new(walls)) })
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
