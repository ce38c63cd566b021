//! What is in the embedded store's file, and how transactions get there.

use std::sync::Arc;

use redb::{Database, ReadableTable as _, Table, TableDefinition};

use super::{Commit, Event, Revision, StoreError, Transaction, Write};

/// Revision, whether it hangs on a lease, value.
type Stored = (u64, bool, &'static [u8]);

pub(super) const KEYS: TableDefinition<'_, &str, Stored> = TableDefinition::new("keys-1");
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters-1");
pub(super) const REVISION: &str = "revision";

/// What became of each, and what changed by it. Each sees what those
/// before it wrote.
pub(super) fn write(
    database: &Database,
    transactions: &[&Transaction],
) -> Result<Vec<(Commit, Vec<Event>)>, redb::Error> {
    let writing = database.begin_write()?;
    let mut done = Vec::with_capacity(transactions.len());
    {
        let mut table = writing.open_table(KEYS)?;
        let mut counters = writing.open_table(COUNTERS)?;
        let before = counters.get(REVISION)?.map_or(0, |found| found.value());
        let mut last = Revision(before);
        for transaction in transactions {
            done.push(apply(&mut table, &mut last, transaction)?);
        }
        if last.0 == before {
            // Dropping the redb transaction undoes it.
            return Ok(done);
        }
        counters.insert(REVISION, last.0)?;
    }
    writing.commit()?;
    Ok(done)
}

/// One transaction, upon what was written before it.
fn apply(
    table: &mut Table<'_, &'static str, Stored>,
    last: &mut Revision,
    transaction: &Transaction,
) -> Result<(Commit, Vec<Event>), redb::Error> {
    for guard in &transaction.guards {
        let now = table.get(guard.key.as_str())?.map(|found| Revision(found.value().0));
        if now != guard.revision {
            return Ok((Commit::Conflict { key: guard.key.clone() }, Vec::new()));
        }
    }
    let revision = Revision(last.0 + 1);
    let mut events = Vec::with_capacity(transaction.writes.len());
    for write in &transaction.writes {
        let (key, value) = match write {
            Write::Put { key, value, lease } => {
                table.insert(key.as_str(), (revision.0, lease.is_some(), value.as_slice()))?;
                (key, Some(value.clone()))
            }
            Write::Delete { key } if table.remove(key.as_str())?.is_some() => (key, None),
            Write::Delete { .. } => continue,
        };
        events.push(Event { key: key.clone(), value, revision });
    }
    *last = revision;
    Ok((Commit::Applied(revision), events))
}

/// Makes the tables, drops keys of leases that died with the last process.
pub(super) fn prepare(database: &Database) -> Result<Revision, redb::Error> {
    let writing = database.begin_write()?;
    let revision;
    {
        let mut table = writing.open_table(KEYS)?;
        let mut counters = writing.open_table(COUNTERS)?;
        // A revision of its own, so that no watch overlooks the drops.
        revision = counters.get(REVISION)?.map_or(0, |found| found.value()) + 1;
        counters.insert(REVISION, revision)?;
        table.retain(|_, (_, leased, _)| !leased)?;
    }
    writing.commit()?;
    Ok(Revision(revision))
}

pub(super) fn failed<E: Into<redb::Error>>(verb: &'static str) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Database { verb, source: Arc::new(source.into()) }
}
