//! What can go wrong with a store.

use std::sync::Arc;

use thiserror::Error;

use super::{LeaseId, Revision};

/// A fault of the store itself, to be told to all whom it meets; a lost race is [`super::Commit::Conflict`] instead.
#[derive(Debug, Clone, Error)]
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
        source: Arc<redb::Error>,
    },
    /// The database failed during an operation.
    #[error("the store failed to {verb}")]
    Database {
        /// What was being done.
        verb: &'static str,
        /// Why; all that shared a write failed for it.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The worker that ran the operation ended early.
    #[error("the store's worker ended before it could {verb}")]
    Worker {
        /// What was being done.
        verb: &'static str,
    },
    /// No member answered in time. Nothing was changed.
    #[error("the store did not {verb} within {seconds} s; its last answer: {problem}")]
    Unavailable {
        /// What was being done.
        verb: &'static str,
        /// The deadline.
        seconds: u64,
        /// What the last try met.
        problem: String,
    },
    /// The transaction was sent, but no member could be asked in time what
    /// became of it: it may have been applied, or may still be. Read the keys
    /// before anything that must not happen twice.
    #[error("whether the store applied a transaction was not to be learnt within {seconds} s")]
    Indeterminate {
        /// The deadline.
        seconds: u64,
    },
    /// A member understood and declined. Nothing was changed.
    #[error("the store refused to {verb}: {reason}")]
    Refused {
        /// What was being done.
        verb: &'static str,
        /// As it says.
        reason: String,
    },
    /// Of the configuration that leads to the store.
    #[error("the store cannot be reached as configured: {what}: {reason}")]
    Setup {
        /// The key, file or endpoint.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than every store takes.
    #[error("{what} is {is}; a store takes {most} at most")]
    TooLarge {
        /// What is measured.
        what: String,
        /// Its measure.
        is: usize,
        /// The limit.
        most: usize,
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
    /// A watch or a scan needs revisions older than the store remembers: read
    /// the range again and go on from there.
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
