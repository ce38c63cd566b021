//! A scan of the embedded store: pages of the file as it was when it began.

use redb::ReadTransaction;

use super::{
    Entry, Revision, StoreError,
    file::{KEYS, failed},
};

/// Entries read at once.
const PAGE: usize = 1024;

/// What is left of a scan. Holds the file as it was.
pub(super) struct Snapshot {
    transaction: ReadTransaction,
    prefix: String,
    from: String,
}

/// A page, and what comes after it.
pub(super) type Page = (Vec<Entry>, Option<Snapshot>);

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn of(transaction: ReadTransaction, prefix: String) -> Self {
        Self { transaction, from: prefix.clone(), prefix }
    }

    /// The next entries; none if there are none left.
    pub(super) fn page(mut self) -> Result<Page, StoreError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.transaction.open_table(KEYS)?;
            let mut entries = Vec::new();
            for found in table.range(self.from.as_str()..)? {
                let (key, stored) = found?;
                if entries.len() == PAGE || !key.value().starts_with(&self.prefix) {
                    break;
                }
                let (revision, leased, value) = stored.value();
                entries.push(Entry {
                    key: key.value().to_owned(),
                    value: value.to_owned(),
                    revision: Revision(revision),
                    leased,
                });
            }
            Ok(entries)
        };
        let entries = read().map_err(failed("read a range"))?;
        match entries.last() {
            Some(last) if entries.len() == PAGE => {
                // No string lies between a key and the key with a zero after it.
                self.from = format!("{}\0", last.key);
                Ok((entries, Some(self)))
            }
            Some(_) | None => Ok((entries, None)),
        }
    }
}
