//! A desktop is claimed in one transaction: number, epoch, capacity on a host,
//! the place of a kept disk, and the record. Whoever loses the race finds the
//! record of who won it.

use std::collections::BTreeSet;

use super::{DesktopError, Desktops, StartRequest, overlay_name};
use crate::{
    hosts::{Health, Seen},
    names::{DesktopId, HostName},
    placement::{self, Demand, HostFacts, KnownImage, NoRoom, Resources},
    state::{
        self, CapacityRecord, CounterRecord, DesktopRecord, DesktopState, NumberRecord,
        OverlayRecord, PoolRecord, Stored, TransactionExt as _, UserRecord, keys,
    },
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up: everybody who starts anything shares the
/// epoch counter.
const ATTEMPTS: u32 = 256;

pub(super) enum Claim {
    /// This caller's, to be started now.
    New(DesktopRecord),
    /// There is one.
    Existing(DesktopRecord),
}

/// Everything a claim depends on, as it was read.
struct Facts {
    desktop: Option<Stored<DesktopRecord>>,
    user: Stored<UserRecord>,
    pool: Stored<PoolRecord>,
    epoch: Option<Stored<CounterRecord>>,
    overlay: Option<Stored<OverlayRecord>>,
    taken: BTreeSet<u32>,
}

impl Desktops {
    /// Claims a desktop for the user, unless there is one.
    pub(super) async fn claim(&self, request: &StartRequest) -> Result<Claim, DesktopError> {
        let id = DesktopId { pool: request.pool.clone(), user: request.user.name.clone() };
        let mut refreshed = false;
        for _ in 0..ATTEMPTS {
            let facts = self.facts(&id, request).await?;
            if let Some(existing) = &facts.desktop
                && existing.record.state.holds_capacity()
            {
                return Ok(Claim::Existing(existing.record.clone()));
            }
            match self.try_claim(&id, request, &facts).await {
                Ok(Some(record)) => return Ok(Claim::New(record)),
                Ok(None) => {}
                // It may have been published a moment ago.
                Err(DesktopError::NoRoom(no_room))
                    if !refreshed && placement::lacks_image(&no_room) =>
                {
                    refreshed = true;
                    self.inner.hosts.refresh_images().await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended { what: "a claim", attempts: ATTEMPTS }.into())
    }

    async fn facts(&self, id: &DesktopId, request: &StartRequest) -> Result<Facts, DesktopError> {
        let store = self.store();
        let unknown_pool = || DesktopError::UnknownPool(id.pool.clone());
        let unknown_user = || DesktopError::UnknownUser(id.user.clone());
        let desktop = self.find(id).await?;
        let pool = state::read::<PoolRecord>(store, &keys::pool(&id.pool))
            .await?
            .ok_or_else(unknown_pool)?;
        let user = state::read::<UserRecord>(store, &keys::user(&id.user)).await?;
        let user =
            user.filter(|user| user.record.uid == request.user.uid).ok_or_else(unknown_user)?;
        let epoch = state::read(store, keys::EPOCH_COUNTER).await?;
        let overlay = match pool.record.persistent {
            true => {
                state::read(store, &keys::overlay(&overlay_name(&id.pool, &user.record))).await?
            }
            false => None,
        };
        let entries = store.range(keys::NUMBERS).await?.entries;
        let in_store =
            entries.iter().filter_map(|entry| entry.key.strip_prefix(keys::NUMBERS)?.parse().ok());
        // Desktops the store does not know hold their addresses all the same.
        let on_hosts = self.inner.hosts.seen().into_values().flat_map(|seen| seen.strays);
        let taken = in_store.chain(on_hosts).collect();
        Ok(Facts { desktop, user, pool, epoch, overlay, taken })
    }

    /// `None`: others were faster, look again.
    async fn try_claim(
        &self,
        id: &DesktopId,
        request: &StartRequest,
        facts: &Facts,
    ) -> Result<Option<DesktopRecord>, DesktopError> {
        let pool = &facts.pool.record;
        if facts.overlay.as_ref().is_some_and(|overlay| overlay.record.deleting) {
            return Err(DesktopError::DataDeleting(id.clone()));
        }
        // A failed one keeps its number, unless a stray on some host has it.
        let failed =
            facts.desktop.as_ref().filter(|stored| stored.record.state == DesktopState::Failed);
        let number = match failed {
            Some(stored) => stored.record.number,
            None => lowest_free(&facts.taken),
        };
        let demand = Demand {
            image: pool.image.clone(),
            limits: pool.limits,
            new_overlay_mib: if facts.overlay.is_some() { 0 } else { pool.overlay_size_mib },
            bound_to: facts.overlay.as_ref().map(|overlay| overlay.record.host.clone()),
            number,
        };
        let claimed = state::list::<CapacityRecord>(self.store(), keys::CAPACITIES).await?;
        let host = self.place(&claimed, &demand).map_err(DesktopError::NoRoom)?;
        let epoch = facts.epoch.as_ref().map_or(0, |stored| stored.record.last) + 1;
        let record = self.record(id, request, facts, &host, number, epoch);
        let transaction = transaction(&record, facts, &claimed, failed.is_none())?;
        match self.store().commit(transaction).await? {
            Commit::Applied(_) => Ok(Some(record)),
            Commit::Conflict { .. } => Ok(None),
        }
    }

    fn place(
        &self,
        claimed: &[Stored<CapacityRecord>],
        demand: &Demand,
    ) -> Result<HostName, NoRoom> {
        let of = |host: &HostName| {
            let key = keys::capacity(host);
            claimed
                .iter()
                .find(|stored| stored.key == key)
                .map_or_else(CapacityRecord::default, |s| s.record)
        };
        let seen = self.inner.hosts.seen();
        let hosts: Vec<HostFacts> = seen
            .into_iter()
            .map(|(name, seen)| HostFacts { ready: resources(seen), claimed: of(&name), name })
            .collect();
        placement::place(&hosts, demand, self.inner.policy)
    }

    fn record(
        &self,
        id: &DesktopId,
        request: &StartRequest,
        facts: &Facts,
        host: &HostName,
        number: u32,
        epoch: u64,
    ) -> DesktopRecord {
        let pool = &facts.pool.record;
        let overlay = if pool.persistent {
            overlay_name(&id.pool, &facts.user.record)
        } else {
            String::new()
        };
        DesktopRecord {
            id: id.clone(),
            pool_title: pool.title.clone(),
            state: DesktopState::Starting,
            number,
            epoch,
            host: host.clone(),
            request_id: uuid::Uuid::new_v4().to_string(),
            image: pool.image.clone(),
            overlay,
            overlay_size_mib: pool.overlay_size_mib,
            limits: pool.limits,
            runtime: pool.runtime.clone(),
            width: request.width,
            height: request.height,
            time_zone: request.time_zone.clone(),
            claimed_at: self.inner.clock.now(),
            placed: None,
            failure: None,
            end_reason: String::new(),
            phases: Vec::new(),
        }
    }
}

fn transaction(
    record: &DesktopRecord,
    facts: &Facts,
    claimed: &[Stored<CapacityRecord>],
    new_number: bool,
) -> Result<Transaction, StoreError> {
    let key = keys::desktop(&record.id);
    let capacity_key = keys::capacity(&record.host);
    let capacity = claimed.iter().find(|stored| stored.key == capacity_key);
    let more =
        capacity.map_or_else(CapacityRecord::default, |stored| stored.record).with(&record.limits);
    let mut transaction = Transaction::new()
        .unless_changed(&key, facts.desktop.as_ref())
        .unless_changed(&facts.pool.key, Some(&facts.pool))
        .unless_changed(&facts.user.key, Some(&facts.user))
        .unless_changed(keys::EPOCH_COUNTER, facts.epoch.as_ref())
        .unless_changed(&capacity_key, capacity)
        .put_record(&key, record)?
        .put_record(keys::EPOCH_COUNTER, &CounterRecord { last: record.epoch })?
        .put_record(&capacity_key, &more)?;
    if new_number {
        let key = keys::number(record.number);
        transaction = transaction
            .absent(&key)
            .put_record(&key, &NumberRecord { desktop: record.id.clone() })?;
    }
    if !record.overlay.is_empty() {
        let key = keys::overlay(&record.overlay);
        transaction = transaction.unless_changed(&key, facts.overlay.as_ref());
        if facts.overlay.is_none() {
            // Bound from now on, even if the start fails: the host may have
            // made the disk before it did.
            let overlay = OverlayRecord {
                desktop: record.id.clone(),
                host: record.host.clone(),
                deleting: false,
            };
            transaction = transaction.put_record(&key, &overlay)?;
        }
    }
    Ok(transaction)
}

fn resources(seen: Seen) -> Result<Resources, String> {
    let (Health::Ready, Some(info)) = (seen.health, seen.info) else { return Err(seen.problem) };
    let images = seen.images.into_iter().map(|known| KnownImage {
        image: known.image,
        version: known.version,
        tags: known.tags,
    });
    Ok(Resources {
        cpus: info.cpus,
        memory_bytes: info.memory_bytes,
        memory_available_bytes: info.memory_available_bytes,
        overlay_free_bytes: info.overlay_free_bytes,
        max_desktops: info.max_desktops,
        highest_number: placement::highest_number(&info.network),
        images: images.collect(),
    })
}

/// Low numbers fit small networks.
fn lowest_free(taken: &BTreeSet<u32>) -> u32 {
    let mut free = 1;
    for number in taken.range(1..) {
        if *number != free {
            break;
        }
        free = number.saturating_add(1);
    }
    free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_free_number_is_free_and_the_lowest(taken in prop::collection::btree_set(0_u32..50, 0..40)) {
            let free = lowest_free(&taken);
            prop_assert!(free >= 1 && !taken.contains(&free));
            prop_assert!((1..free).all(|lower| taken.contains(&lower)));
        }
    }
}
