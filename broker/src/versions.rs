//! Which version the next start of a desktop would take, and which desktops run
//! another one. Tags move in image stores, at nobody's word to a broker: hosts
//! tell with every heartbeat where their tags point.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{sync::watch, time::sleep};

use crate::{
    hosts::{Age, Ages, Hosts, age},
    names::{HostName, ImageRef, PoolName},
    state::{self, DesktopRecord, DesktopState, PoolRecord, keys},
    store::{Store, StoreError},
};

/// Between looks where tags point.
const PACE: Duration = Duration::from_secs(2);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a desktop's next start would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// It is not what runs.
    pub behind: bool,
    /// The version; empty: not known.
    pub version: String,
}

/// What pools name and what that means where. Cheap to clone.
#[derive(Clone)]
pub struct Versions {
    store: Arc<dyn Store>,
    hosts: Hosts,
    pools: Arc<RwLock<BTreeMap<PoolName, ImageRef>>>,
    /// Another value whenever a next start would take another version.
    changed: Arc<watch::Sender<u64>>,
}

// === impl Versions ===

impl Versions {
    /// Knows nothing until [`Versions::run`] does.
    pub fn new(store: Arc<dyn Store>, hosts: Hosts) -> Self {
        Self { store, hosts, pools: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// What a desktop's next start would take.
    pub fn next_of(&self, record: &DesktopRecord) -> Next {
        if record.state != DesktopState::Running {
            return Next::default();
        }
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = pools.get(&record.id.pool) else { return Next::default() };
        let age = age_of(&self.hosts, record, next);
        let version = next.version().map(str::to_owned);
        let version = version.or_else(|| self.hosts.version_on(&record.host, next));
        Next { behind: age == Age::Behind, version: version.unwrap_or_default() }
    }

    /// How many run, by pool, as hosts told last.
    pub fn ages(&self) -> BTreeMap<PoolName, Ages> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        self.hosts.ages(&pools)
    }

    /// Sees another value when a next start would take another version.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Follows pools and tags, for ever.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.follow().await
                && !matches!(error, StoreError::Compacted(_))
            {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "images of pools are not followed for a moment");
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let begin = self.store.range(keys::POOLS).await?;
        let mut changes = self.store.watch(keys::POOLS, begin.revision).await?;
        let mut pools = BTreeMap::new();
        for entry in begin.entries {
            note(&mut pools, &entry.key, Some(&entry.value))?;
        }
        loop {
            self.pools.write().unwrap_or_else(PoisonError::into_inner).clone_from(&pools);
            self.look(&pools);
            tokio::select! {
                change = changes.next() => {
                    let Some(change) = change else { return Ok(()) };
                    let change = change?;
                    note(&mut pools, &change.key, change.value.as_deref())?;
                }
                () = sleep(PACE) => {}
            }
        }
    }

    fn look(&self, pools: &BTreeMap<PoolName, ImageRef>) {
        let images: BTreeSet<&ImageRef> = pools.values().collect();
        let now = self.hosts.print_of(&images, pools);
        self.changed.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}

/// Whether a desktop runs what its next start would take on its host.
pub fn age_of(hosts: &Hosts, record: &DesktopRecord, next: &ImageRef) -> Age {
    let version = record.placed.as_ref().map_or("", |placed| placed.version.as_str());
    let there = there(hosts, &record.host, next);
    age(record.image.image(), version, next, there.as_deref())
}

/// Not asked for what says its version itself.
fn there(hosts: &Hosts, host: &HostName, next: &ImageRef) -> Option<String> {
    if next.version().is_some() { None } else { hosts.version_on(host, next) }
}

fn note(
    pools: &mut BTreeMap<PoolName, ImageRef>,
    key: &str,
    value: Option<&[u8]>,
) -> Result<(), StoreError> {
    match value {
        Some(value) => {
            let pool = state::decode::<PoolRecord>(key, value)?;
            pools.insert(pool.name, pool.image);
        }
        None => {
            let name = key.strip_prefix(keys::POOLS).and_then(|name| name.parse().ok());
            name.and_then(|name: PoolName| pools.remove(&name));
        }
    }
    Ok(())
}
