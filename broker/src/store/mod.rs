//! Where the broker keeps what must outlive it: keys in order, values opaque,
//! changed by compare-and-set transactions.
//!
//! The trait is cut to what an embedded database and etcd both do well:
//! * every transaction that is applied gets the next **revision**;
//! * every key remembers the revision that last wrote it, and a transaction
//!   may demand that it is still that one (or that there is no such key);
//! * a **watch** replays from a revision, as far back as the store remembers;
//! * keys bound to a **lease** vanish when nobody keeps the lease alive.

mod embedded;
mod history;
mod leases;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use thiserror::Error;

pub use embedded::EmbeddedStore;

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
}

/// The keys under a prefix at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The last transaction the range has seen; watch from here to miss nothing.
    pub revision: Revision,
}

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The key it is about.
    pub key: String,
    /// The revision the key must have; `None`: there must be no such key.
    pub revision: Option<Revision>,
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts a value, replacing value and lease of what was there.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease the key shall die with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; no fault if there is none.
    Delete {
        /// The key.
        key: String,
    },
}

/// Guards and the writes that happen, all or none, if every guard holds. A
/// key may be written once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// Applied together.
    pub writes: Vec<Write>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// All writes are durable, as this revision.
    Applied(Revision),
    /// Nothing was written: this guard did not hold.
    Conflict {
        /// The key of the guard.
        key: String,
    },
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

/// Changes in the order they were applied. Ends after an error.
pub type Watch = BoxStream<'static, Result<Event, StoreError>>;

/// A fault of the store itself; a lost race is [`Commit::Conflict`] instead.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process holds the file.
    #[error("the store {path} is in use by another process (is the broker running?)")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file cannot be opened.
    #[error("cannot open the store {path}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The database failed during an operation.
    #[error("the store failed to {verb}")]
    Database {
        /// What was being done.
        verb: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The worker that ran the operation ended early.
    #[error("the store's worker ended before it could {verb}")]
    Worker {
        /// What was being done.
        verb: &'static str,
    },
    /// A stored value is not what its key promises.
    #[error("the value of {key} in the store is damaged: {reason}")]
    Damaged {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The lease ran out or was never granted.
    #[error("lease {} is gone", .0.0)]
    LeaseGone(LeaseId),
    /// A watch asked for changes older than the store remembers: read the
    /// range again and watch from there.
    #[error("changes since revision {} are no longer kept", .0.0)]
    Compacted(Revision),
    /// A transaction names one key in two writes.
    #[error("a transaction writes {0} twice")]
    WrittenTwice(String),
    /// Others changed the same keys again and again.
    #[error("gave up on {what} after {attempts} lost races")]
    Contended {
        /// What was being done.
        what: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
}

/// See the module's page.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of a key now.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All keys that start with `prefix`, at one moment.
    async fn range(&self, prefix: &str) -> Result<Range, StoreError>;

    /// Applies a transaction, or none of it.
    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError>;

    /// Changes of keys that start with `prefix`, made after `since`.
    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError>;

    /// Grants a lease that runs out `ttl` after it was last kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Gives a lease its whole time again.
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

// === impl Transaction ===

impl Transaction {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that the key was last written by `revision`.
    #[must_use]
    pub fn unchanged(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.guards.push(Guard { key: key.into(), revision: Some(revision) });
        self
    }

    /// Demands that there is no such key.
    #[must_use]
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.guards.push(Guard { key: key.into(), revision: None });
        self
    }

    /// Puts a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: Vec<u8>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value, lease: None });
        self
    }

    /// Puts a value that dies with a lease.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<String>, value: Vec<u8>, lease: LeaseId) -> Self {
        self.writes.push(Write::Put { key: key.into(), value, lease: Some(lease) });
        self
    }

    /// Deletes a key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// The first key that is written twice, if any.
    fn written_twice(&self) -> Option<&str> {
        let mut keys = std::collections::BTreeSet::new();
        self.writes.iter().map(Write::key).find(|key| !keys.insert(*key))
    }
}

// === impl Write ===

impl Write {
    /// The key it writes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}
