//! What claims and ends share, as this broker knows it: the last epoch, the numbers
//! in use, what is claimed on hosts, how many desktops pools have, and what was made
//! ahead. Kept up by the changes of the store and by this broker's own, so that no
//! claim reads any of it. And, beside what is shared, where desktops lie.
//!
//! Each entry has the revision it was read with, which a transaction demands: what
//! is known too late costs a lost race, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::lodgings::Lodgings;
use crate::{
    names::{HostName, PoolName},
    state::{self, CapacityRecord, CounterRecord, PoolUseRecord, Record, Stored, WarmRecord, keys},
    store::{Event, Range, Revision, StoreError, Write},
};

/// Records under one prefix.
#[derive(Debug)]
struct Shelf<T>(BTreeMap<String, Stored<T>>);

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Books {
    epoch: Shelf<CounterRecord>,
    capacities: Shelf<CapacityRecord>,
    pool_uses: Shelf<PoolUseRecord>,
    warm: Shelf<WarmRecord>,
    lodgings: Lodgings,
    numbers: BTreeMap<u32, Revision>,
    /// All numbers below are in use.
    lowest: u32,
    /// Hosts whose capacity has changed since they were last taken.
    touched: BTreeSet<HostName>,
    /// The epoch was looked up by itself, and was written then: what was written
    /// before that may not be known yet.
    ahead: Revision,
    /// All changes up to this are known.
    followed: Revision,
    /// That holds for where desktops lie, too.
    tracked: bool,
    /// All desktops, warm ones among them, that were claimed up to this are known.
    known: Revision,
}

/// What is read before anything is claimed; the epoch first, so that what is known
/// of the others is never older.
pub(super) const PREFIXES: [&str; 5] =
    [keys::EPOCH_COUNTER, keys::NUMBERS, keys::CAPACITIES, keys::POOL_USES, keys::WARM];

// === impl Shelf ===

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Record> Shelf<T> {
    /// False: something later is known.
    fn note(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        revision: Revision,
    ) -> Result<bool, StoreError> {
        if self.0.get(key).is_some_and(|known| known.revision >= revision) {
            return Ok(false);
        }
        match value {
            Some(value) => {
                let record = state::decode(key, value)?;
                self.0.insert(key.to_owned(), Stored { record, key: key.to_owned(), revision });
            }
            None => drop(self.0.remove(key)),
        }
        Ok(true)
    }

    /// Those that are not `there` at a revision are gone, unless they came later.
    /// Tells which.
    fn retain(&mut self, there: &BTreeSet<&str>, at: Revision) -> Vec<String> {
        let gone = |(key, known): (&String, &Stored<T>)| {
            (known.revision <= at && !there.contains(key.as_str())).then(|| key.clone())
        };
        let gone: Vec<String> = self.0.iter().filter_map(gone).collect();
        for key in &gone {
            self.0.remove(key);
        }
        gone
    }
}

// === impl Books ===

impl Books {
    /// Whether it is among what is kept here.
    pub(super) fn has(key: &str) -> bool {
        key.starts_with(keys::DESKTOPS) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Whether members of a group share it: changed by somebody else, it is to be
    /// learnt, and all plan again.
    pub(super) fn is_shared(key: &str) -> bool {
        Self::has(key) && !key.starts_with(keys::WARM) && !key.starts_with(keys::DESKTOPS)
    }

    /// Notes a key as of a revision; nothing, if something later is known.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(super) fn note(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        revision: Revision,
    ) -> Result<(), StoreError> {
        if key == keys::EPOCH_COUNTER {
            self.epoch.note(key, value, revision)?;
        } else if let Some(host) = key.strip_prefix(keys::CAPACITIES) {
            if self.capacities.note(key, value, revision)? {
                self.touched.extend(HostName::parse("host", host));
            }
        } else if key.starts_with(keys::POOL_USES) {
            self.pool_uses.note(key, value, revision)?;
        } else if key.starts_with(keys::WARM) {
            self.warm.note(key, value, revision)?;
        } else if let Some(number) = key.strip_prefix(keys::NUMBERS) {
            self.note_number(number.parse().ok(), value.is_some(), revision);
        } else {
            self.lodgings.note(key, value, revision)?;
        }
        Ok(())
    }

