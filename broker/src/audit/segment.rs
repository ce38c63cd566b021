//! How entries lie in the store.
//!
//! ```text
//! audit-index/START-BROKER        how many entries, and when the last was
//! audit/START-BROKER/NUMBER       a few entries, in their order
//! ```
//! START is when the segment's first entry was, BROKER a random name of who
//! writes it: so keys are in the order of time, and each has one writer.

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::{
    clock::Timestamp,
    state::{self, Record, Stored, TransactionExt as _, keys},
    store::{Store, StoreError, Transaction},
};

/// Entries of one segment: what a question reads at once.
pub const MOST_ENTRIES: u64 = 2000;
/// How long a segment takes entries, milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The name of a segment. Ordered by when it begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName(String);

/// A segment, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub name: SegmentName,
    /// When its first entry was.
    pub first: Timestamp,
    /// When its last one was.
    pub last: Timestamp,
    /// How many it has.
    pub count: u64,
}

/// What the index holds of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexRecord {
    last: Timestamp,
    count: u64,
}

/// A few entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchRecord {
    pub(super) entries: Vec<Entry>,
}

impl Record for IndexRecord {}
impl Record for BatchRecord {}

/// A segment that is being written.
pub(super) struct Open {
    name: SegmentName,
    first: Timestamp,
    index: IndexRecord,
    batches: u32,
}

// === impl SegmentName ===

impl SegmentName {
    fn new(first: Timestamp, broker: &str) -> Self {
        Self(format!("{:015}-{broker}", first.0))
    }

    /// Reads one back; `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, broker) = text.split_once('-')?;
        let plain = first.len() == 15
            && first.bytes().all(|b| b.is_ascii_digit())
            && (1..=64).contains(&broker.len())
            && broker.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn first(&self) -> Timestamp {
        let digits = self.0.split('-').next().unwrap_or_default();
        Timestamp(digits.parse().unwrap_or_default())
    }
}

// === impl Open ===

impl Open {
    /// A new one, that begins now.
    pub(super) fn new(first: Timestamp, broker: &str) -> Self {
        let index = IndexRecord { last: first, count: 0 };
        Self { name: SegmentName::new(first, broker), first, index, batches: 0 }
    }

    /// Whether entries of this moment belong into another.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.index.count >= MOST_ENTRIES || now.0 >= self.first.0.saturating_add(HOUR_MS)
    }

    /// Puts entries; they never go back in time. The same twice writes the
    /// same keys.
    pub(super) fn write(&self, entries: &mut [Entry]) -> Result<(Transaction, Self), StoreError> {
        let mut last = self.index.last;
        for entry in entries.iter_mut() {
            last = last.max(entry.at);
            entry.at = last;
        }
        let count = self.index.count.saturating_add(entries.len() as u64);
        let next = Self {
            name: self.name.clone(),
            first: self.first,
            index: IndexRecord { last, count },
            batches: self.batches.saturating_add(1),
        };
        let batch = BatchRecord { entries: entries.to_vec() };
        let transaction = Transaction::new()
            .put_record(&keys::audit_batch(self.name.as_str(), self.batches), &batch)?
            .put_record(&keys::audit_segment(self.name.as_str()), &next.index)?;
        Ok((transaction, next))
    }
}

/// Every segment, the oldest first.
///
/// # Errors
/// Of the store.
pub async fn all(store: &dyn Store) -> Result<Vec<Summary>, StoreError> {
    let stored = state::list::<IndexRecord>(store, keys::AUDIT_INDEX).await?;
    let named = stored.into_iter().filter_map(|Stored { record, key, .. }| {
        let name = SegmentName::parse(key.strip_prefix(keys::AUDIT_INDEX)?)?;
        Some(Summary { first: name.first(), name, last: record.last, count: record.count })
    });
    Ok(named.collect())
}

/// The batches of a segment, by their keys.
pub(super) async fn batches(
    store: &dyn Store,
    segment: &SegmentName,
) -> Result<Vec<Stored<BatchRecord>>, StoreError> {
    state::list(store, &keys::audit_batches(segment.as_str())).await
}

/// Segment and number of a batch's key.
pub(super) fn batch_of(key: &str) -> Option<(SegmentName, u32)> {
    let (segment, number) = key.strip_prefix(keys::AUDIT)?.split_once('/')?;
    Some((SegmentName::parse(segment)?, number.parse().ok()?))
}

/// Writes entries at once, for commands on a store that no broker has open.
///
/// # Errors
/// Of the store.
pub async fn append(store: &dyn Store, mut entries: Vec<Entry>) -> Result<(), StoreError> {
    let Some(first) = entries.first().map(|entry| entry.at) else { return Ok(()) };
    for entry in &entries {
        entry.log();
    }
    let (transaction, _) = Open::new(first, &writer_name()).write(&mut entries)?;
    store.commit(transaction).await.map(drop)
}

/// New with each start, so that no segment is written by two.
pub(super) fn writer_name() -> String {
    let mut name = uuid::Uuid::new_v4().simple().to_string();
    name.truncate(12);
    name
}
