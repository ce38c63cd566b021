//! Typed records over the store: what each key holds, and how a record is
//! written down. Every value is JSON `{"v": VERSION, "d": {…}}`; a version this
//! broker does not know is an error, never a guess.

mod cluster;
mod connections;
mod desktop;
mod host_policy;
mod hosts;
mod kept;
pub mod keys;
mod people;
mod pools;
mod rollout;
mod time;
mod warm;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use cluster::{
    CapacityRecord, ClusterCa, CounterRecord, Marker, NumberRecord, ServerCertificate,
};
pub use connections::{SentAwayRecord, TicketRecord, ViewerRecord};
pub use desktop::{
    DesktopRecord, DesktopState, Display, EndsRecord, FailureRecord, Happening, HomeUse, Illegal,
    LimitsRecord, NoticeRecord, PhaseRecord, Placed,
};
pub use host_policy::{HostPolicy, Strategy, Term, is_word as is_label_word};
pub use hosts::{
    CredentialRecord, DrainRecord, Duty, EnrolRecord, HeldRecord, HostRecord, IssuedRecord,
};
pub use kept::{HomeClaim, HomeRecord, OverlayRecord, StorageRecord, WorkKind, WorkRecord};
pub use people::{
    GroupRecord, Identity, IdentityRecord, MemberRecord, ProgramRecord, Role, SessionRecord,
    SignInRecord, Source, UserRecord,
};
pub use pools::{HomePolicy, PoolRecord, PoolUseRecord};
#[cfg(test)]
pub(crate) use rollout::tests::rollout as rollout_for_tests;
pub use rollout::{
    AgainRecord, Batch, FailedRecord, IllegalRollout, RestartRecord, RolloutEvent, RolloutRecord,
    RolloutSettings, RolloutState,
};
pub use time::{ExpiryRecord, SeatRecord, TimeLimit, TimeLimits};
pub use warm::{Recipe, WarmRecord, WarmState};

use crate::store::{Entry, LeaseId, Range, Revision, Store, StoreError, Transaction};

/// Something kept under one kind of key.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// Grows when the meaning of the fields changes.
    const VERSION: u32 = 1;
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// Its key.
    pub key: String,
    /// When it was written; the guard of a change.
    pub revision: Revision,
}

#[derive(Deserialize)]
struct Content<T> {
    d: T,
}

#[derive(Serialize)]
struct EnvelopeRef<'a, T> {
    v: u32,
    d: &'a T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// Writes a record down.
///
/// # Errors
/// [`StoreError::Damaged`] if it cannot be written as JSON.
pub fn encode<T: Record>(key: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(&EnvelopeRef { v: T::VERSION, d: record })
        .map_err(|error| damaged(key, &error))
}

/// Reads a record.
///
/// # Errors
/// [`StoreError::Damaged`] for an unknown version or unreadable fields.
pub fn decode<T: Record>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    let VersionOnly { v } = serde_json::from_slice(value).map_err(|error| damaged(key, &error))?;
    if v != T::VERSION {
        return Err(damaged(key, &format!("it has version {v}, this broker knows {}", T::VERSION)));
    }
    let Content { d } =
        serde_json::from_slice::<Content<T>>(value).map_err(|error| damaged(key, &error))?;
    Ok(d)
}

/// The record of a key, if there is one.
///
/// # Errors
/// Of the store, and those of [`decode`].
pub async fn read<T: Record>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<Stored<T>>, StoreError> {
    store.get(key).await?.map(stored).transpose()
}

/// All records under a prefix, in the order of their keys.
///
/// # Errors
/// Of the store, and those of [`decode`].
pub async fn list<T: Record>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<Stored<T>>, StoreError> {
    list_at(store, prefix).await.map(|(_, all)| all)
}

/// The same, with the revision to watch from.
///
/// # Errors
/// The same.
pub async fn list_at<T: Record>(
    store: &dyn Store,
    prefix: &str,
) -> Result<(Revision, Vec<Stored<T>>), StoreError> {
    let Range { entries, revision } = store.range(prefix).await?;
    let all: Result<_, _> = entries.into_iter().map(stored).collect();
    Ok((revision, all?))
}

fn stored<T: Record>(entry: Entry) -> Result<Stored<T>, StoreError> {
    let record = decode(&entry.key, &entry.value)?;
    Ok(Stored { record, key: entry.key, revision: entry.revision })
}

fn damaged(key: &str, reason: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { key: key.to_owned(), reason: reason.to_string() }
}

/// Records in transactions.
pub trait TransactionExt: Sized {
    /// Puts a record.
    ///
    /// # Errors
    /// Those of [`encode`].
    fn put_record<T: Record>(self, key: &str, record: &T) -> Result<Self, StoreError>;

    /// Puts a record that dies with a lease.
    ///
    /// # Errors
    /// Those of [`encode`].
    fn put_leased_record<T: Record>(
        self,
        key: &str,
        record: &T,
        lease: LeaseId,
    ) -> Result<Self, StoreError>;

    /// Demands that the key is still as it was read; `None`: still absent.
    #[must_use]
    fn unless_changed<T>(self, key: &str, seen: Option<&Stored<T>>) -> Self;
}

impl TransactionExt for Transaction {
    fn put_record<T: Record>(self, key: &str, record: &T) -> Result<Self, StoreError> {
        let value = encode(key, record)?;
        Ok(self.put(key, value))
    }

    fn put_leased_record<T: Record>(
        self,
        key: &str,
        record: &T,
        lease: LeaseId,
    ) -> Result<Self, StoreError> {
        let value = encode(key, record)?;
        Ok(self.put_leased(key, value, lease))
    }

    fn unless_changed<T>(self, key: &str, seen: Option<&Stored<T>>) -> Self {
        match seen {
            Some(stored) => self.unchanged(key, stored.revision),
            None => self.absent(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_later_version_is_refused_by_number() {
        let refused = decode::<CounterRecord>("counter/uid", br#"{"v":2,"d":{"anything":true}}"#)
            .unwrap_err();
        assert!(refused.to_string().contains("it has version 2, this broker knows 1"), "{refused}");
    }

    #[test]
    fn rubbish_is_an_error() {
        for value in [&b""[..], b"{}", b"\xff\xff", br#"{"v":1,"d":{"last":-1}}"#] {
            assert!(decode::<CounterRecord>("counter/uid", value).is_err());
        }
    }
}
