//! Where the broker keeps what must outlive it: keys in order, values opaque,
//! changed by compare-and-set transactions.
//!
//! The trait is cut to what an embedded database and etcd both do well:
//! * every transaction that is applied gets the next **revision**;
//! * every key remembers the revision that last wrote it, and a transaction
//!   may demand that it is still that one (or that there is no such key);
//! * a **watch** replays from a revision, as far back as the store remembers;
//! * keys bound to a **lease** vanish when nobody keeps the lease alive.
//!
//! What is large is read by pages of one snapshot ([`Store::scan`]), and what
//! has to be found without reading everything gets a key of its own below the
//! name it is looked for by (`state::keys`): no store has other indexes. Every
//! store keeps the same bounds on keys, values and transactions, so that what
//! fits the embedded one fits etcd.

pub mod archive;
mod embedded;
mod error;
mod etcd;
mod file;
mod history;
mod leases;
mod snapshot;
mod transaction;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures_util::{TryStreamExt as _, stream::BoxStream};

pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use etcd::{EtcdOptions, EtcdStore, EtcdTls, EtcdUser};
pub use transaction::{
    Commit, Guard, MAX_KEY_BYTES, MAX_OPERATIONS, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES,
    Transaction, Write,
};

/// Counts applied transactions. 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// Names a lease for as long as the store that granted it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A key with its value as of `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// What was last put there.
    pub value: Vec<u8>,
    /// The transaction that put it there.
    pub revision: Revision,
    /// Whether it hangs on a lease.
    pub leased: bool,
}

/// The keys under a prefix at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The last transaction the range has seen; watch from here to miss nothing.
    pub revision: Revision,
}

/// The keys under a prefix at one moment, by pages.
pub struct Scan {
    /// The moment; watch from here to miss nothing.
    pub revision: Revision,
    /// In the order of their keys. No page is empty. Ends after an error;
    /// [`StoreError::Compacted`] if reading took longer than the store keeps
    /// what was.
    pub pages: BoxStream<'static, Result<Vec<Entry>, StoreError>>,
}

/// A change seen by a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: String,
    /// The new value; `None`: the key was deleted, or its lease ran out.
    pub value: Option<Vec<u8>>,
    /// The transaction that did it.
    pub revision: Revision,
}

/// Changes in the order they were applied, each once, however often the way to
/// the store breaks meanwhile. Ends after an error;
/// [`StoreError::Compacted`] means that changes are missing: the range has to
/// be read anew.
pub type Watch = BoxStream<'static, Result<Event, StoreError>>;

/// See the module's page. Every call has a deadline, and so ends with
/// [`StoreError::Unavailable`] if no store is there.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a key now: after every transaction that was reported as
    /// applied before this call.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All keys that start with `prefix`, at one moment, by pages.
    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError>;

    /// All keys that start with `prefix`, at one moment. For what is few.
    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        let Scan { revision, pages } = self.scan(prefix).await?;
        Ok(Range { entries: pages.try_concat().await?, revision })
    }

    /// Applies a transaction, or none of it, and never twice.
    ///
    /// # Errors
    /// With any but [`StoreError::Indeterminate`], nothing was changed and
    /// nothing will be.
    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError>;

    /// Changes of keys that start with `prefix`, made after `since`.
    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError>;

    /// Grants a lease that runs out `ttl` after it was last kept alive, or a
    /// few seconds later.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Gives a lease its whole time again.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`]: its keys are gone with it. Any other leaves
    /// open whether it lives: it may be tried again.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease now, and its keys with it.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}

// === impl Revision ===

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
