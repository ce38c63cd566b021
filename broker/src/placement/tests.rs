use proptest::prelude::{Strategy as Any, *};

use super::*;
use crate::state::{Strategy, Term};

const POLICY: Policy = Policy {
    memory_overcommit_percent: 200,
    cpu_overcommit_percent: 100,
    memory_reserve_mib: 256,
    overlay_reserve_mib: 512,
    strategy: Strategy::Spread,
    weight_room: 100,
    weight_image: 10,
    weight_labels: 50,
};

fn host(name: &str) -> HostFacts {
    let demo =
        KnownImage { image: "demo".into(), version: "1".into(), tags: vec!["stable".into()] };
    HostFacts {
        name: name.parse().unwrap(),
        ready: Ok(Resources {
            cpus: 2,
            memory_bytes: 4096 * MIB,
            memory_available_bytes: 3000 * MIB,
            overlay_free_bytes: 20_000 * MIB,
            storage: None,
            max_desktops: 10,
            highest_number: 100,
            images: vec![demo],
            warm: BTreeSet::new(),
        }),
        draining: false,
        labels: BTreeMap::new(),
        set_back: false,
        claimed: CapacityRecord::default(),
    }
}

fn resources(host: &mut HostFacts) -> &mut Resources {
    host.ready.as_mut().unwrap()
}

fn demand() -> Demand {
    Demand {
        image: "demo:stable".parse().unwrap(),
        limits: LimitsRecord {
            memory_mib: 2048,
            cpu_millis: 500,
            pids: 512,
            ..LimitsRecord::default()
        },
        new_overlay_mib: 1024,
        bound_to: Vec::new(),
        number: 1,
        wishes: HostPolicy::default(),
    }
}

fn reasons(host: HostFacts, demand: &Demand) -> Vec<Reason> {
    place(&[host], demand, POLICY, 7).unwrap_err().0.remove(0).1
}

#[test]
fn each_filter_names_its_reason() {
    let changed = |change: fn(&mut HostFacts)| {
        let mut host = host("h1");
        change(&mut host);
        reasons(host, &demand())
    };
    assert_eq!(changed(|h| h.ready = Err("silent".into())), [Reason::NotReady("silent".into())]);
    assert_eq!(changed(|h| resources(h).images.clear()), [Reason::NoImage(demand().image)]);
    assert_eq!(changed(|h| h.claimed.desktops = 10), [Reason::Full { most: 10 }]);
    assert_eq!(
        changed(|h| h.claimed.memory_mib = 7000),
        [Reason::MemoryClaimed { wanted: 2048, left: 1192 }]
    );
    assert_eq!(
        changed(|h| resources(h).memory_available_bytes = 100 * MIB),
        [Reason::MemoryLow { available: 100, reserve: 256 }]
    );
    assert_eq!(
        changed(|h| h.claimed.cpu_millis = 1600),
        [Reason::CpuClaimed { wanted: 500, left: 400 }]
    );
    assert_eq!(
        changed(|h| resources(h).overlay_free_bytes = 1500 * MIB),
        [Reason::DiskFull { wanted: 1536, free: 1500 }]
    );
    assert_eq!(
        changed(|h| resources(h).highest_number = 0),
        [Reason::NumberOutOfRange { number: 1, highest: 0 }]
    );
}

#[test]
fn a_warm_desktop_needs_no_room_but_all_else() {
    let suits = |change: fn(&mut HostFacts)| {
        let mut host = host("h1");
        change(&mut host);
        suits(&host, &Demand { new_overlay_mib: 64, ..demand() }, POLICY)
    };
    assert!(suits(|_| {}));
    // It is among what is claimed.
    assert!(suits(|h| {
        h.claimed = CapacityRecord { desktops: 10, memory_mib: 9000, cpu_millis: 2000 };
    }));
    assert!(!suits(|h| h.ready = Err("silent".into())));
    assert!(!suits(|h| h.draining = true));
    assert!(!suits(|h| resources(h).images.clear()));
    assert!(!suits(|h| resources(h).memory_available_bytes = 100 * MIB));
    // Its user's new home.
    assert!(!suits(|h| resources(h).overlay_free_bytes = 100 * MIB));
    let host = host("h1");
    let elsewhere = Place { host: "h2".parse().unwrap(), storage: None };
    assert!(!super::suits(&host, &Demand { bound_to: vec![elsewhere], ..demand() }, POLICY));
    let require = Term::parse_all("require", &["gpu".to_owned()]).unwrap();
    let wishes = HostPolicy { require, ..HostPolicy::default() };
    assert!(!super::suits(&host, &Demand { wishes, ..demand() }, POLICY));
}

