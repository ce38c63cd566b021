//! All hosts as placement sees them, kept up as they change: no claim reads them
//! all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    desktops::{known_image, setback::Setbacks},
    hosts::{Health, Hosts, Seen},
    names::HostName,
    placement::{self, HostFacts, Resources},
    state::{CapacityRecord, Duty, StorageRecord},
};

/// See the module's page.
#[derive(Default)]
pub(super) struct Fleet {
    /// In the order of their names.
    hosts: Vec<HostFacts>,
    places: HashMap<HostName, usize>,
    /// Numbers of desktops on hosts that the store does not know: they hold their
    /// addresses all the same.
    strays: BTreeMap<HostName, BTreeSet<u32>>,
    set_back: BTreeSet<HostName>,
}

// === impl Fleet ===

impl Fleet {
    /// Takes in what has changed. `claimed`: of a host that is new.
    pub(super) fn refresh(
        &mut self,
        hosts: &Hosts,
        setbacks: &Setbacks,
        claimed: impl Fn(&HostName) -> CapacityRecord,
    ) {
        let mut gone = BTreeSet::new();
        let mut sort = false;
        for name in hosts.take_touched() {
            let Some((facts, strays)) = hosts.look(&name, |seen| facts(&name, seen)) else {
                self.strays.remove(&name);
                gone.insert(name);
                continue;
            };
            match strays.is_empty() {
                true => drop(self.strays.remove(&name)),
                false => drop(self.strays.insert(name.clone(), strays)),
            }
            match self.places.get(&name).and_then(|place| self.hosts.get_mut(*place)) {
                Some(known) => {
                    let (set_back, claimed) = (known.set_back, known.claimed);
                    *known = HostFacts { set_back, claimed, ..facts };
                }
                None => {
                    let claimed = claimed(&name);
                    self.hosts.push(HostFacts { claimed, ..facts });
                    sort = true;
                }
            }
        }
        if sort || !gone.is_empty() {
            self.hosts.retain(|host| !gone.contains(&host.name));
            self.hosts.sort_by(|one, other| one.name.cmp(&other.name));
            let places = self.hosts.iter().zip(0..).map(|(host, place)| (host.name.clone(), place));
            self.places = places.collect();
        }
        let set_back = setbacks.all();
        for name in set_back.union(&self.set_back.clone()) {
            if let Some(host) = self.get_mut(name) {
                host.set_back = set_back.contains(name);
            }
        }
        self.set_back = set_back;
    }

    /// What is claimed on a host is this now.
    pub(super) fn claim(&mut self, host: &HostName, claimed: CapacityRecord) {
        if let Some(host) = self.get_mut(host) {
            host.claimed = claimed;
        }
    }

    pub(super) fn hosts(&self) -> &[HostFacts] {
        &self.hosts
    }

    pub(super) fn get(&self, host: &HostName) -> Option<&HostFacts> {
        self.places.get(host).and_then(|place| self.hosts.get(*place))
    }

    fn get_mut(&mut self, host: &HostName) -> Option<&mut HostFacts> {
        self.places.get(host).and_then(|place| self.hosts.get_mut(*place))
    }

    /// Whether a desktop that the store does not know has the number.
    pub(super) fn is_astray(&self, number: u32) -> bool {
        self.strays.values().any(|strays| strays.contains(&number))
    }
}

fn facts(name: &HostName, seen: &Seen) -> (HostFacts, BTreeSet<u32>) {
    let facts = HostFacts {
        name: name.clone(),
        ready: resources(seen),
        draining: seen.duty != Duty::Serving,
        labels: seen.labels.clone(),
        set_back: false,
        claimed: CapacityRecord::default(),
    };
    (facts, seen.strays.clone())
}

fn resources(seen: &Seen) -> Result<Resources, String> {
    let (Health::Ready, Some(info)) = (seen.health, &seen.info) else {
        return Err(seen.problem.clone());
    };
    let storage = Some(&info.storage_id).filter(|id| !id.is_empty());
    Ok(Resources {
        storage: storage.map(|id| StorageRecord { id: id.clone(), shared: info.storage_shared }),
        cpus: info.cpus,
        memory_bytes: info.memory_bytes,
        memory_available_bytes: info.memory_available_bytes,
        overlay_free_bytes: info.overlay_free_bytes,
        max_desktops: info.max_desktops,
        highest_number: placement::highest_number(info),
        images: seen.images.iter().map(known_image).collect(),
        warm: seen.desktops.values().map(|desktop| desktop.version.clone()).collect(),
    })
}
