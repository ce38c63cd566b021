//! The hosts, as this broker sees them now, and the way to their agents.

mod link;
mod supervisor;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rolltop_proto::v1::{
    HostDesktop, HostInfo, ImageVersion, host_agent_client::HostAgentClient,
    host_storage_client::HostStorageClient,
};
use thiserror::Error;
use tokio::sync::watch;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Dialer, Identity};

pub use link::Horizon;
pub use supervisor::supervise;

use crate::{
    names::{Endpoint, HostName},
    pki::{Credentials, host_tls_name},
};

/// A client of a host's agent.
pub type Agent = HostAgentClient<Channel>;

/// A client of what a host's agent keeps on disk.
pub type HostStorage = HostStorageClient<Channel>;

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A dead peer is noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Bytes a display connection may have under way. One connection per viewer,
/// so that a slow one holds up neither others nor the calls to the agent.
const DISPLAY_WINDOW_BYTES: u32 = 256 * 1024;

/// A host cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostError {
    /// It was never enrolled, or has been deleted.
    #[error("there is no host {0}")]
    Unknown(HostName),
    /// It does not answer.
    #[error("host {host} does not answer: {problem}")]
    Unreachable {
        /// The host.
        host: HostName,
        /// Why it is thought so.
        problem: String,
    },
}

/// Told what hosts say about their desktops.
#[async_trait]
pub trait Observer: Send + Sync + 'static {
    /// Called before a host is asked for all it has.
    async fn horizon(&self) -> Horizon;
    /// All the host has; what it does not list and was claimed before the
    /// horizon is no longer there.
    async fn all(
        &self,
        host: &HostName,
        horizon: &Horizon,
        desktops: &BTreeMap<u32, HostDesktop>,
    ) -> BTreeSet<u32>;
    /// One changed. Answers whether the store knows it.
    async fn changed(&self, host: &HostName, desktop: &HostDesktop) -> bool;
}

/// Whether a host answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// It never has.
    #[default]
    Unknown,
    /// It does.
    Ready,
    /// It does not now.
    Suspect,
}

/// The latest about one host.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it answers.
    pub health: Health,
    /// Why it is not ready.
    pub problem: String,
    /// Facts it told.
    pub info: Option<HostInfo>,
    /// What it can start.
    pub images: Vec<ImageVersion>,
    /// Its desktops, by number.
    pub desktops: BTreeMap<u32, HostDesktop>,
    /// Those the store does not know.
    pub strays: BTreeSet<u32>,
}

/// All hosts. Cheap to clone.
#[derive(Clone)]
pub struct Hosts {
    credentials: Arc<Trust>,
    table: Arc<Mutex<BTreeMap<HostName, Arc<Host>>>>,
}

struct Trust {
    ca: Certificate,
    identity: Identity,
}

struct Host {
    name: HostName,
    endpoint: Endpoint,
    seen: watch::Sender<Seen>,
    /// For calls; displays have connections of their own.
    channel: Mutex<Option<Channel>>,
}

// === impl Hosts ===

impl Hosts {
    /// None yet; agents must be signed by `ca_pem`, and get to see `client`.
    pub fn new(ca_pem: &str, client: &Credentials) -> Self {
        let trust = Trust {
            ca: Certificate::from_pem(ca_pem),
            identity: Identity::from_pem(&client.certificate_pem, &client.key_pem),
        };
        Self { credentials: Arc::new(trust), table: Arc::default() }
    }

    /// The latest about every host.
    pub fn seen(&self) -> BTreeMap<HostName, Seen> {
        self.table().iter().map(|(name, host)| (name.clone(), host.seen.borrow().clone())).collect()
    }

    /// The latest about one desktop of a host.
    pub fn seen_desktop(&self, host: &HostName, number: u32) -> Option<HostDesktop> {
        let host = self.find(host).ok()?;
        host.seen.borrow().desktops.get(&number).cloned()
    }

    /// The agent of a host that answers.
    ///
    /// # Errors
    /// [`HostError`] when it does not.
    pub fn agent(&self, host: &HostName) -> Result<Agent, HostError> {
        self.channel(host).map(Agent::new)
    }

