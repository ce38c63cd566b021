//! What is looked at when someone reads the metrics.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};
use rolltop_metrics::Labels;

use super::space::{Place, Room};
use crate::{facts::Memory, host::Host, lifecycle::State};

type Gauges = Family<Labels<1>, Gauge<u64, AtomicU64>>;

/// Puts the present state of the host into `now`.
pub(super) async fn take(host: &Host, now: &mut Registry) {
    now.register(
        "build",
        "The program that runs",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    desktops(host, now);
    work(host, now);
    memory(now);
    room(host, now).await;
}

fn desktops(host: &Host, now: &mut Registry) {
    let mut counts: BTreeMap<&str, u64> = State::ALL
        .into_iter()
        .filter(|state| !state.is_final())
        .map(|state| (state.as_str(), 0))
        .collect();
    for desktop in host.registry.all() {
        *counts.entry(desktop.view().state().as_str()).or_default() += 1;
    }
    let desktops = Gauges::default();
    for (state, count) in counts {
        desktops.get_or_create(&[("state", state)]).set(count);
    }
    now.register("desktops", "Desktops of this host, by state", desktops);
    let most = host.registry.max_desktops() as u64;
    now.register("desktops_max", "Most desktops at a time", ConstGauge::new(most));
}

fn work(host: &Host, now: &mut Registry) {
    let events = host.registry.events();
    now.register(
        "events",
        "Changes of desktops told so far: the position in their log",
        ConstCounter::new(events.count()),
    );
    now.register("watchers", "Readers of that log now", ConstGauge::new(events.readers() as u64));
    let lanes = host.live().start_lanes as u64;
    now.register(
        "lanes",
        "Starts that may be in their kernel-bound steps at a time",
        ConstGauge::new(lanes),
    );
    let free = host.lanes.available_permits() as u64;
    now.register("lanes_free", "Lanes that no start is in", ConstGauge::new(free));
    now.register(
        "storage_silent",
        "1 while a server of images did not answer when it was last asked",
        ConstGauge::new(u64::from(host.storage.is_silent())),
    );
}

fn memory(now: &mut Registry) {
    let Ok(Memory { total, available }) = Memory::read() else { return };
    now.register("host_memory_bytes", "Memory of the host", ConstGauge::new(total));
    now.register(
        "host_memory_available_bytes",
        "Memory that is free or can be made so",
        ConstGauge::new(available),
    );
}

async fn room(host: &Host, now: &mut Registry) {
    let space = &host.metrics.space;
    let (state, run) = (host.paths.overlays(), host.paths.run().to_owned());
    let kept = async {
        match &host.config.kept_dir {
            Some(path) => space.at(Place::Kept, path.clone()).await,
            None => None,
        }
    };
    let (state, kept, run) =
        tokio::join!(space.at(Place::State, state), kept, space.at(Place::Run, run));
    let (free, size) = (Gauges::default(), Gauges::default());
    for (place, room) in [(Place::State, state), (Place::Kept, kept), (Place::Run, run)] {
        if let Some(Room { size: of_all, free: of_it }) = room {
            free.get_or_create(&[("dir", place.as_str())]).set(of_it);
            size.get_or_create(&[("dir", place.as_str())]).set(of_all);
        }
    }
    let help = "Free room where the agent keeps things; missing while that does not answer";
    now.register("storage_free_bytes", help, free);
    now.register("storage_size_bytes", "All room there", size);
    let reserve = host.live().reserve_bytes;
    now.register(
        "storage_reserve_bytes",
        "Room in the state directory that new desktops must leave free",
        ConstGauge::new(reserve),
    );
}
