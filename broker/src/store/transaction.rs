//! Transactions, and the bounds that every store can keep.

use std::collections::BTreeSet;

use super::{LeaseId, Revision, StoreError};

/// Longest key, bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value, bytes: a desktop's record with the last output of a failed
/// start is less than half of it.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;
/// Most guards, and most writes, of one transaction. etcd takes 128 as it is
/// shipped; some are left for a store's own use.
pub const MAX_OPERATIONS: usize = 100;
/// Keys and values of one transaction together, bytes. etcd takes 1.5 MiB as it
/// is shipped.
pub const MAX_TRANSACTION_BYTES: usize = 1024 * 1024;

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

    /// Whether every store would take it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] or [`StoreError::WrittenTwice`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        bound("the number of a transaction's guards", self.guards.len(), MAX_OPERATIONS)?;
        bound("the number of a transaction's writes", self.writes.len(), MAX_OPERATIONS)?;
        let mut bytes = 0;
        for guard in &self.guards {
            bound("a key's length", guard.key.len(), MAX_KEY_BYTES)?;
            bytes += guard.key.len();
        }
        let mut written = BTreeSet::new();
        for write in &self.writes {
            let key = write.key();
            bound("a key's length", key.len(), MAX_KEY_BYTES)?;
            bytes += key.len();
            if let Write::Put { value, .. } = write {
                bound(&format!("the value of {key} in bytes"), value.len(), MAX_VALUE_BYTES)?;
                bytes += value.len();
            }
            if !written.insert(key) {
                return Err(StoreError::WrittenTwice(key.to_owned()));
            }
        }
        bound("a transaction's bytes", bytes, MAX_TRANSACTION_BYTES)
    }
}

fn bound(what: &str, is: usize, most: usize) -> Result<(), StoreError> {
    if is <= most { Ok(()) } else { Err(StoreError::TooLarge { what: what.to_owned(), is, most }) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_store_takes_is_told_with_its_measure() {
        let many = |count: usize| {
            (0..count)
                .fold(Transaction::new(), |t, i| t.delete(i.to_string()).absent(i.to_string()))
        };
        assert!(many(MAX_OPERATIONS).check().is_ok());
        let refused = [
            many(MAX_OPERATIONS + 1),
            Transaction::new().put("k".repeat(MAX_KEY_BYTES + 1), vec![]),
            Transaction::new().absent("k".repeat(MAX_KEY_BYTES + 1)),
            Transaction::new().put("k", vec![0; MAX_VALUE_BYTES + 1]),
            (0..5).fold(Transaction::new(), |t, i| t.put(i.to_string(), vec![0; MAX_VALUE_BYTES])),
        ];
        for transaction in refused {
            let error = transaction.check().unwrap_err();
            assert!(matches!(error, StoreError::TooLarge { is, most, .. } if is > most), "{error}");
        }
    }
}
