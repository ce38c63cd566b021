//! Which brokers are alive: each keeps a key in the store that vanishes with
//! it. What a broker does for somebody bears its name, so that the others leave
//! it alone for as long as it is there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{TryStreamExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use crate::{
    state::{Record, TransactionExt as _, keys},
    store::{Commit, LeaseId, Store, StoreError, Transaction},
};

/// How long a broker that is gone is still counted.
const LIFE: Duration = Duration::from_secs(15);
/// Thrice in a life.
const RENEWAL: Duration = Duration::from_secs(5);

/// A broker that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BrokerRecord {}

impl Record for BrokerRecord {}

/// This broker among those of its cluster. Cheap to clone.
#[derive(Clone)]
pub struct Presence {
    store: Arc<dyn Store>,
    name: Arc<str>,
    lease: Arc<watch::Sender<Option<LeaseId>>>,
}

// === impl Presence ===

impl Presence {
    /// A broker that nobody knows of until [`Presence::keep`] runs. Its name is
    /// new with each start.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let name = Uuid::new_v4().simple().to_string().into();
        Self { store, name, lease: Arc::default() }
    }

    /// This broker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lease that this broker's keys are under; another one after a time
    /// without the store.
    pub fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease.subscribe()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The others that are alive, or were until a moment ago.
    ///
    /// # Errors
    /// Of the store.
    pub async fn others(&self) -> Result<BTreeSet<String>, StoreError> {
        let entries = self.store.range(keys::BROKERS).await?.entries;
        let names = entries.iter().filter_map(|entry| entry.key.strip_prefix(keys::BROKERS));
        Ok(names.filter(|name| *name != &*self.name).map(str::to_owned).collect())
    }

    /// Makes this broker known.
    ///
    /// # Errors
    /// Of the store.
    pub async fn announce(&self) -> Result<LeaseId, StoreError> {
        let lease = self.store.grant(LIFE).await?;
        let put = Transaction::new().put_leased_record(
            &keys::broker(&self.name),
            &BrokerRecord {},
            lease,
        )?;
        match self.store.commit(put).await? {
            // It demands nothing, so there is nothing to conflict with.
            Commit::Applied(_) | Commit::Conflict { .. } => {
                self.lease.send_replace(Some(lease));
                Ok(lease)
            }
        }
    }

    /// Calls `gone` whenever a broker may have vanished, for ever.
    pub async fn watch(self, mut gone: impl FnMut() -> BoxFuture<'static, ()>) {
        loop {
            // Before whoever vanished while nobody looked.
            let since = self.store.range(keys::BROKERS).await.map(|range| range.revision);
            gone().await;
            let watched = match since {
                Ok(since) => self.store.watch(keys::BROKERS, since).await,
                Err(error) => Err(error),
            };
            let error = match watched {
                Ok(mut events) => loop {
                    match events.try_next().await {
                        Ok(Some(event)) if event.value.is_none() => gone().await,
                        Ok(Some(_)) => {}
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                },
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "brokers that vanish are not seen for a moment"
                );
            }
            sleep(RENEWAL).await;
        }
    }

    /// Keeps it known, for ever; again after a time without the store.
    pub async fn keep(self, mut lease: LeaseId) {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let kept = match self.store.keep_alive(lease).await {
                Err(StoreError::LeaseGone(_)) => {
                    self.announce().await.map(|granted| lease = granted)
                }
                other => other,
            };
            if let Err(error) = kept {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "other brokers may take this one for gone"
                );
            }
        }
    }
}