    /// The storage of a host that answers.
    ///
    /// # Errors
    /// [`HostError`] when it does not.
    pub fn storage(&self, host: &HostName) -> Result<HostStorage, HostError> {
        self.channel(host).map(HostStorage::new)
    }

    fn channel(&self, host: &HostName) -> Result<Channel, HostError> {
        let host = self.find(host)?;
        let seen = host.seen.borrow();
        match (&seen.health, lock(&host.channel).clone()) {
            (Health::Ready, Some(channel)) => Ok(channel),
            (Health::Unknown | Health::Ready | Health::Suspect, _) => {
                Err(host.unreachable(&seen.problem))
            }
        }
    }

    /// A connection of its own to the agent of a host, for bytes.
    ///
    /// # Errors
    /// [`HostError`] when it cannot be made.
    pub async fn dial(&self, host: &HostName) -> Result<Agent, HostError> {
        self.new_channel(host).await.map(Agent::new)
    }

    /// A connection of its own to the storage of a host, for bytes.
    ///
    /// # Errors
    /// [`HostError`] when it cannot be made.
    pub async fn dial_storage(&self, host: &HostName) -> Result<HostStorage, HostError> {
        self.new_channel(host).await.map(HostStorage::new)
    }

    async fn new_channel(&self, host: &HostName) -> Result<Channel, HostError> {
        let host = self.find(host)?;
        let dialer = self.dialer(&host).map_err(|error| host.unreachable(&describe(&error)))?;
        let dialer = dialer
            .initial_stream_window_size(DISPLAY_WINDOW_BYTES)
            .initial_connection_window_size(DISPLAY_WINDOW_BYTES);
        let connect = tokio::time::timeout(CONNECT_DEADLINE * 2, dialer.connect());
        match connect.await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(host.unreachable(&describe(&error))),
            Err(_) => Err(host.unreachable("it does not take connections")),
        }
    }

    /// Resolves once the host answers, or is deleted.
    pub async fn ready(&self, host: &HostName) {
        let Ok(host) = self.find(host) else { return };
        let mut seen = host.seen.subscribe();
        // An error means that the host was deleted: an answer as well.
        drop(host);
        seen.wait_for(|seen| seen.health == Health::Ready).await.map(drop).unwrap_or_default();
    }

    /// Asks all hosts that answer for their images, now.
    pub async fn refresh_images(&self) {
        let hosts: Vec<Arc<Host>> = self.table().values().map(Arc::clone).collect();
        let asked = hosts.iter().map(|host| async {
            if let Ok(mut agent) = self.agent(&host.name)
                && let Ok(images) = link::images(&mut agent).await
            {
                host.seen.send_modify(|seen| seen.images = images);
            }
        });
        futures_util::future::join_all(asked).await;
    }

    fn find(&self, host: &HostName) -> Result<Arc<Host>, HostError> {
        self.table().get(host).map(Arc::clone).ok_or_else(|| HostError::Unknown(host.clone()))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<HostName, Arc<Host>>> {
        lock(&self.table)
    }

    fn dialer(&self, host: &Host) -> Result<Dialer, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(self.credentials.ca.clone())
            .identity(self.credentials.identity.clone())
            .domain_name(host_tls_name(&host.name))
            .timeout(CONNECT_DEADLINE);
        Dialer::from_shared(host.endpoint.as_str().to_owned())?
            .connect_timeout(CONNECT_DEADLINE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tls_config(tls)
    }
}

// === impl Host ===

impl Host {
    fn new(name: HostName, endpoint: Endpoint) -> Self {
        let seen = Seen { problem: "it has not answered yet".to_owned(), ..Seen::default() };
        Self { name, endpoint, seen: watch::Sender::new(seen), channel: Mutex::default() }
    }

    fn unreachable(&self, problem: &str) -> HostError {
        HostError::Unreachable { host: self.name.clone(), problem: problem.to_owned() }
    }
}

/// An error with its causes: transport errors say nothing by themselves.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