#[test]
fn all_reasons_of_all_hosts_are_told() {
    let mut full = host("h1");
    full.claimed = CapacityRecord { desktops: 10, memory_mib: 9000, cpu_millis: 0 };
    let mut silent = host("h2");
    silent.ready = Err("no answer for 12 s".into());
    let told = place(&[full, silent], &demand(), POLICY, 7).unwrap_err().to_string();
    assert_eq!(
        told,
        "no host has room for this desktop; h1: it has the 10 desktops it takes, 2048 MiB of memory wanted, \
         0 MiB left to give out; h2: it is not ready: no answer for 12 s"
    );
    assert_eq!(place(&[], &demand(), POLICY, 7).unwrap_err().to_string(), "there is no host yet");
}

#[test]
fn a_kept_disk_binds_to_its_host_and_needs_no_new_room() {
    let mut near = host("h2");
    resources(&mut near).overlay_free_bytes = 0;
    let at = Place { host: "h2".parse().unwrap(), storage: None };
    let bound = Demand { bound_to: vec![at], new_overlay_mib: 0, ..demand() };
    assert_eq!(place(&[host("h1"), near], &bound, POLICY, 7).unwrap().as_str(), "h2");
}

fn storage(id: &str, shared: bool) -> Option<StorageRecord> {
    Some(StorageRecord { id: id.to_owned(), shared })
}

/// Hosts on which data can be started that `h1` had on `kept`.
fn reached_by(kept: Option<StorageRecord>, h1: &str, h2: &str, shared: bool) -> Vec<String> {
    let with = |name: &str, id: &str| {
        let mut host = host(name);
        resources(&mut host).storage = storage(id, shared);
        host
    };
    let at = Place { host: "h1".parse().unwrap(), storage: kept };
    let demand = Demand { bound_to: vec![at], ..demand() };
    let verdicts = explain(&[with("h1", h1), with("h2", h2)], &demand, POLICY, 7);
    let fit = verdicts.into_iter().filter(|verdict| verdict.outcome.is_ok());
    fit.map(|verdict| verdict.host.to_string()).collect()
}

#[test]
fn data_on_shared_storage_is_bound_to_that_and_other_data_to_its_host() {
    assert_eq!(reached_by(storage("a", true), "a", "a", true), ["h1", "h2"]);
    assert_eq!(reached_by(storage("a", true), "a", "b", true), ["h1"]);
    // The host comes up without the mount: the data would be made anew.
    assert_eq!(reached_by(storage("a", true), "b", "a", true), ["h2"]);
    assert!(reached_by(storage("a", false), "b", "b", false).is_empty());
    // A copy of the machine has the same names, and other disks.
    assert_eq!(reached_by(storage("a", false), "a", "a", false), ["h1"]);
    assert_eq!(reached_by(storage("a", false), "a", "a", true), ["h1"]);
    assert_eq!(reached_by(storage("a", true), "a", "a", false), ["h1"]);
    // Noted before storage had names.
    assert_eq!(reached_by(None, "a", "a", true), ["h1"]);
}

#[test]
fn storage_that_is_not_there_is_told_by_name() {
    let mut bare = host("h1");
    resources(&mut bare).storage = storage("b", true);
    let at = Place { host: "h1".parse().unwrap(), storage: storage("a", true) };
    let told = reasons(bare, &Demand { bound_to: vec![at], ..demand() });
    assert_eq!(told, [Reason::StorageMissing { wanted: "a".into(), there: "b".into() }]);
    assert!(told[0].to_string().contains("not mounted"), "{}", told[0]);
}

