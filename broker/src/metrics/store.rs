//! How long the store takes, and what it cannot do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::Metrics;
use crate::store::{Commit, Entry, LeaseId, Revision, Scan, Store, StoreError, Transaction, Watch};

/// As labels. A scan is timed until its first page can be asked for.
pub(super) const OPERATIONS: [&str; 7] =
    ["get", "scan", "commit", "watch", "grant", "keep_alive", "revoke"];

/// A store whose operations are counted.
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

// === impl Measured ===

impl Measured {
    /// The same store, watched.
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = work.await;
        let Metrics { store_seconds, store_errors, .. } = self.metrics.as_ref();
        let label = [("operation", operation)];
        store_seconds.get_or_create(&label).observe(begun.elapsed().as_secs_f64());
        if done.is_err() {
            store_errors.get_or_create(&label).inc();
        }
        done
    }
}

#[async_trait]
impl Store for Measured {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.timed("get", self.store.get(key)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        self.timed("scan", self.store.scan(prefix)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.timed("commit", self.store.commit(transaction)).await
    }

    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        self.timed("watch", self.store.watch(prefix, since)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.timed("grant", self.store.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.timed("keep_alive", self.store.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.timed("revoke", self.store.revoke(lease)).await
    }
}
