use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    memory_overcommit_percent: 200,
    cpu_overcommit_percent: 100,
    memory_reserve_mib: 256,
    overlay_reserve_mib: 512,
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
            max_desktops: 10,
            highest_number: 100,
            images: vec![demo],
        }),
        claimed: CapacityRecord::default(),
    }
}

fn resources(host: &mut HostFacts) -> &mut Resources {
    host.ready.as_mut().unwrap()
}

fn demand() -> Demand {
    Demand {
        image: "demo:stable".parse().unwrap(),
        limits: LimitsRecord { memory_mib: 2048, cpu_millis: 500, pids: 512 },
        new_overlay_mib: 1024,
        bound_to: None,
        number: 1,
    }
}

fn reasons(host: HostFacts, demand: &Demand) -> Vec<Reason> {
    place(&[host], demand, POLICY).unwrap_err().0.remove(0).1
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
fn all_reasons_of_all_hosts_are_told() {
    let mut full = host("h1");
    full.claimed = CapacityRecord { desktops: 10, memory_mib: 9000, cpu_millis: 0 };
    let mut silent = host("h2");
    silent.ready = Err("no answer for 12 s".into());
    let told = place(&[full, silent], &demand(), POLICY).unwrap_err().to_string();
    assert_eq!(
        told,
        "no host has room for this desktop; h1: it has the 10 desktops it takes, 2048 MiB of memory wanted, \
         0 MiB left to give out; h2: it is not ready: no answer for 12 s"
    );
    assert_eq!(place(&[], &demand(), POLICY).unwrap_err().to_string(), "there is no host yet");
}

#[test]
fn a_kept_disk_binds_to_its_host_and_needs_no_new_room() {
    let mut near = host("h2");
    resources(&mut near).overlay_free_bytes = 0;
    let bound = Demand { bound_to: Some("h2".parse().unwrap()), new_overlay_mib: 0, ..demand() };
    assert_eq!(place(&[host("h1"), near], &bound, POLICY).unwrap().as_str(), "h2");
}

#[test]
fn versions_and_tags_are_told_apart() {
    let wanted = |image: &str| {
        place(&[host("h1")], &Demand { image: image.parse().unwrap(), ..demand() }, POLICY)
    };
    assert!(wanted("demo@1").is_ok());
    for other in ["demo:1", "demo@stable", "demo:next", "other:stable"] {
        assert!(lacks_image(&wanted(other).unwrap_err()), "{other}");
    }
}

#[test]
fn the_network_bounds_the_numbers() {
    assert_eq!(highest_number("10.77.0.0/16"), 65_533);
    assert_eq!(highest_number("10.77.0.0/24"), 253);
    for unreadable in ["", "10.77.0.0", "x/y", "10.0.0.0/33", "10.0.0.0/31", "10.0.0.0/-1"] {
        assert_eq!(highest_number(unreadable), 0, "{unreadable}");
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

fn any_hosts() -> impl Strategy<Value = Vec<HostFacts>> {
    (0_usize..8).prop_flat_map(|count| (0..count).map(any_host).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn the_chosen_host_has_nothing_against_it(hosts in any_hosts()) {
        match place(&hosts, &demand(), POLICY) {
            Ok(name) => {
                let chosen: Vec<_> = hosts.iter().filter(|host| host.name == name).cloned().collect();
                prop_assert_eq!(place(&chosen, &demand(), POLICY), Ok(name));
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
        prop_assert_eq!(place(&hosts, &demand(), POLICY).ok(), place(&backwards, &demand(), POLICY).ok());
    }

    #[test]
    fn extreme_figures_do_not_overflow(memory in any::<i64>(), claimed in any::<i64>(), cpus in any::<i64>()) {
        let mut host = host("h1");
        resources(&mut host).memory_bytes = memory;
        resources(&mut host).cpus = cpus;
        host.claimed = CapacityRecord { desktops: claimed, memory_mib: claimed, cpu_millis: claimed };
        // Whatever the answer, it is one of the two and no panic.
        prop_assert!(place(&[host], &demand(), POLICY).map_or_else(|NoRoom(against)| against.len() == 1, |_| true));
    }
}
