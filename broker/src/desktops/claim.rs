//! A desktop is claimed in one transaction: number, epoch, capacity on a host,
//! the place of a kept disk, and the record. Whoever loses the race finds the
//! record of who won it.

use std::collections::{BTreeMap, BTreeSet};

use rolltop_proto::v1;

use super::{DesktopError, Desktops, StartRequest, pool_use::PoolUse};
use crate::{
    data::{DataId, Slot},
    hosts::{Health, Seen},
    names::{DesktopId, HostName, PoolName},
    placement::{self, Demand, HostFacts, KnownImage, Place, Resources, Verdict},
    state::{
        self, CapacityRecord, CounterRecord, DesktopRecord, DesktopState, Duty, HomePolicy,
        HomeUse, NumberRecord, PoolRecord, SeatRecord, StorageRecord, Stored, TransactionExt as _,
        UserRecord, WarmRecord, keys,
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
    pool_use: PoolUse,
    /// The earlier life is on a host that is lost, and given up.
    given_up: bool,
}

// === impl Facts ===

impl Facts {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.overlay.iter().chain(&self.home)
    }

    /// Where the kept data is: the start is bound to that.
    fn bound_to(&self, id: &DesktopId) -> Result<Vec<Place>, DesktopError> {
        let of = |slot: &Option<Slot>| slot.as_ref().and_then(Slot::place);
        match (of(&self.overlay), of(&self.home)) {
            (Some(overlay), Some(home))
                if overlay.host != home.host && !overlay.is_shared() && !home.is_shared() =>
            {
                let (overlay, home) = (overlay.host, home.host);
                Err(DesktopError::DataApart { desktop: id.clone(), overlay, home })
            }
            (overlay, home) => Ok(overlay.into_iter().chain(home).collect()),
        }
    }

    /// What a start would make on its host, MiB.
    fn new_mib(&self) -> i64 {
        let is_new = |slot: &Option<Slot>| slot.as_ref().is_none_or(|slot| slot.place().is_none());
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
    /// What would become of a start now, host by host, and which host would be
    /// taken. Nothing is claimed.
    ///
    /// # Errors
    /// There is no such pool, or what the user keeps cannot be taken.
    pub async fn explain(
        &self,
        pool: &PoolName,
        user: Option<UserRecord>,
    ) -> Result<Vec<Verdict>, DesktopError> {
        let record = state::read::<PoolRecord>(self.store(), &keys::pool(pool)).await?;
        let record = record.ok_or_else(|| DesktopError::UnknownPool(pool.clone()))?.record;
        let claimed = state::list::<CapacityRecord>(self.store(), keys::CAPACITIES).await?;
        let mut demand = Demand {
            image: record.image.clone(),
            limits: record.limits,
            new_overlay_mib: record.overlay_size_mib,
            bound_to: Vec::new(),
            number: 1,
            wishes: record.hosts.clone(),
        };
        let mut seed = placement::seed_of(pool.as_str(), 0);
        if let Some(user) = user {
            let id = DesktopId { pool: pool.clone(), user: user.name.clone() };
            let (width, height, time_zone) = (0, 0, String::new());
            let request = StartRequest { user, pool: pool.clone(), width, height, time_zone };
            let facts = self.facts(&id, &request).await?;
            demand.new_overlay_mib = facts.new_mib();
            demand.bound_to = facts.bound_to(&id)?;
            demand.number = lowest_free(&facts.taken);
            let epoch = facts.epoch.as_ref().map_or(0, |stored| stored.record.last) + 1;
            seed = placement::seed_of(&id.to_string(), epoch);
        }
        Ok(placement::explain(&self.fleet(&claimed), &demand, self.inner.policy, seed))
    }

    /// Claims a desktop for the user, unless there is one.
    pub(super) async fn claim(&self, request: &StartRequest) -> Result<Claim, DesktopError> {
        let id = DesktopId { pool: request.pool.clone(), user: request.user.name.clone() };
        let mut refreshed = false;
        for _ in 0..ATTEMPTS {
            let facts = self.facts(&id, request).await?;
            if let Some(existing) = &facts.desktop
                && !facts.given_up
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
        let living = desktop.as_ref().filter(|stored| stored.record.state.holds_capacity());
        let lost_for = match living {
            Some(living) => self.lost_for(&living.record.host).await?,
            None => None,
        };
        let given_up = lost_for.is_some();
        let to_claim = living.is_none() || given_up;
        let data = &self.inner.data;
        let overlay = match pool.record.persistent && to_claim {
            true => Some(data.slot(DataId::Desktop(id.clone()), &user.record, id).await?),
            false => None,
        };
        let home = match pool.record.home {
            Some(HomePolicy::Volume { .. }) if to_claim => {
                Some(data.slot(DataId::Home(id.user.clone()), &user.record, id).await?)
            }
            Some(_) | None => None,
        };
        if let (Some(lost_for), Some(Stored { record, .. })) = (lost_for, living) {
            let places = overlay.iter().chain(&home).filter_map(Slot::place);
            if keeps_data(record) && !places.into_iter().all(|place| place.is_shared()) {
                return Err(Self::data_out_of_reach(record, lost_for));
            }
        }
        let taken = self.taken().await?;
        let pool_use = self.pool_use(&id.pool).await?;
        Ok(Facts { desktop, user, pool, epoch, overlay, home, taken, pool_use, given_up })
    }

    /// All numbers in use.
    pub(super) async fn taken(&self) -> Result<BTreeSet<u32>, StoreError> {
        let entries = self.store().range(keys::NUMBERS).await?.entries;
        let in_store =
            entries.iter().filter_map(|entry| entry.key.strip_prefix(keys::NUMBERS)?.parse().ok());
        // Desktops the store does not know hold their addresses all the same.
        let on_hosts = self.inner.hosts.seen().into_values().flat_map(|seen| seen.strays);
        Ok(in_store.chain(on_hosts).collect())
    }

    /// `None`: others were faster, look again.
    async fn try_claim(
        &self,
        id: &DesktopId,
        request: &StartRequest,
        facts: &Facts,
    ) -> Result<Option<DesktopRecord>, DesktopError> {
        let pool = &facts.pool.record;
        if !facts.given_up {
            facts.pool_use.admits(pool)?;
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
            new_overlay_mib: facts.new_mib(),
            bound_to: facts.bound_to(id)?,
            number,
            wishes: pool.hosts.clone(),
        };
        let claimed = state::list::<CapacityRecord>(self.store(), keys::CAPACITIES).await?;
        for place in demand.bound_to.iter().filter(|place| !place.is_shared()) {
            if let Some(lost_for) = self.lost_for(&place.host).await? {
                let (desktop, host, seconds) = (id.clone(), place.host.clone(), lost_for.as_secs());
                return Err(DesktopError::DataOnLostHost { desktop, host, seconds });
            }
        }
        let epoch = facts.epoch.as_ref().map_or(0, |stored| stored.record.last) + 1;
        let seed = placement::seed_of(&id.to_string(), epoch);
        let fleet = self.fleet(&claimed);
        // Its overlay is there; a new home is not.
        let overlay_mib = if pool.persistent { 0 } else { pool.overlay_size_mib };
        let new_overlay_mib = demand.new_overlay_mib.saturating_sub(overlay_mib);
        let given = Demand { new_overlay_mib, ..demand.clone() };
        let warm = self.choose_warm(pool, &fleet, &given, seed).await?;
        let (host, number, source) = match &warm {
            Some(warm) => (warm.record.host.clone(), warm.record.number, Source::Warm(warm)),
            None => {
                let host = placement::place(&fleet, &demand, self.inner.policy, seed)
                    .map_err(DesktopError::NoRoom)?;
                (host, number, if failed.is_some() { Source::Failed } else { Source::New })
            }
        };
        let earlier = facts.desktop.as_ref().filter(|_| facts.given_up);
        if let Some(earlier) = earlier {
            self.look_at_fences(&earlier.record, facts.slots(), &host).await?;
        }
        let chosen = fleet.iter().find(|known| known.name == host);
        let storage = chosen
            .and_then(|chosen| chosen.ready.as_ref().ok())
            .and_then(|ready| ready.storage.as_ref());
        let mut record = self.record(id, request, facts, &host, number, epoch);
        record.warm_epoch = warm.as_ref().map_or(0, |warm| warm.record.epoch);
        let mut transaction = transaction(&record, facts, &claimed, storage, source)?;
        transaction = match earlier {
            // One for another: the pool has as many as before.
            Some(earlier) => self.give_up(transaction, &earlier.record).await?,
            None => facts.pool_use.take(transaction, pool)?,
        };
        match self.commit(transaction).await? {
            Commit::Applied(_) => {
                if pool.warm > 0 {
                    self.inner.metrics.warm_claimed(warm.is_some());
                }
                Ok(Some(record))
            }
            Commit::Conflict { .. } => Ok(None),
        }
    }

    /// The hosts as they are now, with what is claimed there.
    pub(super) fn fleet(&self, claimed: &[Stored<CapacityRecord>]) -> Vec<HostFacts> {
        let claimed: BTreeMap<&str, CapacityRecord> =
            claimed.iter().map(|stored| (stored.key.as_str(), stored.record)).collect();
        let facts = |(name, seen): (HostName, Seen)| HostFacts {
            draining: seen.duty != Duty::Serving,
            labels: seen.labels.clone(),
            set_back: self.inner.setbacks.holds(&name),
            claimed: claimed.get(keys::capacity(&name).as_str()).copied().unwrap_or_default(),
            ready: resources(seen),
            name,
        };
        self.inner.hosts.seen().into_iter().map(facts).collect()
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
            egress: pool.egress.clone(),
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
            warm_epoch: 0,
            ends: None,
            expiry: None,
            seat: SeatRecord::default(),
            notice: None,
        }
    }
}

/// Whether a desktop writes to what outlives it on its host's own disk.
fn keeps_data(record: &DesktopRecord) -> bool {
    !record.overlay.is_empty() || matches!(record.home, Some(HomeUse::Volume { .. }))
}

/// Where number and room of a new desktop come from.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// Both are new.
    New,
    /// The number is that of its last life, which failed.
    Failed,
    /// Both are those of a desktop that was made ahead.
    Warm(&'a Stored<WarmRecord>),
}

fn transaction(
    record: &DesktopRecord,
    facts: &Facts,
    claimed: &[Stored<CapacityRecord>],
    storage: Option<&StorageRecord>,
    source: Source<'_>,
) -> Result<Transaction, StoreError> {
    let key = keys::desktop(&record.id);
    let mut transaction = Transaction::new()
        .unless_changed(&key, facts.desktop.as_ref())
        .unless_changed(&facts.pool.key, Some(&facts.pool))
        .unless_changed(&facts.user.key, Some(&facts.user))
        .unless_changed(keys::EPOCH_COUNTER, facts.epoch.as_ref())
        .put_record(&key, record)?
        .put_record(keys::EPOCH_COUNTER, &CounterRecord { last: record.epoch })?;
    let number_key = keys::number(record.number);
    let number = NumberRecord { desktop: record.id.to_string() };
    match source {
        Source::New => {
            transaction = transaction.absent(&number_key).put_record(&number_key, &number)?;
        }
        Source::Failed => {}
        Source::Warm(warm) => {
            transaction = transaction
                .unless_changed(&warm.key, Some(warm))
                .delete(&warm.key)
                .put_record(&number_key, &number)?;
            // One that failed has held another number till now.
            let earlier = facts.desktop.as_ref().map(|stored| &stored.record);
            if let Some(earlier) = earlier.filter(|record| record.state == DesktopState::Failed) {
                transaction = transaction.delete(keys::number(earlier.number));
            }
        }
    }
    if !matches!(source, Source::Warm(_)) {
        let key = keys::capacity(&record.host);
        let capacity = claimed.iter().find(|stored| stored.key == key);
        let there = capacity.map_or_else(CapacityRecord::default, |stored| stored.record);
        transaction = transaction
            .unless_changed(&key, capacity)
            .put_record(&key, &there.with(&record.limits))?;
    }
    for slot in facts.slots() {
        transaction = slot.take(transaction, &record.host, storage, &record.id, record.epoch)?;
    }
    Ok(transaction)
}

fn resources(seen: Seen) -> Result<Resources, String> {
    let (Health::Ready, Some(info)) = (seen.health, seen.info) else { return Err(seen.problem) };
    let images = seen.images.iter().map(known_image);
    let storage = Some(info.storage_id).filter(|id| !id.is_empty());
    Ok(Resources {
        storage: storage.map(|id| StorageRecord { id, shared: info.storage_shared }),
        cpus: info.cpus,
        memory_bytes: info.memory_bytes,
        memory_available_bytes: info.memory_available_bytes,
        overlay_free_bytes: info.overlay_free_bytes,
        max_desktops: info.max_desktops,
        highest_number: placement::highest_number(&info.network),
        images: images.collect(),
        warm: seen.desktops.into_values().map(|desktop| desktop.version).collect(),
    })
}

/// A version as placement knows it.
pub(super) fn known_image(known: &v1::ImageVersion) -> KnownImage {
    KnownImage {
        image: known.image.clone(),
        version: known.version.clone(),
        tags: known.tags.clone(),
    }
}

/// Low numbers fit small networks.
pub(super) fn lowest_free(taken: &BTreeSet<u32>) -> u32 {
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