#[test]
fn versions_and_tags_are_told_apart() {
    let wanted = |image: &str| {
        place(&[host("h1")], &Demand { image: image.parse().unwrap(), ..demand() }, POLICY, 7)
    };
    assert!(wanted("demo@1").is_ok());
    for other in ["demo:1", "demo@stable", "demo:next", "other:stable"] {
        assert!(lacks_image(&wanted(other).unwrap_err()), "{other}");
    }
}

fn terms(texts: &[&str]) -> Vec<Term> {
    texts.iter().map(|text| Term::parse("label", text).unwrap()).collect()
}

fn labelled(name: &str, key: &str, value: &str) -> HostFacts {
    HostFacts { labels: BTreeMap::from([(key.to_owned(), value.to_owned())]), ..host(name) }
}

#[test]
fn pools_choose_by_labels() {
    let hosts = [host("h1"), labelled("h2", "gpu", "a40"), labelled("h3", "room", "lab")];
    let chosen = |wishes: HostPolicy| {
        place(&hosts, &Demand { wishes, ..demand() }, POLICY, 7).map(|name| name.to_string())
    };
    let policy = HostPolicy::default;
    let require = terms(&["gpu"]);
    assert_eq!(chosen(HostPolicy { require, ..policy() }).unwrap(), "h2");
    let forbid = terms(&["gpu=a40", "room"]);
    assert_eq!(chosen(HostPolicy { forbid, ..policy() }).unwrap(), "h1");
    let prefer = terms(&["room=lab"]);
    assert_eq!(chosen(HostPolicy { prefer, ..policy() }).unwrap(), "h3");
    let avoid = terms(&["room", "gpu"]);
    assert_eq!(chosen(HostPolicy { avoid, ..policy() }).unwrap(), "h1");
    let require = terms(&["gpu", "room"]);
    let told = chosen(HostPolicy { require, ..policy() }).unwrap_err().to_string();
    assert!(told.contains("h3: it has no label gpu, which the pool requires"), "{told}");
}

#[test]
fn desktops_go_apart_or_side_by_side() {
    let mut used = host("h2");
    used.claimed = CapacityRecord { desktops: 2, memory_mib: 4096, cpu_millis: 0 };
    let hosts = [host("h1"), used];
    let by = |strategy| {
        let wishes = HostPolicy { strategy: Some(strategy), ..HostPolicy::default() };
        place(&hosts, &Demand { wishes, ..demand() }, POLICY, 7).unwrap().to_string()
    };
    assert_eq!(by(Strategy::Spread), "h1");
    assert_eq!(by(Strategy::Pack), "h2");
}

#[test]
fn a_warm_version_counts_and_a_failure_counts_most() {
    let mut warm = host("h2");
    resources(&mut warm).warm.insert("1".into());
    let mut hosts = [host("h1"), warm, host("h3")];
    for seed in 0..20 {
        assert_eq!(place(&hosts, &demand(), POLICY, seed).unwrap().as_str(), "h2");
    }
    hosts[1].set_back = true;
    assert_ne!(place(&hosts, &demand(), POLICY, 7).unwrap().as_str(), "h2");
    let [_, only, _] = hosts;
    assert_eq!(place(&[only], &demand(), POLICY, 7).unwrap().as_str(), "h2", "no other will do");
}

#[test]
fn what_is_drained_takes_nothing() {
    let draining = HostFacts { draining: true, ..host("h1") };
    assert_eq!(reasons(draining, &demand()), [Reason::Draining]);
}

#[test]
fn of_many_hosts_the_one_that_fits_is_found_and_seeds_spread() {
    let mut hosts: Vec<HostFacts> = (0..1000).map(|n| host(&format!("h{n}"))).collect();
    let chosen: BTreeSet<HostName> =
        (0..200).map(|seed| place(&hosts, &demand(), POLICY, seed).unwrap()).collect();
    assert!(chosen.len() > 100, "{} of 200 differ", chosen.len());
    for host in &mut hosts {
        host.draining = host.name.as_str() != "h777";
    }
    for seed in 0..20 {
        assert_eq!(place(&hosts, &demand(), POLICY, seed).unwrap().as_str(), "h777");
    }
}

