//! What a group of changes makes of the books, member by member, before any of it
//! is committed.

use std::collections::{BTreeMap, BTreeSet};

use super::{books::Books, fleet::Fleet};
use crate::{
    desktops::DesktopError,
    names::{HostName, PoolName},
    placement::HostFacts,
    state::{
        CapacityRecord, CounterRecord, LimitsRecord, PoolRecord, PoolUseRecord, Stored,
        TransactionExt as _, WarmRecord, keys,
    },
    store::{StoreError, Transaction},
};

/// See the module's page.
pub(in crate::desktops) struct Draft<'a> {
    books: &'a mut Books,
    fleet: &'a mut Fleet,
    changes: Changes,
}

/// What differs from the books.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    epoch: Option<u64>,
    /// `None`: there is nothing to give back, and that must be so still.
    capacities: BTreeMap<HostName, Option<CapacityRecord>>,
    pool_uses: BTreeMap<PoolName, u32>,
    numbers: BTreeSet<u32>,
    warm_made: Vec<WarmRecord>,
    warm_taken: BTreeSet<String>,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    pub(super) fn new(books: &'a mut Books, fleet: &'a mut Fleet) -> Self {
        Self { books, fleet, changes: Changes::default() }
    }

    /// The hosts, with what is claimed there.
    pub(in crate::desktops) fn hosts(&self) -> &[HostFacts] {
        self.fleet.hosts()
    }

    pub(in crate::desktops) fn host(&self, name: &HostName) -> Option<&HostFacts> {
        self.fleet.get(name)
    }

    /// The epoch of the next start.
    pub(in crate::desktops) fn next_epoch(&self) -> u64 {
        let last = self.changes.epoch.or(self.books.epoch().map(|stored| stored.record.last));
        last.unwrap_or(0) + 1
    }

    /// Gives out an epoch.
    pub(in crate::desktops) fn take_epoch(&mut self) -> u64 {
        let epoch = self.next_epoch();
        self.changes.epoch = Some(epoch);
        epoch
    }

    /// The lowest number that nobody has.
    pub(in crate::desktops) fn free_number(&mut self) -> u32 {
        let (numbers, fleet) = (&self.changes.numbers, &self.fleet);
        self.books.lowest_free(|number| !numbers.contains(&number) && !fleet.is_astray(number))
    }

    /// Gives out a number; that it is free is for the caller's transaction to demand.
    pub(in crate::desktops) fn take_number(&mut self, number: u32) {
        self.changes.numbers.insert(number);
    }

    /// Takes room for a desktop on a host.
    pub(in crate::desktops) fn take_room(&mut self, host: &HostName, limits: &LimitsRecord) {
        let claimed = self.capacity(host).unwrap_or_default().with(limits);
        self.set_capacity(host, Some(claimed));
    }

    /// Gives it back.
    pub(in crate::desktops) fn give_room(&mut self, host: &HostName, limits: &LimitsRecord) {
        let claimed = self.capacity(host).map(|claimed| claimed.without(limits));
        self.set_capacity(host, claimed);
    }

    fn capacity(&self, host: &HostName) -> Option<CapacityRecord> {
        let known = || self.books.capacity(host).map(|stored| stored.record);
        self.changes.capacities.get(host).copied().unwrap_or_else(known)
    }

    fn set_capacity(&mut self, host: &HostName, claimed: Option<CapacityRecord>) {
        self.fleet.claim(host, claimed.unwrap_or_default());
        self.changes.capacities.insert(host.clone(), claimed);
    }

    /// Counts one more desktop of a pool: no two claims both take the last place.
    ///
    /// # Errors
    /// [`DesktopError::PoolFull`].
    pub(in crate::desktops) fn join_pool(&mut self, pool: &PoolRecord) -> Result<(), DesktopError> {
        let present = self.pool_use(&pool.name);
        if pool.max_desktops > 0 && present >= pool.max_desktops {
            return Err(DesktopError::PoolFull { pool: pool.name.clone(), present });
        }
        self.changes.pool_uses.insert(pool.name.clone(), present.saturating_add(1));
        Ok(())
    }

    /// Counts one less.
    pub(in crate::desktops) fn leave_pool(&mut self, pool: &PoolName) {
        let less = self.pool_use(pool).saturating_sub(1);
        self.changes.pool_uses.insert(pool.clone(), less);
    }

    fn pool_use(&self, pool: &PoolName) -> u32 {
        let known = || self.books.pool_use(pool).map_or(0, |stored| stored.record.desktops);
        self.changes.pool_uses.get(pool).copied().unwrap_or_else(known)
    }

    /// All desktops of a pool that were made ahead, and not given to anybody.
    pub(in crate::desktops) fn warm_of(
        &self,
        pool: &PoolName,
    ) -> impl Iterator<Item = &Stored<WarmRecord>> {
        let taken = &self.changes.warm_taken;
        self.books.warm_of(pool).filter(move |stored| !taken.contains(&stored.key))
    }

    /// Those that this group makes.
    pub(in crate::desktops) fn warm_made(
        &self,
        pool: &PoolName,
    ) -> impl Iterator<Item = &WarmRecord> {
        self.changes.warm_made.iter().filter(move |made| made.pool == *pool)
    }

    pub(in crate::desktops) fn make_warm(&mut self, record: WarmRecord) {
        self.changes.warm_made.push(record);
    }

    pub(in crate::desktops) fn take_warm(&mut self, key: &str) {
        self.changes.warm_taken.insert(key.to_owned());
    }

    /// Whether all is known that was made ahead till now.
    pub(in crate::desktops) fn is_whole(&self) -> bool {
        self.books.are_whole()
    }

    /// To go back to.
    pub(super) fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Goes back to what it was.
    pub(super) fn restore(&mut self, before: Changes) {
        let after = std::mem::replace(&mut self.changes, before);
        for host in after.capacities.keys() {
            let claimed = self.capacity(host).unwrap_or_default();
            self.fleet.claim(host, claimed);
        }
    }

    /// How many guards and writes [`Draft::finish`] adds.
    pub(super) fn operations(&self) -> usize {
        let Changes { epoch, capacities, pool_uses, .. } = &self.changes;
        usize::from(epoch.is_some()) + capacities.len() + pool_uses.len()
    }

    /// What the members share, in one transaction. The fleet is again as it is known.
    ///
    /// # Errors
    /// A record cannot be written down.
    pub(super) fn finish(mut self) -> Result<Transaction, StoreError> {
        let mut all = Transaction::new();
        let Changes { epoch, capacities, pool_uses, .. } = &self.changes;
        let books = &self.books;
        if let Some(last) = *epoch {
            all = all
                .unless_changed(keys::EPOCH_COUNTER, books.epoch())
                .put_record(keys::EPOCH_COUNTER, &CounterRecord { last })?;
        }
        for (host, claimed) in capacities {
            let key = keys::capacity(host);
            all = all.unless_changed(&key, books.capacity(host));
            if let Some(claimed) = claimed {
                all = all.put_record(&key, claimed)?;
            }
        }
        for (pool, desktops) in pool_uses {
            let key = keys::pool_use(pool);
            all = all
                .unless_changed(&key, books.pool_use(pool))
                .put_record(&key, &PoolUseRecord { desktops: *desktops })?;
        }
        self.restore(Changes::default());
        Ok(all)
    }
}
