//! Which hosts this broker hears, told to the others: a key per host in the
//! store that vanishes with the broker. So a host that one broker cannot reach
//! is not lost as long as another one hears it; and a heartbeat costs nothing,
//! because brokers keep one lease each.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::Hosts;
use crate::{
    names::HostName,
    presence::Presence,
    state::{Record, TransactionExt as _, keys},
    store::{LeaseId, StoreError, Transaction},
};

/// Hosts come and go in crowds: a rack, a switch, all of them at a start.
const GATHER: Duration = Duration::from_millis(50);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Writes in one transaction; etcd takes 128.
const AT_ONCE: usize = 64;

/// A broker hears a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SightingRecord {}

impl Record for SightingRecord {}

/// Tells of `hosts` for ever.
pub async fn tell(hosts: Hosts, presence: Presence) {
    let mut lease = presence.lease();
    let mut told: (Option<LeaseId>, BTreeSet<HostName>) = (None, BTreeSet::new());
    loop {
        let changed = hosts.changed();
        let now = (*lease.borrow_and_update(), hosts.heard());
        if let Err(error) = tell_once(&presence, &told, &now).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other brokers are not told which hosts this one hears"
            );
            sleep(PAUSE).await;
            continue;
        }
        told = now;
        tokio::select! {
            () = changed => {}
            // It lives as long as the presence, which we hold.
            _ = lease.changed() => {}
        }
        sleep(GATHER).await;
    }
}

async fn tell_once(
    presence: &Presence,
    told: &(Option<LeaseId>, BTreeSet<HostName>),
    now: &(Option<LeaseId>, BTreeSet<HostName>),
) -> Result<(), StoreError> {
    let Some(lease) = now.0 else { return Ok(()) };
    let key = |host: &HostName| keys::sighting(host, presence.name());
    // What was under another lease is gone.
    let anew = told.0 != now.0;
    let new: Vec<&HostName> = now.1.iter().filter(|host| anew || !told.1.contains(*host)).collect();
    for some in new.chunks(AT_ONCE) {
        let mut put = Transaction::new();
        for host in some {
            put = put.put_leased_record(&key(host), &SightingRecord {}, lease)?;
        }
        presence.store().commit(put).await?;
    }
    let gone: Vec<&HostName> = told.1.difference(&now.1).collect();
    for some in gone.chunks(AT_ONCE) {
        let delete = some.iter().fold(Transaction::new(), |t, host| t.delete(key(host)));
        presence.store().commit(delete).await?;
    }
    Ok(())
}

/// Whether a broker other than `presence` hears the host.
///
/// # Errors
/// Of the store.
pub async fn others_hear(presence: &Presence, host: &HostName) -> Result<bool, StoreError> {
    let of = keys::sightings_of(host);
    let entries = presence.store().range(&of).await?.entries;
    Ok(entries.iter().any(|entry| entry.key.strip_prefix(&of) != Some(presence.name())))
}
