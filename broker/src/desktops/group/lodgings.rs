//! Where desktops lie and whose they are, as this broker knows it: what happens to
//! a host, or is asked by a user, costs no more than their own desktops.
//!
//! What is known may be old. Who acts upon it reads the records of those few, and
//! waits first until all claims are known that count for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    names::{DesktopId, HostName, UserName},
    state::{self, DesktopRecord, DesktopState, Record, keys},
    store::{Range, Revision, StoreError},
};

/// A desktop that holds room on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::desktops) struct Lodger {
    pub(in crate::desktops) id: DesktopId,
    pub(in crate::desktops) host: HostName,
    pub(in crate::desktops) number: u32,
    pub(in crate::desktops) epoch: u64,
    /// The broker that starts it; none: it is not being started.
    pub(in crate::desktops) pilot: Option<String>,
}

/// What counts here of a desktop's record.
#[derive(Serialize, Deserialize)]
struct Glance {
    state: DesktopState,
    number: u32,
    epoch: u64,
    host: HostName,
    #[serde(default)]
    pilot: String,
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Lodgings {
    desktops: BTreeMap<Arc<DesktopId>, Known>,
    on_hosts: HashMap<HostName, BTreeSet<Arc<DesktopId>>>,
    of_users: HashMap<UserName, BTreeSet<Arc<DesktopId>>>,
}

#[derive(Debug)]
struct Known {
    revision: Revision,
    lodging: Option<Lodging>,
}

#[derive(Debug)]
struct Lodging {
    host: HostName,
    number: u32,
    epoch: u64,
    pilot: Option<String>,
}

impl Record for Glance {
    const VERSION: u32 = DesktopRecord::VERSION;
}

// === impl Lodgings ===

impl Lodgings {
    /// Notes a record as of a revision; nothing, if something later is known.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(super) fn note(
        &mut self,
        key: &str,
        value: Option<&[u8]>,
        revision: Revision,
    ) -> Result<(), StoreError> {
        // What is no desktop's key is nobody's.
        let Some(id) = key.strip_prefix(keys::DESKTOPS).and_then(DesktopId::from_key) else {
            return Ok(());
        };
        if self.desktops.get(&id).is_some_and(|known| known.revision >= revision) {
            return Ok(());
        }
        let glance = value.map(|value| state::decode::<Glance>(key, value)).transpose()?;
        self.forget(&id);
        if let Some(glance) = glance {
            self.keep(Arc::new(id), glance, revision);
        }
        Ok(())
    }

    fn keep(&mut self, id: Arc<DesktopId>, glance: Glance, revision: Revision) {
        let Glance { state, number, epoch, host, pilot } = glance;
        let lodging = state.holds_capacity().then(|| {
            let pilot = (state == DesktopState::Starting).then_some(pilot);
            Lodging { host, number, epoch, pilot }
        });
        if let Some(lodging) = &lodging {
            self.on_hosts.entry(lodging.host.clone()).or_default().insert(Arc::clone(&id));
        }
        self.of_users.entry(id.user.clone()).or_default().insert(Arc::clone(&id));
        self.desktops.insert(id, Known { revision, lodging });
    }

    fn forget(&mut self, id: &DesktopId) {
        let Some(Known { lodging, .. }) = self.desktops.remove(id) else { return };
        if let Some(lodging) = lodging {
            take(&mut self.on_hosts, &lodging.host, id);
        }
        take(&mut self.of_users, &id.user, id);
    }

    /// Notes all records there are. One that ended keeps its record for a while, so
    /// what was read before that does not bring it back.
    ///
    /// # Errors
    /// A record cannot be read.
    pub(super) fn read(&mut self, range: &Range) -> Result<(), StoreError> {
        let there: BTreeSet<&str> = range.entries.iter().map(|entry| entry.key.as_str()).collect();
        let gone = |(id, known): (&Arc<DesktopId>, &Known)| {
            let gone =
                known.revision <= range.revision && !there.contains(keys::desktop(id).as_str());
            gone.then(|| Arc::clone(id))
        };
        let gone: Vec<Arc<DesktopId>> = self.desktops.iter().filter_map(gone).collect();
        gone.iter().for_each(|id| self.forget(id));
        for entry in &range.entries {
            self.note(&entry.key, Some(&entry.value), entry.revision)?;
        }
        Ok(())
    }

    /// Those on a host.
    pub(super) fn on(&self, host: &HostName) -> Vec<Lodger> {
        self.on_hosts.get(host).into_iter().flatten().filter_map(|id| self.lodger(id)).collect()
    }

