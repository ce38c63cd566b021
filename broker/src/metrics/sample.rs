//! What is looked at when someone reads the metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};
use rolltop_metrics::Labels;
use rolltop_proto::v1::DesktopState;

use super::Present;
use crate::hosts::{HostState, Tally};

type Gauges = Family<Labels<1>, Gauge<u64, AtomicU64>>;
/// By pool: operators make these, and not many.
type ByPool = Family<[(&'static str, String); 1], Gauge<u64, AtomicU64>>;

/// States that hosts tell of desktops they have.
const STATES: [DesktopState; 8] = [
    DesktopState::Planned,
    DesktopState::Preparing,
    DesktopState::Starting,
    DesktopState::Warm,
    DesktopState::Running,
    DesktopState::Frozen,
    DesktopState::Stopping,
    DesktopState::Failed,
];

/// Puts the present state of the cluster, as this broker sees it, into `now`.
pub(super) fn take(present: &Present, now: &mut Registry) {
    let Present { hosts, desktops, versions, rollouts } = present;
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    now.register("build", "The program that runs", version);
    let under_way = desktops.starts_under_way() as u64;
    now.register(
        "starts_under_way",
        "Starts that this broker sees to now",
        ConstGauge::new(under_way),
    );

    let Tally { hosts, desktops, memory_bytes, memory_available_bytes } = hosts.tally();
    let by_state = Gauges::default();
    for state in HostState::all() {
        drop(by_state.get_or_create(&[("state", state.as_str())]));
    }
    for (state, count) in hosts {
        by_state.get_or_create(&[("state", state.as_str())]).inc_by(count);
    }
    now.register("hosts", "Hosts, by state as this broker sees them", by_state);

    let by_state = Gauges::default();
    for state in STATES {
        drop(by_state.get_or_create(&[("state", word_of(state))]));
    }
    for (state, count) in desktops {
        by_state.get_or_create(&[("state", word_of(state))]).inc_by(count);
    }
    now.register(
        "desktops",
        "Desktops, by the state that their hosts told last; those of silent hosts too",
        by_state,
    );
    let by_pool = ByPool::default();
    for (pool, ages) in versions.ages() {
        by_pool.get_or_create(&[("pool", pool.to_string())]).set(u64::from(ages.behind));
    }
    now.register(
        "desktops_behind",
        "Desktops that run another version of their image than their next start would take",
        by_pool,
    );
    let by_state = Gauges::default();
    for (state, count) in rollouts.tally() {
        by_state.get_or_create(&[("state", state.as_str())]).set(count);
    }
    now.register("rollouts", "The last image roll-outs of pools, by state", by_state);
    now.register(
        "hosts_memory_bytes",
        "Memory of the hosts that are heard",
        ConstGauge::new(memory_bytes),
    );
    now.register(
        "hosts_memory_available_bytes",
        "Memory of the hosts that are heard which is free or can be made so",
        ConstGauge::new(memory_available_bytes),
    );
}

fn word_of(state: DesktopState) -> &'static str {
    match state {
        DesktopState::Unspecified => "unknown",
        DesktopState::Planned => "planned",
        DesktopState::Preparing => "preparing",
        DesktopState::Starting => "starting",
        DesktopState::Warm => "warm",
        DesktopState::Running => "running",
        DesktopState::Frozen => "frozen",
        DesktopState::Stopping => "stopping",
        DesktopState::Gone => "gone",
        DesktopState::Failed => "failed",
    }
}
