//! The hosts of a cluster: simulated ones, and real ones.

use std::{fs, path::Path, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use rolltop_proto::v1::HostDesktop;
use rolltop_sim::{Agent, Deed};

use super::{HOSTS, house::Order, real::RealHost, sightings::Container};

/// What is heard of a real host may come so much later than it happened.
const LATE: Duration = Duration::from_secs(3);

/// Which hosts a cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    /// Nothing behind them but memory.
    #[default]
    Simulated,
    /// The first half is real.
    Mixed,
    /// Namespaces of their own, agents, desktops.
    Real,
}

/// A host.
#[derive(Debug)]
pub enum Unit {
    /// Nothing behind it but memory.
    Simulated(Agent),
    /// A machine of its own.
    Real(Box<RealHost>),
}

// === impl Kinds ===

impl Kinds {
    /// Whether this host is real.
    pub fn is_real(self, host: usize) -> bool {
        match self {
            Self::Simulated => false,
            Self::Mixed => host < HOSTS / 2,
            Self::Real => true,
        }
    }
}

// === impl Unit ===

impl Unit {
    /// Its agent is killed. What it has stays.
    ///
    /// # Errors
    /// The machine does not do it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Simulated(agent) => {
                agent.vanish();
                Ok(())
            }
            Self::Real(host) => host.order(Order::Kill).await.map(drop),
        }
    }

    /// The power fails. The agent has been killed.
    ///
    /// # Errors
    /// Something of a real one stays.
    pub async fn lose_power(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Simulated(agent) => {
                agent.host().lose_power();
                Ok(())
            }
            Self::Real(host) => host.lose_power().await,
        }
    }

    /// An agent takes over what there is.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn come_up(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Simulated(agent) => Ok(agent.come_up()?),
            Self::Real(host) => host.come_up().await,
        }
    }

    /// Its agent ends, and the next one begins, as in an upgrade.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn upgrade(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Simulated(agent) if agent.is_up() => Ok(agent.come_up()?),
            Self::Simulated(_) => Ok(()),
            Self::Real(host) => host.order(Order::End).await.map(drop),
        }
    }

    /// Its agent stands still, or goes on. A simulated one is no process.
    ///
    /// # Errors
    /// The machine does not do it.
    pub async fn pause(&self, pause: bool) -> anyhow::Result<()> {
        match self {
            Self::Simulated(_) => Ok(()),
            Self::Real(host) => {
                let order = if pause { Order::Pause } else { Order::Resume };
                host.order(order).await.map(drop)
            }
        }
    }

    /// The agent's clock is wrong. A simulated one has none.
    ///
    /// # Errors
    /// It cannot be set.
    pub fn set_clock(&self, by_s: i64) -> anyhow::Result<()> {
        match self {
            Self::Simulated(_) => Ok(()),
            Self::Real(host) => host.set_clock(by_s),
        }
    }

    /// What it did.
    pub fn deeds(&self) -> Vec<Deed> {
        match self {
            Self::Simulated(agent) => agent.host().deeds(),
            Self::Real(host) => host.witness().deeds(),
        }
    }

    /// How much later that may be noted.
    pub fn late(&self) -> Duration {
        match self {
            Self::Simulated(_) => Duration::ZERO,
            Self::Real(_) => LATE,
        }
    }

    /// What there is now.
    ///
    /// # Errors
    /// A real agent does not answer.
    pub async fn desktops(&self) -> anyhow::Result<Vec<HostDesktop>> {
        match self {
            Self::Simulated(agent) => Ok(agent.host().desktops()),
            Self::Real(host) => host.desktops().await,
        }
    }

    /// What the kernel has of its desktops; none: it is simulated.
    pub fn containers(&self) -> Option<Vec<Container>> {
        match self {
            Self::Simulated(_) => None,
            Self::Real(host) => Some(host.containers()),
        }
    }

    /// What is left on its machine that an agent without desktops has not.
    ///
    /// # Errors
    /// The machine does not tell.
    pub async fn left(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Simulated(_) => Ok(Vec::new()),
            Self::Real(host) => host.order(Order::Left).await,
        }
    }
}

/// Makes the directory that real hosts share.
///
/// # Errors
/// It cannot be made.
pub fn make_shared(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))
}
