//! The hosts, as this broker sees them now, and the way to their agents.

mod dial;
mod health;
mod images;
mod link;
mod renew;
pub mod sightings;
mod supervisor;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rolltop_proto::v1::{
    DesktopState, HostDesktop, HostInfo, ImageVersion, host_agent_client::HostAgentClient,
    host_stats_client::HostStatsClient, host_storage_client::HostStorageClient,
};
use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tonic::transport::Channel;

pub use dial::TrustError;
use dial::{CONNECT_DEADLINE, Trust, Way};
pub use health::{Happening, Health, HostState, Illegal, duty_after};
pub use images::{Age, Ages, age};
pub use link::{Horizon, Verdicts};
pub use renew::Renewer;
pub use supervisor::supervise;

use crate::{
    names::HostName,
    pki::Credentials,
    state::{CredentialRecord, Duty, HostRecord},
};

/// A client of a host's agent.
pub type Agent = HostAgentClient<Channel>;

/// A client of what a host's agent keeps on disk.
pub type HostStorage = HostStorageClient<Channel>;
/// What an agent tells of desktops, ready to be called.
pub type HostStats = HostStatsClient<Channel>;

/// Bytes a display connection may have under way. One connection per viewer,
/// so that a slow one holds up neither others nor the calls to the agent.
const DISPLAY_WINDOW_BYTES: u32 = 256 * 1024;

/// An answer of a host is at most so far ahead of its changes.
const ANSWER_AHEAD: Duration = Duration::from_secs(1);

/// Why a host whose certificate was revoked is not asked.
const REVOKED: &str = "its certificate was revoked; enrol it anew";

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
    async fn horizon(&self, host: &HostName) -> Horizon;
    /// All the host has; what it does not list and was claimed before the
    /// horizon is no longer there. What it is to end is answered, not ended.
    async fn all(
        &self,
        host: &HostName,
        horizon: &Horizon,
        desktops: &BTreeMap<u32, HostDesktop>,
    ) -> Verdicts;
    /// One changed.
    async fn changed(&self, host: &HostName, desktop: &HostDesktop) -> Heard;
}

/// What came of a change that a host told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is noted.
    Known,
    /// The store does not know the desktop.
    Stray,
    /// The store failed: the host has to tell it again.
    Missed,
}

/// The latest about one host.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it is heard.
    pub health: Health,
    /// What it is there for.
    pub duty: Duty,
    /// For pools to choose by.
    pub labels: BTreeMap<String, String>,
    /// Since when it is not heard; none: it is.
    pub silent_since: Option<Instant>,
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

/// How many there are of what, on all hosts together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hosts by state.
    pub hosts: HashMap<HostState, u64>,
    /// Desktops by the state that was told last, of silent hosts too.
    pub desktops: HashMap<DesktopState, u64>,
    /// Of the hosts that are heard.
    pub memory_bytes: u64,
    /// Of that, what is free or can be made so.
    pub memory_available_bytes: u64,
}

/// All hosts. Cheap to clone.
#[derive(Clone)]
pub struct Hosts {
    trust: Arc<Trust>,
    /// Some host's state has changed.
    news: Arc<Notify>,
    table: Arc<Mutex<BTreeMap<HostName, Arc<Host>>>>,
    touched: Touched,
}

/// Hosts that have changed, come or gone since they were last taken.
type Touched = Arc<Mutex<BTreeSet<HostName>>>;

struct Host {
    name: HostName,
    way: Way,
    /// Which certificates of it count: looked at in each handshake.
    credential: Arc<Mutex<CredentialRecord>>,
    seen: watch::Sender<Seen>,
    /// For calls; displays have connections of their own.
    channel: Mutex<Option<Channel>>,
    /// What the host has told so far; see `WatchDesktops`.
    position: Mutex<String>,
    /// It is to tell all it has again.
    again: Notify,
    /// It is being asked all it has; if that fails, until it has told.
    telling: AtomicBool,
    touched: Touched,
}

// === impl Seen ===

impl Seen {
    /// The host's state.
    pub fn state(&self) -> HostState {
        HostState { health: self.health, duty: self.duty }
    }

    /// Notes what happened; false: nothing has changed, or it cannot happen.
    fn happen(&mut self, happening: Happening) -> bool {
        let before = self.state();
        let after = before.after(happening).unwrap_or(before);
        (self.health, self.duty) = (after.health, after.duty);
        after != before
    }
}

// === impl Hosts ===

impl Hosts {
    /// None yet; agents must be signed by `ca_pem`, and get to see `client`.
    ///
    /// # Errors
    /// If one of the certificates cannot be used.
    pub fn new(ca_pem: &str, client: &Credentials) -> Result<Self, TrustError> {
        let trust = Arc::new(Trust::new(ca_pem, client)?);
        Ok(Self { trust, news: Arc::default(), table: Arc::default(), touched: Arc::default() })
    }

    /// Adds a host as it is seen, with no line to it: to measure and try what is done
    /// about many.
    ///
    /// # Errors
    /// [`TrustError`], if nobody could call it.
    pub fn put_seen(&self, record: &HostRecord, seen: Seen) -> Result<(), TrustError> {
        let host = Host::new(record, &self.trust, &self.touched).map_err(TrustError::Tls)?;
        host.note(|now| *now = seen);
        self.table().insert(record.name.clone(), Arc::new(host));
        Ok(())
    }

    /// Has every host that is heard tell all it has again.
    pub fn look_again(&self) {
        for host in self.table().values() {
            host.again.notify_one();
        }
    }

