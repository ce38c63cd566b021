#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark may end by panicking")]
//! Placements a second over 10,000 hosts: `cargo bench -p rolltop-broker --bench
//! placements`. Beside it, in the same run, the plain way: every host is scored.
//! A table, then a line of JSON for each row.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    time::{Duration, Instant},
};

use rolltop_broker::{
    config::Placement,
    placement::{Demand, HostFacts, KnownImage, Resources, explain, place},
    state::{CapacityRecord, HostPolicy, LimitsRecord, Strategy},
};

const HOSTS: usize = 10_000;
const LENGTH: Duration = Duration::from_secs(2);
const POLICY: Placement = Placement {
    memory_overcommit_percent: 400,
    cpu_overcommit_percent: 800,
    memory_reserve_mib: 256,
    overlay_reserve_mib: 512,
    strategy: Strategy::Spread,
    weight_room: 100,
    weight_image: 10,
    weight_labels: 50,
};

fn host(number: usize, full: bool) -> HostFacts {
    let images = (0..4).map(|n| KnownImage {
        image: format!("image{n}"),
        version: format!("version-{n}"),
        tags: vec!["stable".to_owned()],
    });
    HostFacts {
        name: format!("host-{number}").parse().unwrap(),
        ready: Ok(Resources {
            cpus: 32,
            memory_bytes: 128 << 30,
            memory_available_bytes: 64 << 30,
            overlay_free_bytes: 1 << 40,
            storage: None,
            max_desktops: 100,
            highest_number: 1 << 24,
            images: images.collect(),
            warm: BTreeSet::from(["version-3".to_owned()]),
        }),
        draining: false,
        labels: BTreeMap::from([("rack".to_owned(), format!("r{}", number % 40))]),
        set_back: false,
        claimed: CapacityRecord {
            desktops: if full { 100 } else { (number % 90) as i64 },
            memory_mib: (number % 90 * 2048) as i64,
            cpu_millis: 0,
        },
    }
}

fn main() {
    let demand = Demand {
        image: "image3:stable".parse().unwrap(),
        limits: LimitsRecord { memory_mib: 2048, pids: 512, ..LimitsRecord::default() },
        new_overlay_mib: 1024,
        bound_to: Vec::new(),
        number: 1,
        wishes: HostPolicy::default(),
    };
    println!("{:<28} {:>14} {:>10}", "10,000 hosts", "placements/s", "us each");
    let mut rows = Vec::new();
    for percent in [0, 50, 90, 99] {
        let hosts: Vec<HostFacts> = (0..HOSTS).map(|n| host(n, n * 7 % 100 < percent)).collect();
        let rate = measure(|seed| drop(black_box(place(&hosts, &demand, POLICY, seed))));
        rows.push((format!("{percent}% full"), rate));
    }
    let hosts: Vec<HostFacts> = (0..HOSTS).map(|n| host(n, false)).collect();
    let rate = measure(|seed| drop(black_box(explain(&hosts, &demand, POLICY, seed))));
    rows.push(("every host scored".to_owned(), rate));
    for (name, rate) in &rows {
        println!("{name:<28} {rate:>14.0} {:>10.1}", 1e6 / rate);
    }
    for (name, rate) in rows {
        println!("{{\"row\": \"{name}\", \"placements_per_s\": {rate:.0}}}");
    }
}

/// Calls a second.
fn measure(mut call: impl FnMut(u64)) -> f64 {
    let begun = Instant::now();
    let mut count = 0_u64;
    while begun.elapsed() < LENGTH {
        call(count);
        count += 1;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
