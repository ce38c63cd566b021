//! A desktop is claimed in one transaction: number, epoch, capacity on a host,
//! the place of a kept disk, and the record. Whoever loses the race finds the
//! record of who won it.

use std::collections::BTreeSet;

use super::{DesktopError, Desktops, StartRequest};
use crate::{
    data::{DataId, Slot},
    hosts::{Health, Seen},
    names::{DesktopId, HostName},
    placement::{self, Demand, HostFacts, KnownImage, NoRoom, Resources},
    state::{
        self, CapacityRecord, CounterRecord, DesktopRecord, DesktopState, HomePolicy, HomeUse,
        NumberRecord, PoolRecord, Stored, TransactionExt as _, UserRecord, keys,
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
    /// Kept data it takes.
    overlay: Option<Slot>,
    home: Option<Slot>,
    taken: BTreeSet<u32>,
}

// === impl Facts ===

impl Facts {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.overlay.iter().chain(&self.home)
    }

    /// The host that has the kept data.
    fn bound_to(&self, id: &DesktopId) -> Result<Option<HostName>, DesktopError> {
        let of = |slot: &Option<Slot>| slot.as_ref().and_then(Slot::host).cloned();
        match (of(&self.overlay), of(&self.home)) {
            (Some(overlay), Some(home)) if overlay != home => {
                Err(DesktopError::DataApart { desktop: id.clone(), overlay, home })
            }
            (overlay, home) => Ok(overlay.or(home)),
        }
    }

    /// What a start would make on its host, MiB.
    fn new_mib(&self) -> i64 {
        let is_new = |slot: &Option<Slot>| slot.as_ref().is_none_or(|slot| slot.host().is_none());
        let pool = &self.pool.record;
        let overlay = if is_new(&self.overlay) { pool.overlay_size_mib } else { 0 };
        match pool.home {
            Some(HomePolicy::Volume { size_mib }) if is_new(&self.home) => {
                overlay.saturating_add(size_mib)
            }
            Some(_) | None => overlay,
        }
    }
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
        // A desktop that is there has its data: no need to look at that.
        let living = |stored: &Stored<DesktopRecord>| stored.record.state.holds_capacity();
        let to_claim = !desktop.as_ref().is_some_and(living);
        let data = &self.inner.data;
        let overlay = match pool.record.persistent && to_claim {
            true => Some(data.slot(DataId::Desktop(id.clone()), &user.record).await?),
            false => None,
        };
        let home = match pool.record.home {
            Some(HomePolicy::Volume { .. }) if to_claim => {
                Some(data.slot(DataId::Home(id.user.clone()), &user.record).await?)
            }
            Some(_) | None => None,
        };
        let entries = store.range(keys::NUMBERS).await?.entries;
        let in_store =
            entries.iter().filter_map(|entry| entry.key.strip_prefix(keys::NUMBERS)?.parse().ok());
        // Desktops the store does not know hold their addresses all the same.
        let on_hosts = self.inner.hosts.seen().into_values().flat_map(|seen| seen.strays);
        let taken = in_store.chain(on_hosts).collect();
        Ok(Facts { desktop, user, pool, epoch, overlay, home, taken })
    }

    /// `None`: others were faster, look again.
    async fn try_claim(
        &self,
        id: &DesktopId,
        request: &StartRequest,
        facts: &Facts,
    ) -> Result<Option<DesktopRecord>, DesktopError> {
        let pool = &facts.pool.record;
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
            new_overlay_mib: facts.new_mib(),
            bound_to: facts.bound_to(id)?,
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
        let home = pool.home.as_ref().map(|home| match home {
            HomePolicy::Volume { size_mib } => HomeUse::Volume {
                name: facts.home.as_ref().map(Slot::volume).unwrap_or_default(),
                size_mib: *size_mib,
            },
            HomePolicy::Directory { parent } => {
                HomeUse::Directory { parent: parent.clone(), name: id.user.to_string() }
            }
        });
        DesktopRecord {
            id: id.clone(),
            pool_title: pool.title.clone(),
            state: DesktopState::Starting,
            number,
            epoch,
            host: host.clone(),
            pilot: self.inner.presence.name().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            image: pool.image.clone(),
            overlay: facts.overlay.as_ref().map(Slot::volume).unwrap_or_default(),
            overlay_size_mib: pool.overlay_size_mib,
            home,
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
    for slot in facts.slots() {
        transaction = slot.take(transaction, &record.host, &record.id, record.epoch)?;
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