    /// Those that are being started, on whichever host.
    pub(super) fn starting(&self) -> Vec<Lodger> {
        let starts = |known: &Known| known.lodging.as_ref().is_some_and(|one| one.pilot.is_some());
        let starting = self.desktops.iter().filter(|(_, known)| starts(known));
        starting.filter_map(|(id, _)| self.lodger(id)).collect()
    }

    /// All records of a user, also of what has ended.
    pub(super) fn of(&self, user: &UserName) -> Vec<DesktopId> {
        self.of_users.get(user).into_iter().flatten().map(|id| id.as_ref().clone()).collect()
    }

    fn lodger(&self, id: &DesktopId) -> Option<Lodger> {
        let Lodging { host, number, epoch, pilot } = self.desktops.get(id)?.lodging.as_ref()?;
        Some(Lodger {
            id: id.clone(),
            host: host.clone(),
            number: *number,
            epoch: *epoch,
            pilot: pilot.clone(),
        })
    }
}

fn take<K: Eq + Hash>(among: &mut HashMap<K, BTreeSet<Arc<DesktopId>>>, key: &K, id: &DesktopId) {
    if let Some(of_key) = among.get_mut(key) {
        of_key.remove(id);
        if of_key.is_empty() {
            among.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Entry;

    fn value(state: DesktopState, host: u8, epoch: u64) -> Vec<u8> {
        let host = format!("h{host}").parse().unwrap();
        let glance = Glance { state, number: 1, epoch, host, pilot: "b1".to_owned() };
        state::encode("", &glance).unwrap()
    }

    fn state_of(word: u8) -> Option<DesktopState> {
        use DesktopState::{Failed, Gone, Running, Starting, Stopping};
        [None, Some(Starting), Some(Running), Some(Stopping), Some(Gone), Some(Failed)]
            [usize::from(word)]
    }

    proptest! {
        /// However changes arrive, once or twice, late, or by reading all: what is
        /// known in the end is what is there, and no index has more or less.
        #[test]
        fn what_is_known_is_what_is_there(
            steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..6, any::<bool>()), 1..60),
            read_at in 0_usize..60,
        ) {
            let mut lodgings = Lodgings::default();
            let mut there: BTreeMap<String, (DesktopState, u8, u64, Vec<u8>)> = BTreeMap::new();
            let mut late = Vec::new();
            let mut range = Range { entries: Vec::new(), revision: Revision(0) };
            for (at, (user, host, word, now)) in (0..).zip(steps) {
                let epoch = at as u64 + 1;
                let key = format!("desktop/p/u{user}");
                let value = state_of(word).map(|state| (state, value(state, host, epoch)));
                match value.clone() {
                    Some((state, value)) => {
                        there.insert(key.clone(), (state, host, epoch, value));
                    }
                    None => drop(there.remove(&key)),
                }
                let value = value.map(|(_, value)| value);
                // Its own writes this broker knows at once, and hears of again.
                if now && value.is_some() {
                    lodgings.note(&key, value.as_deref(), Revision(epoch)).unwrap();
                }
                late.push((key, value, Revision(epoch)));
                if at == read_at {
                    let entry = |(key, (_, _, epoch, value)): (&String, &(_, _, u64, Vec<u8>))| Entry {
                        key: key.clone(),
                        value: value.clone(),
                        revision: Revision(*epoch),
                        leased: false,
                    };
                    range.entries = there.iter().map(entry).collect();
                    range.revision = Revision(epoch);
                    lodgings.read(&range).unwrap();
                }
            }
            for (key, value, revision) in late {
                lodgings.note(&key, value.as_deref(), revision).unwrap();
            }
            for host in 0..3 {
                let known: BTreeSet<(String, u64, bool)> = lodgings
                    .on(&format!("h{host}").parse().unwrap())
                    .into_iter()
                    .map(|one| (keys::desktop(&one.id), one.epoch, one.pilot.is_some()))
                    .collect();
                let true_ones: BTreeSet<(String, u64, bool)> = there
                    .iter()
                    .filter(|(_, (state, on, _, _))| *on == host && state.holds_capacity())
                    .map(|(key, (state, _, epoch, _))| {
                        (key.clone(), *epoch, *state == DesktopState::Starting)
                    })
                    .collect();
                prop_assert_eq!(known, true_ones);
            }
            for user in 0..4 {
                let known = lodgings.of(&format!("u{user}").parse().unwrap());
                prop_assert_eq!(known.len(), usize::from(there.contains_key(&format!("desktop/p/u{user}"))));
            }
            let starting = there.values().filter(|(state, ..)| *state == DesktopState::Starting);
            prop_assert_eq!(lodgings.starting().len(), starting.count());
        }
    }
}