    fn note_number(&mut self, number: Option<u32>, taken: bool, revision: Revision) {
        // What is no number is nobody's.
        let Some(number) = number else { return };
        if self.numbers.get(&number).is_some_and(|known| *known >= revision) {
            return;
        }
        if taken {
            self.numbers.insert(number, revision);
        } else if self.numbers.remove(&number).is_some() {
            self.lowest = self.lowest.min(number);
        }
    }

    /// Notes a change that the store tells of.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(super) fn hear(&mut self, event: &Event) -> Result<(), StoreError> {
        self.note(&event.key, event.value.as_deref(), event.revision)
    }

    /// Everything up to a revision has been heard.
    pub(super) fn heard_up_to(&mut self, revision: Revision) {
        self.followed = self.followed.max(revision);
        if self.tracked {
            self.known = self.known.max(self.followed);
        }
    }

    /// All changes that come are heard, of desktops too, since these were read.
    pub(super) fn track(&mut self) {
        self.tracked = true;
        self.known = self.known.max(self.followed);
    }

    /// Changes may have been missed.
    pub(super) fn lose_track(&mut self) {
        self.tracked = false;
    }

    /// All desktops have been read as of a revision.
    pub(super) fn know_up_to(&mut self, revision: Revision) {
        self.known = self.known.max(revision);
    }

    /// Notes what this broker has written.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(super) fn wrote(&mut self, writes: &[Write], revision: Revision) -> Result<(), StoreError> {
        for write in writes {
            match write {
                Write::Put { key, value, .. } => self.note(key, Some(value), revision)?,
                Write::Delete { key } => self.note(key, None, revision)?,
            }
        }
        Ok(())
    }

    /// Notes all there is under a prefix.
    ///
    /// # Errors
    /// A record cannot be read.
    pub(super) fn read(&mut self, prefix: &str, range: &Range) -> Result<(), StoreError> {
        let there: BTreeSet<&str> = range.entries.iter().map(|entry| entry.key.as_str()).collect();
        let at = range.revision;
        match prefix {
            keys::DESKTOPS => return self.lodgings.read(range),
            keys::CAPACITIES => {
                for key in self.capacities.retain(&there, at) {
                    let host = key.strip_prefix(keys::CAPACITIES).unwrap_or_default();
                    self.touched.extend(HostName::parse("host", host));
                }
            }
            keys::POOL_USES => drop(self.pool_uses.retain(&there, at)),
            keys::WARM => drop(self.warm.retain(&there, at)),
            keys::NUMBERS => {
                let is_there = |number: u32| there.contains(keys::number(number).as_str());
                self.numbers.retain(|number, known| *known > at || is_there(*number));
                self.lowest = 0;
            }
            _ => drop(self.epoch.retain(&there, at)),
        }
        for entry in &range.entries {
            self.note(&entry.key, Some(&entry.value), entry.revision)?;
        }
        Ok(())
    }

    /// Notes a key that was looked up because something else was known of it.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(super) fn look_up(
        &mut self,
        key: &str,
        found: Option<(&[u8], Revision)>,
    ) -> Result<(), StoreError> {
        let Some((value, revision)) = found else {
            // Later than anything that is known.
            return self.note(key, None, Revision(u64::MAX));
        };
        if key == keys::EPOCH_COUNTER {
            self.ahead = self.ahead.max(revision);
        }
        self.note(key, Some(value), revision)
    }

    /// Whether all that was written before the epoch is known.
    pub(super) fn are_whole(&self) -> bool {
        self.followed >= self.ahead
    }

    /// All desktops that were claimed up to this are known.
    pub(super) fn known(&self) -> Revision {
        self.known
    }

    pub(super) fn lodgings(&self) -> &Lodgings {
        &self.lodgings
    }

    pub(super) fn epoch(&self) -> Option<&Stored<CounterRecord>> {
        self.epoch.0.get(keys::EPOCH_COUNTER)
    }

    pub(super) fn capacity(&self, host: &HostName) -> Option<&Stored<CapacityRecord>> {
        self.capacities.0.get(&keys::capacity(host))
    }

    pub(super) fn pool_use(&self, pool: &PoolName) -> Option<&Stored<PoolUseRecord>> {
        self.pool_uses.0.get(&keys::pool_use(pool))
    }

    /// All desktops of a pool that were made ahead.
    pub(super) fn warm_of(&self, pool: &PoolName) -> impl Iterator<Item = &Stored<WarmRecord>> {
        let prefix = keys::warm_of(pool);
        let from = self.warm.0.range(prefix.clone()..);
        from.take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, stored)| stored)
    }

    /// All that were made ahead on a host.
    pub(super) fn warm_on(&self, host: &HostName) -> Vec<WarmRecord> {
        let all = self.warm.0.values().map(|stored| &stored.record);
        all.filter(|record| record.host == *host).cloned().collect()
    }

    /// Hosts whose capacity has changed since this was last asked.
    pub(super) fn take_touched(&mut self) -> BTreeSet<HostName> {
        std::mem::take(&mut self.touched)
    }

    /// The lowest number that is free, and free for the caller as well. Low numbers
    /// fit small networks.
    pub(super) fn lowest_free(&mut self, free: impl Fn(u32) -> bool) -> u32 {
        let mut number = self.lowest.max(1);
        while self.numbers.contains_key(&number) && number < u32::MAX {
            number += 1;
        }
        self.lowest = number;
        while (self.numbers.contains_key(&number) || !free(number)) && number < u32::MAX {
            number += 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Entry;

    fn capacity(desktops: i64) -> Vec<u8> {
        state::encode("", &CapacityRecord { desktops, ..CapacityRecord::default() }).unwrap()
    }

    proptest! {
        #[test]
        fn the_lowest_free_number_is_free_and_the_lowest(
            steps in prop::collection::vec((1_u32..20, any::<bool>()), 0..60),
            also in prop::collection::btree_set(1_u32..20, 0..5),
        ) {
            let mut books = Books::default();
            let mut taken = BTreeSet::new();
            for (revision, (number, take)) in (1..).zip(steps) {
                let value = take.then_some(&b"{}"[..]);
                books.note(&keys::number(number), value, Revision(revision)).unwrap();
                if take { taken.insert(number) } else { taken.remove(&number) };
                let free = books.lowest_free(|number| !also.contains(&number));
                let is_free = |number: &u32| !taken.contains(number) && !also.contains(number);
                prop_assert_eq!(Some(free), (1..).find(is_free));
            }
        }
    }

    #[test]
    fn what_is_known_later_stays() {
        let (mut books, host) = (Books::default(), "h1".parse::<HostName>().unwrap());
        let key = keys::capacity(&host);
        let writes = [Write::Put { key: key.clone(), value: capacity(2), lease: None }];
        books.wrote(&writes, Revision(9)).unwrap();
        let known = |books: &Books| books.capacity(&host).map(|stored| stored.record.desktops);
        // What the store tells of comes after what this broker wrote itself.
        let older = Event { key: key.clone(), value: Some(capacity(1)), revision: Revision(8) };
        books.hear(&older).unwrap();
        books.hear(&Event { value: None, ..older }).unwrap();
        books.read(keys::CAPACITIES, &Range { entries: vec![], revision: Revision(8) }).unwrap();
        assert_eq!(known(&books), Some(2));
        assert_eq!(books.take_touched(), BTreeSet::from([host.clone()]));
        let entry =
            Entry { key: key.clone(), value: capacity(3), revision: Revision(10), leased: false };
        let range = Range { entries: vec![entry], revision: Revision(12) };
        books.read(keys::CAPACITIES, &range).unwrap();
        assert_eq!(known(&books), Some(3));
        books.read(keys::CAPACITIES, &Range { entries: vec![], revision: Revision(12) }).unwrap();
        assert_eq!(known(&books), None);
    }

    #[test]
    fn an_epoch_looked_up_by_itself_is_ahead_of_the_rest() {
        let mut books = Books::default();
        let value = state::encode("", &CounterRecord { last: 7 }).unwrap();
        books.look_up(keys::EPOCH_COUNTER, Some((&value, Revision(5)))).unwrap();
        assert!(!books.are_whole());
        books.heard_up_to(Revision(4));
        assert!(!books.are_whole());
        books.heard_up_to(Revision(5));
        assert!(books.are_whole());
        assert_eq!(books.epoch().unwrap().record.last, 7);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = Books::default().note("capacity/h1", Some(b"{}"), Revision(1));
        assert!(matches!(told, Err(StoreError::Damaged { .. })), "{told:?}");
    }
}
