//! The host's side of desktop networks: one bridge, made once, and one link
//! per desktop.

mod bridge;
mod forwarding;
mod ipv6;
mod link;
mod traffic;
mod walls;

use std::{
    io,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rolltop_fail_points as fail_points;
use rolltop_proto::egress::Egress;
use rtnetlink::Handle;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::task::JoinHandle;

pub use self::traffic::Traffic;
use walls::{Ground, Walls};
pub use walls::{Member, WallsError};

use crate::{address::Addresses, config::NetworkConfig, record, work::blocking};

/// File in the run directory that says what the agent changed on the host.
const MADE: &str = "network.json";

/// The bridge and a netlink socket in the host's network namespace.
#[derive(Debug)]
pub struct Network {
    handle: Handle,
    bridge_index: u32,
    driver: JoinHandle<()>,
    walls: Arc<Mutex<Walls>>,
}

/// What was not there before the agent, so that `purge` can put it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    bridge: bool,
    forwarding_was_off: bool,
}

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
}

impl Network {
    /// Makes or adopts the bridge, and forwards what leaves it with `nat`. The
    /// packet filter stays as an earlier agent has left it until
    /// [`Network::wall_in`]. Repeatable.
    ///
    /// # Errors
    /// Any step the kernel refuses.
    pub async fn set_up(
        config: &NetworkConfig,
        name_servers: Vec<Ipv4Addr>,
        run_dir: &Path,
    ) -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| NetworkError::io("open", "a netlink socket", source))?;
        let driver = tokio::spawn(connection);
        let mut made = read_made(run_dir);
        let bridge_index = match bridge::find(&handle, &config.bridge).await? {
            Some(index) => index,
            None => {
                made.bridge = true;
                write_made(run_dir, &made)?;
                let index = bridge::create(&handle, &config.bridge).await?;
                fail_points::pass("make bridge");
                index
            }
        };
        if made.bridge {
            // One that was there before may serve others too.
            ipv6::deafen(&config.bridge)?;
            ipv6::no_address(&handle, bridge_index, &config.bridge).await?;
        }
        bridge::configure(&handle, bridge_index, &config.bridge, &config.addresses).await?;
        if config.nat {
            made.forwarding_was_off |= !forwarding::is_on()?;
            write_made(run_dir, &made)?;
            forwarding::set(true)?;
            fail_points::pass("switch forwarding on");
        }
        let walls = Walls::new(Ground {
            bridge: config.bridge.clone(),
            gateway: config.addresses.gateway(),
            network: config.addresses.network(),
            masquerade: config.nat,
            name_servers,
        })?;
        Ok(Self { handle, bridge_index, driver, walls: Arc::new(Mutex::new(walls)) })
    }

    /// Puts up the packet filter with exactly these desktops in it.
    ///
    /// # Errors
    /// `nft` refuses, or is missing; what stood before stands then.
    pub async fn wall_in(&self, members: Vec<Member>) -> Result<(), NetworkError> {
        self.change(|walls| walls.rebuild(members)).await?;
        fail_points::pass("write rules");
        Ok(())
    }

    /// Joins the network namespace of process `init` to the bridge: link,
    /// hardware address, IP and route, and what it may send by it.
    ///
    /// # Errors
    /// Any step the kernel refuses; call [`Network::detach`] then.
    pub async fn attach(
        &self,
        addresses: &Addresses,
        egress: &Egress,
        init: i32,
    ) -> Result<(), NetworkError> {
        let member = Member {
            link: addresses.link.clone(),
            mac: addresses.mac,
            ip: addresses.ip,
            egress: egress.clone(),
        };
        let admitted = self.change(|walls| walls.admit(member));
        link::attach(&self.handle, self.bridge_index, addresses, init, admitted).await
    }

    /// Deletes a desktop's link, and shuts out what went by it. A link that is
    /// not there is success.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn detach(&self, link: &str) -> Result<(), NetworkError> {
        let deleted = link::delete(&self.handle, link).await;
        let link = link.to_owned();
        self.change(move |walls| walls.expel(&link)).await?;
        fail_points::pass("take out of rules");
        deleted
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Walls) -> T + Send + 'static,
    ) -> T {
        let walls = Arc::clone(&self.walls);
        // Whatever a panic leaves is written anew with the next fault.
        blocking(move || work(&mut walls.lock().unwrap_or_else(PoisonError::into_inner))).await
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
        link::list(&self.handle, self.bridge_index).await
    }

    /// Takes away the rules, and the bridge and forwarding if the agent made
    /// them. Returns what could not be done.
    pub async fn purge(config: &NetworkConfig, run_dir: &Path) -> Vec<NetworkError> {
        let mut errors = Vec::new();
        let made = read_made(run_dir);
        errors.extend(blocking(Walls::remove).await.err().map(Into::into));
        if made.forwarding_was_off {
            errors.extend(forwarding::set(false).err());
        }
        if made.bridge {
            match rtnetlink::new_connection() {
                Ok((connection, handle, _)) => {
                    let driver = tokio::spawn(connection);
                    errors.extend(link::delete(&handle, &config.bridge).await.err());
                    driver.abort();
                }
                Err(source) => {
                    errors.push(NetworkError::io("open", "a netlink socket", source));
                }
            }
        }
        errors
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl NetworkError {
    fn netlink(
        verb: &'static str,
        operand: impl Into<String>,
    ) -> impl FnOnce(rtnetlink::Error) -> Self {
        let operand = operand.into();
        move |source| Self::Netlink { verb, operand, source: Box::new(source) }
    }

    fn io(verb: &'static str, operand: impl Into<String>, source: io::Error) -> Self {
        Self::Io { verb, operand: operand.into(), source }
    }
}

/// `true` when the kernel's answer to a netlink request is this error number.
fn is_errno(error: &rtnetlink::Error, errno: nix::errno::Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.code.is_some_and(|code| code.get() == -(errno as i32)))
}

fn read_made(run_dir: &Path) -> Made {
    // Missing or damaged: then nothing is known to be ours, and nothing is
    // taken away.
    std::fs::read(run_dir.join(MADE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn write_made(run_dir: &Path, made: &Made) -> Result<(), NetworkError> {
    let path = run_dir.join(MADE);
    record::write_json(&path, made)
        .map_err(|source| NetworkError::io("write", path.display().to_string(), source))
}