#[test]
fn the_network_bounds_the_numbers() {
    let of = |network: &str, told: u32| {
        highest_number(&HostInfo {
            network: network.into(),
            highest_number: told,
            ..HostInfo::default()
        })
    };
    assert_eq!(of("10.77.0.0/16", 0), 65_533);
    assert_eq!(of("10.77.0.0/24", 0), 253);
    assert_eq!(of("10.77.0.0/24", 100), 100, "a range within it");
    assert_eq!(of("", 65_534), 65_534, "without a network");
    for unreadable in ["", "10.77.0.0", "x/y", "10.0.0.0/33", "10.0.0.0/31", "10.0.0.0/-1"] {
        assert_eq!(of(unreadable, 0), 0, "{unreadable}");
    }
}

prop_compose! {
    fn any_host(index: usize)(
        ready in prop::bool::weighted(0.8),
        desktops in 0_i64..15,
        memory_mib in 0_i64..10_000,
        free in 0_i64..5_000,
    ) -> HostFacts {
        let mut host = host(&format!("h{index}"));
        host.claimed = CapacityRecord { desktops, memory_mib, cpu_millis: 0 };
        resources(&mut host).overlay_free_bytes = free * MIB;
        if !ready { host.ready = Err("silent".into()); }
        host
    }
}

fn any_hosts() -> impl Any<Value = Vec<HostFacts>> {
    (0_usize..8).prop_flat_map(|count| (0..count).map(any_host).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn the_chosen_host_has_nothing_against_it(hosts in any_hosts()) {
        match place(&hosts, &demand(), POLICY, 7) {
            Ok(name) => {
                let chosen: Vec<_> = hosts.iter().filter(|host| host.name == name).cloned().collect();
                prop_assert_eq!(place(&chosen, &demand(), POLICY, 7), Ok(name));
            }
            Err(NoRoom(against)) => {
                prop_assert_eq!(against.len(), hosts.len());
                prop_assert!(against.iter().all(|(_, reasons)| !reasons.is_empty()));
            }
        }
    }

    #[test]
    fn the_order_of_hosts_does_not_matter(hosts in any_hosts()) {
        let mut backwards = hosts.clone();
        backwards.reverse();
        prop_assert_eq!(place(&hosts, &demand(), POLICY, 7).ok(), place(&backwards, &demand(), POLICY, 7).ok());
    }

    #[test]
    fn the_walk_meets_every_host_once(count in 0_usize..300, seed in any::<u64>()) {
        let hosts: Vec<HostFacts> = (0..count).map(|n| host(&format!("h{n}"))).collect();
        let met: BTreeSet<&HostName> = walk(&hosts, seed).map(|host| &host.name).collect();
        prop_assert_eq!(met.len(), count);
        prop_assert_eq!(walk(&hosts, seed).count(), count);
    }

    #[test]
    fn the_explanation_is_the_placement(hosts in any_hosts(), seed in any::<u64>()) {
        let told = explain(&hosts, &demand(), POLICY, seed);
        prop_assert_eq!(told.len(), hosts.len());
        let first = told.first().filter(|verdict| verdict.outcome.is_ok()).map(|verdict| verdict.host.clone());
        prop_assert_eq!(place(&hosts, &demand(), POLICY, seed).ok(), first);
        for verdict in told {
            prop_assert!(verdict.outcome.map_or_else(|reasons| !reasons.is_empty(), |_| true));
        }
    }

    #[test]
    fn extreme_figures_do_not_overflow(memory in any::<i64>(), claimed in any::<i64>(), cpus in any::<i64>()) {
        let mut host = host("h1");
        resources(&mut host).memory_bytes = memory;
        resources(&mut host).cpus = cpus;
        host.claimed = CapacityRecord { desktops: claimed, memory_mib: claimed, cpu_millis: claimed };
        // Whatever the answer, it is one of the two and no panic.
        prop_assert!(place(&[host], &demand(), POLICY, 7).map_or_else(|NoRoom(against)| against.len() == 1, |_| true));
    }
}
