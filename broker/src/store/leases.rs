//! Which leases live, until when, and which keys die with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::LeaseId;

#[derive(Default)]
pub(super) struct Leases {
    granted: u64,
    living: BTreeMap<LeaseId, Lease>,
    by_key: BTreeMap<String, LeaseId>,
}

struct Lease {
    ttl: Duration,
    ends: Instant,
    keys: BTreeSet<String>,
}

// === impl Leases ===

impl Leases {
    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        self.granted += 1;
        let id = LeaseId(self.granted);
        self.living.insert(id, Lease { ttl, ends: now + ttl, keys: BTreeSet::new() });
        id
    }

    /// False: there is no such lease.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> bool {
        self.living.get_mut(&id).is_some_and(|lease| {
            lease.ends = now + lease.ttl;
            true
        })
    }

    pub(super) fn lives(&self, id: LeaseId) -> bool {
        self.living.contains_key(&id)
    }

    pub(super) fn ends(&self, id: LeaseId) -> Option<Instant> {
        self.living.get(&id).map(|lease| lease.ends)
    }

    /// The key now belongs to `lease`, or to none.
    pub(super) fn bind(&mut self, key: &str, lease: Option<LeaseId>) {
        if let Some(before) = self.by_key.remove(key)
            && let Some(lease) = self.living.get_mut(&before)
        {
            lease.keys.remove(key);
        }
        if let Some(id) = lease
            && let Some(lease) = self.living.get_mut(&id)
        {
            lease.keys.insert(key.to_owned());
            self.by_key.insert(key.to_owned(), id);
        }
    }

    /// The keys of a lease.
    pub(super) fn keys(&self, id: LeaseId) -> Vec<String> {
        self.living.get(&id).map(|lease| lease.keys.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn end(&mut self, id: LeaseId) {
        if let Some(lease) = self.living.remove(&id) {
            for key in lease.keys {
                self.by_key.remove(&key);
            }
        }
    }

    /// The first lease to run out, and when.
    pub(super) fn first_end(&self) -> Option<(LeaseId, Instant)> {
        self.living.iter().map(|(id, lease)| (*id, lease.ends)).min_by_key(|(_, ends)| *ends)
    }
}