    /// Has a host tell all it has again, unless it is known to have this desktop:
    /// for one that was left out when what the host told was judged.
    pub async fn look_again_unless_there(&self, host: &HostName, number: u32, epoch: u64) {
        let Ok(host) = self.find(host) else { return };
        if !host.telling.load(Ordering::SeqCst) {
            // An answer may come before the change that goes with it.
            let mut seen = host.seen.subscribe();
            let has =
                |seen: &Seen| seen.desktops.get(&number).is_some_and(|told| told.epoch == epoch);
            if timeout(ANSWER_AHEAD, seen.wait_for(has)).await.is_ok() {
                return;
            }
        }
        host.again.notify_one();
    }

    /// The latest about every host.
    pub fn seen(&self) -> BTreeMap<HostName, Seen> {
        self.table().iter().map(|(name, host)| (name.clone(), host.seen.borrow().clone())).collect()
    }

    /// Hosts that have changed, come or gone since this was last asked: for one who
    /// keeps up with all of them without reading all of them again.
    pub fn take_touched(&self) -> BTreeSet<HostName> {
        std::mem::take(&mut *lock(&self.touched))
    }

    /// What `read` makes of the latest about a host; none: there is no such host.
    pub fn look<T>(&self, host: &HostName, read: impl FnOnce(&Seen) -> T) -> Option<T> {
        let host = self.find(host).ok()?;
        let seen = host.seen.borrow();
        Some(read(&seen))
    }

    /// Whether a host is heard, what it is there for, since when it is silent.
    pub fn state(&self, host: &HostName) -> Option<(HostState, Option<Instant>)> {
        let host = self.find(host).ok()?;
        let seen = host.seen.borrow();
        Some((seen.state(), seen.silent_since))
    }

    /// How many there are of what.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for host in self.table().values() {
            let seen = host.seen.borrow();
            *tally.hosts.entry(seen.state()).or_default() += 1;
            for desktop in seen.desktops.values() {
                *tally.desktops.entry(desktop.state()).or_default() += 1;
            }
            if let (Health::Ready, Some(info)) = (seen.health, &seen.info) {
                let bytes = |told: i64| u64::try_from(told).unwrap_or(0);
                tally.memory_bytes += bytes(info.memory_bytes);
                tally.memory_available_bytes += bytes(info.memory_available_bytes);
            }
        }
        tally
    }

    /// Hosts that are heard now.
    pub fn heard(&self) -> BTreeSet<HostName> {
        let table = self.table();
        let heard = table.values().filter(|host| host.seen.borrow().health == Health::Ready);
        heard.map(|host| host.name.clone()).collect()
    }

    /// Resolves when a host's state has changed since this call.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let news = Arc::clone(&self.news);
        let mut changed = Box::pin(news.notified_owned());
        changed.as_mut().enable();
        changed
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

    /// What a host that answers tells of its desktops.
    ///
    /// # Errors
    /// [`HostError`] when it does not.
    pub fn stats(&self, host: &HostName) -> Result<HostStats, HostError> {
        self.channel(host).map(HostStats::new)
    }

    /// A connection of its own to that, for streams that may be read slowly.
    ///
    /// # Errors
    /// [`HostError`] when it cannot be made.
    pub async fn dial_stats(&self, host: &HostName) -> Result<HostStats, HostError> {
        self.new_channel(host).await.map(HostStats::new)
    }

    fn channel(&self, host: &HostName) -> Result<Channel, HostError> {
        let host = self.find(host)?;
        let seen = host.seen.borrow();
        match (&seen.health, lock(&host.channel).clone()) {
            (Health::Ready, Some(channel)) => Ok(channel),
            (Health::Unknown | Health::Ready | Health::Suspect | Health::Lost, _) => {
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
        let connect = host.way.connect(|dialer| {
            dialer
                .initial_stream_window_size(DISPLAY_WINDOW_BYTES)
                .initial_connection_window_size(DISPLAY_WINDOW_BYTES)
        });
        let connect = timeout(CONNECT_DEADLINE * 2, connect);
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

    fn find(&self, host: &HostName) -> Result<Arc<Host>, HostError> {
        self.table().get(host).map(Arc::clone).ok_or_else(|| HostError::Unknown(host.clone()))
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<HostName, Arc<Host>>> {
        lock(&self.table)
    }
}

// === impl Host ===

impl Host {
    fn new(record: &HostRecord, trust: &Trust, touched: &Touched) -> Result<Self, rustls::Error> {
        let problem = if record.credential.revoked { REVOKED } else { "it has not answered yet" };
        let seen = Seen {
            duty: record.duty(),
            labels: record.labels.clone(),
            problem: problem.to_owned(),
            silent_since: Some(Instant::now()),
            ..Seen::default()
        };
        let credential = Arc::new(Mutex::new(record.credential.clone()));
        Ok(Self {
            name: record.name.clone(),
            way: trust.way(record, Arc::clone(&credential))?,
            credential,
            seen: watch::Sender::new(seen),
            channel: Mutex::default(),
            position: Mutex::default(),
            again: Notify::new(),
            telling: AtomicBool::new(false),
            touched: Arc::clone(touched),
        })
    }

    /// Changes what is seen of it.
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
        lock(&self.touched).insert(self.name.clone());
    }

    /// The same, if `change` says that there is anything new; answers that.
    fn note_if(&self, change: impl FnOnce(&mut Seen) -> bool) -> bool {
        let news = self.seen.send_if_modified(change);
        if news {
            lock(&self.touched).insert(self.name.clone());
        }
        news
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
