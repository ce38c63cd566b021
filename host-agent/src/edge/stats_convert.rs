//! From what was measured to the API's words.

use std::time::{Duration, SystemTime};

use rolltop_launcher::cgroup::{Pressure, Stall};
use rolltop_proto::v1;

use super::convert;
use crate::{
    request::Limits,
    stats::{DesktopProcess, Processes, Stats},
};

pub(super) fn stats(stats: &Stats, limits: Limits) -> v1::DesktopStats {
    let Stats { at, usage, memory_peak_bytes, oom_kills, pressures, disk, traffic } = stats;
    let inside = disk.as_ref().and_then(|disk| disk.inside);
    v1::DesktopStats {
        at: Some((*at).into()),
        cpu_time: usage.cpu_time.and_then(duration),
        limits: Some(convert::limits(limits)),
        memory_bytes: usage.memory_bytes.map(signed),
        memory_peak_bytes: memory_peak_bytes.map(signed),
        pids: usage.pids.map(signed),
        oom_kills: signed(*oom_kills),
        disk_size_bytes: disk.as_ref().map(|disk| signed(disk.size_bytes)),
        disk_used_bytes: inside.map(|inside| signed(inside.used_bytes)),
        disk_allocated_bytes: disk.as_ref().map(|disk| signed(disk.allocated_bytes)),
        network_received_bytes: traffic.map(|traffic| signed(traffic.to_desktop_bytes)),
        network_sent_bytes: traffic.map(|traffic| signed(traffic.from_desktop_bytes)),
        cpu_pressure: pressures.cpu.map(pressure),
        memory_pressure: pressures.memory.map(pressure),
        io_pressure: pressures.io.map(pressure),
    }
}

fn pressure(pressure: Pressure) -> v1::Pressure {
    let Pressure { some, full } = pressure;
    let total = |stall: Stall| duration(stall.total);
    v1::Pressure {
        some_10s_percent: some.percent_10s,
        some_60s_percent: some.percent_60s,
        some: total(some),
        full_10s_percent: full.percent_10s,
        full_60s_percent: full.percent_60s,
        full: total(full),
    }
}

pub(super) fn processes(processes: Processes) -> v1::DesktopProcesses {
    v1::DesktopProcesses {
        processes: processes.list.into_iter().map(process).collect(),
        more: processes.more,
        at: Some(SystemTime::now().into()),
    }
}

fn process(process: DesktopProcess) -> v1::DesktopProcess {
    v1::DesktopProcess {
        pid: process.pid,
        parent_pid: process.parent_pid,
        uid: process.uid,
        state: process.state.into(),
        name: process.name,
        command: process.command,
        cpu_time: duration(process.cpu_time),
        resident_bytes: signed(process.resident_bytes),
        threads: process.threads,
        started_at: Some(process.started_at.into()),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn duration(value: Duration) -> Option<prost_types::Duration> {
    value.try_into().ok()
}
