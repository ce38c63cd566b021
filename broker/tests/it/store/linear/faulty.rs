//! A store that is wrong now and then, for the checker to find out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rolltop_broker::store::{
    Commit, Entry, LeaseId, Revision, Scan, Store, StoreError, Transaction, Watch,
};
use tokio::time::timeout;

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// In none, but it gives calls up half-way.
    GivesUp,
    /// Reads come from the past.
    StaleReads,
    /// A guard is overlooked.
    NoGuards,
    /// What was applied is called a conflict.
    FalseConflicts,
    /// What was not applied is called so.
    FalseSuccess,
    /// What was applied is applied once more, after others.
    AppliedTwice,
    /// Of a transaction, the last write is lost.
    Torn,
}

pub(crate) struct FaultyStore {
    store: Arc<dyn Store>,
    fault: Fault,
    choice: Mutex<StdRng>,
    old: Mutex<BTreeMap<String, Option<Entry>>>,
}

impl FaultyStore {
    pub(crate) fn over(store: Arc<dyn Store>, fault: Fault, seed: u64) -> Self {
        let choice = Mutex::new(StdRng::seed_from_u64(seed));
        Self { store, fault, choice, old: Mutex::default() }
    }

    fn now_and_then(&self) -> bool {
        self.choice.lock().unwrap().random_bool(0.1)
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if self.fault == Fault::StaleReads && self.now_and_then() {
            let old = self.old.lock().unwrap().get(key).cloned();
            if let Some(old) = old {
                return Ok(old);
            }
        }
        let found = self.store.get(key).await?;
        self.old.lock().unwrap().entry(key.to_owned()).or_insert_with(|| found.clone());
        Ok(found)
    }

    async fn commit(&self, mut transaction: Transaction) -> Result<Commit, StoreError> {
        let wrong = self.fault != Fault::GivesUp && self.now_and_then();
        match self.fault {
            Fault::GivesUp => {
                let patience = {
                    let mut choice = self.choice.lock().unwrap();
                    // A lost answer, not a lost store: most are waited for.
                    choice.random_bool(0.25).then(|| choice.random_range(0..5000))
                };
                let commit = self.store.commit(transaction);
                let Some(patience) = patience else { return commit.await };
                return timeout(Duration::from_micros(patience), commit)
                    .await
                    .unwrap_or(Err(StoreError::Indeterminate { seconds: 0 }));
            }
            Fault::NoGuards if wrong => transaction.guards.clear(),
            Fault::Torn if wrong => drop(transaction.writes.pop()),
            Fault::StaleReads
            | Fault::NoGuards
            | Fault::FalseConflicts
            | Fault::FalseSuccess
            | Fault::AppliedTwice
            | Fault::Torn => {}
        }
        let again = Transaction { guards: Vec::new(), writes: transaction.writes.clone() };
        let done = self.store.commit(transaction).await?;
        match (self.fault, wrong, &done) {
            (Fault::FalseConflicts, true, Commit::Applied(_)) => {
                Ok(Commit::Conflict { key: String::new() })
            }
            (Fault::FalseSuccess, true, Commit::Conflict { .. }) => {
                Ok(Commit::Applied(Revision(0)))
            }
            (Fault::AppliedTwice, true, Commit::Applied(_)) => {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                    self.store.get("epoch").await?;
                }
                self.store.commit(again).await
            }
            _ => Ok(done),
        }
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        self.store.scan(prefix).await
    }

    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, since).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}
