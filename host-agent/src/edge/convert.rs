//! From our words to the API's.

use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;
use rolltop_image::{DisplayProtocol, Listed};
use rolltop_launcher::cgroup::Usage;
use rolltop_overlay::OverlayUsage;
use rolltop_proto::v1;

use crate::{
    lifecycle::State,
    request::{Account, Home, Limits},
    view::{Failure, Mark, Phase, View},
};

/// What is measured, not kept, of a desktop.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) usage: Option<Usage>,
    pub(super) overlay: Option<OverlayUsage>,
}

pub(super) fn desktop(view: &View, measured: Measured) -> v1::HostDesktop {
    let record = &view.record;
    v1::HostDesktop {
        number: record.number.get(),
        epoch: record.epoch,
        label: record.label.clone(),
        state: state(record.state).into(),
        account: record.account.as_ref().map(account),
        image: record.image.clone(),
        version: record.version.clone(),
        mac: view.mac.to_string(),
        ip: ip(view, false),
        ip6: ip(view, true),
        init_pid: record.init.map_or(0, |init| init.pid),
        started_at: Some(Timestamp { seconds: signed(record.started_at), nanos: 0 }),
        overlay: Some(v1::OverlayInfo {
            name: record.persistent_overlay.clone().unwrap_or_default(),
            persistent: record.persistent_overlay.is_some(),
            size_bytes: signed(measured.overlay.as_ref().map_or(0, |u| u.size_bytes)),
            allocated_bytes: signed(measured.overlay.as_ref().map_or(0, |u| u.allocated_bytes)),
        }),
        limits: Some(limits(record.limits)),
        usage: measured.usage.map(usage),
        display: v1::DisplayProtocol::Vnc.into(),
        runtime: record.runtime.clone(),
        failure: view.failure.as_ref().map(failure),
        timings: timings(&view.marks),
        end_reason: view.end.map_or_else(String::new, |end| end.code().to_owned()),
        home: record.home.as_ref().map(home),
        network: (!record.egress.is_empty())
            .then(|| v1::NetworkPolicy { egress: record.egress.clone() }),
        warm: record.account.is_none(),
    }
}

/// Its address of one family; empty without one.
fn ip(view: &View, ipv6: bool) -> String {
    let found = view.ips.iter().find(|ip| ip.is_ipv6() == ipv6);
    found.map_or_else(String::new, ToString::to_string)
}

fn home(home: &Home) -> v1::HomeSpec {
    use v1::home_spec::Kind;
    let kind = match home.clone() {
        Home::Volume { name, size_mib } => Kind::Volume(v1::HomeVolumeSpec { name, size_mib }),
        Home::Directory { parent, name } => Kind::Directory(v1::HomeDirectorySpec {
            parent: parent.to_string_lossy().into_owned(),
            name,
        }),
    };
    v1::HomeSpec { kind: Some(kind) }
}

pub(super) fn state(state: State) -> v1::DesktopState {
    match state {
        State::Planned => v1::DesktopState::Planned,
        State::Preparing => v1::DesktopState::Preparing,
        State::Starting => v1::DesktopState::Starting,
        State::Warm => v1::DesktopState::Warm,
        State::Running => v1::DesktopState::Running,
        State::Frozen => v1::DesktopState::Frozen,
        State::Stopping => v1::DesktopState::Stopping,
        State::Gone => v1::DesktopState::Gone,
        State::Failed => v1::DesktopState::Failed,
    }
}

pub(super) fn progress(mark: &Mark) -> v1::Progress {
    v1::Progress {
        phase: phase(mark.phase).into(),
        done: mark.done,
        elapsed: Some(duration(mark.elapsed)),
    }
}

pub(super) fn image(listed: &Listed) -> v1::ImageVersion {
    let published = &listed.published;
    let manifest = &published.manifest;
    let at = manifest.published_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    v1::ImageVersion {
        image: published.name.to_string(),
        version: published.version.to_string(),
        digest: manifest.digest.to_string(),
        size_bytes: signed(manifest.size_bytes),
        published_at: Some(Timestamp { seconds: signed(at.as_secs()), nanos: 0 }),
        tags: listed.tags.iter().map(ToString::to_string).collect(),
        display: match manifest.desktop.display.protocol {
            DisplayProtocol::Vnc => v1::DisplayProtocol::Vnc.into(),
        },
        description: manifest.description.clone(),
    }
}

/// A duration of the API's. Ours never come near its bounds.
pub(super) fn duration(from: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: signed(from.as_secs()),
        nanos: i32::try_from(from.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn phase(phase: Phase) -> v1::Phase {
    match phase {
        Phase::Disk => v1::Phase::Disk,
        Phase::Network => v1::Phase::Network,
        Phase::Container => v1::Phase::Container,
        Phase::Session => v1::Phase::Session,
        Phase::Display => v1::Phase::Display,
    }
}

fn account(account: &Account) -> v1::Account {
    v1::Account {
        name: account.name.clone(),
        uid: account.uid,
        full_name: account.full_name.clone(),
    }
}

pub(super) fn limits(limits: Limits) -> v1::Limits {
    v1::Limits {
        memory_mib: signed(limits.memory_mib.unwrap_or(0)),
        cpu_millis: signed(limits.cpu_millis.unwrap_or(0)),
        pids: signed(limits.pids.unwrap_or(0)),
        network_down_bits: signed(limits.network.down_bits.unwrap_or(0)),
        network_up_bits: signed(limits.network.up_bits.unwrap_or(0)),
        disk_read_bytes: signed(limits.disk.read_bytes.unwrap_or(0)),
        disk_write_bytes: signed(limits.disk.write_bytes.unwrap_or(0)),
        disk_ops: signed(limits.disk.operations.unwrap_or(0)),
    }
}

fn usage(usage: Usage) -> v1::Usage {
    v1::Usage {
        memory_bytes: signed(usage.memory_bytes.unwrap_or(0)),
        pids: signed(usage.pids.unwrap_or(0)),
        cpu_time: usage.cpu_time.map(duration),
    }
}

fn failure(failure: &Failure) -> v1::Failure {
    v1::Failure {
        phase: phase(failure.phase).into(),
        reason: failure.reason.clone(),
        code: failure.code.to_owned(),
        output_tail: failure.output_tail.clone(),
    }
}

/// Begin and end of each phase that has ended.
fn timings(marks: &[Mark]) -> Vec<v1::PhaseTiming> {
    let ended = marks.iter().filter(|mark| mark.done);
    ended
        .filter_map(|end| {
            let begin = marks.iter().find(|mark| mark.phase == end.phase && !mark.done)?;
            Some(v1::PhaseTiming {
                phase: phase(end.phase).into(),
                begin: Some(duration(begin.elapsed)),
                end: Some(duration(end.elapsed)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_needs_a_begin_and_an_end() {
        let mark = |phase, done, ms| Mark { phase, done, elapsed: Duration::from_millis(ms) };
        let got = timings(&[
            mark(Phase::Disk, false, 1),
            mark(Phase::Disk, true, 5),
            mark(Phase::Container, false, 5),
        ]);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].end.unwrap().nanos, 5_000_000);
    }
}
