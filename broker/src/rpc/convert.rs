//! Records as the API shows them.

use rolltop_proto::v1;

use crate::{
    clock::Timestamp,
    hosts::{Health, Seen},
    state::{
        DesktopRecord, DesktopState, Display, FailureRecord, HomePolicy, HostRecord, LimitsRecord,
        PoolRecord, Role, UserRecord, ViewerRecord,
    },
};

pub(super) fn user(record: &UserRecord) -> v1::User {
    let role = match record.role {
        Role::User => v1::Role::User,
        Role::Operator => v1::Role::Operator,
    };
    v1::User {
        name: record.name.to_string(),
        full_name: record.full_name.clone(),
        role: role.into(),
        uid: record.uid,
        created_at: Some(record.created_at.into()),
    }
}

pub(super) fn pool(record: &PoolRecord) -> v1::Pool {
    v1::Pool {
        name: record.name.to_string(),
        title: record.title.clone(),
        description: record.description.clone(),
        image: record.image.to_string(),
        persistent: record.persistent,
        overlay_size_mib: record.overlay_size_mib,
        limits: Some(limits(record.limits)),
        runtime: record.runtime.clone(),
        users: record.users.iter().map(ToString::to_string).collect(),
        home: record.home.as_ref().map(home),
    }
}

fn home(policy: &HomePolicy) -> v1::HomePolicy {
    use v1::home_policy::Kind;
    let kind = match policy {
        HomePolicy::Volume { size_mib } => Kind::VolumeMib(*size_mib),
        HomePolicy::Directory { parent } => Kind::Directory(parent.clone()),
    };
    v1::HomePolicy { kind: Some(kind) }
}

pub(super) fn host(record: &HostRecord, seen: Option<Seen>) -> v1::Host {
    let seen = seen.unwrap_or_default();
    let state = match seen.health {
        Health::Unknown => v1::HostState::Unknown,
        Health::Ready => v1::HostState::Ready,
        Health::Suspect => v1::HostState::Suspect,
    };
    let strays: Vec<String> = seen.strays.iter().map(u32::to_string).collect();
    let problem = match (seen.problem.is_empty(), strays.is_empty()) {
        (true, false) => {
            format!("it runs desktops this cluster does not know: number {}", strays.join(", "))
        }
        (_, _) => seen.problem,
    };
    v1::Host {
        name: record.name.to_string(),
        endpoint: record.endpoint.to_string(),
        state: state.into(),
        info: seen.info,
        problem,
    }
}

/// `told`: what the host last said about it.
pub(super) fn desktop(
    record: &DesktopRecord,
    told: Option<&v1::HostDesktop>,
    viewer: Option<&ViewerRecord>,
) -> v1::Desktop {
    let placed = record.placed.clone().unwrap_or_default();
    let there = told.filter(|told| told.epoch == record.epoch && told.number == record.number);
    let overlay = there.and_then(|told| told.overlay.clone()).unwrap_or_else(|| v1::OverlayInfo {
        name: record.overlay.clone(),
        persistent: !record.overlay.is_empty(),
        size_bytes: placed.overlay_size_bytes,
        allocated_bytes: placed.overlay_allocated_bytes,
    });
    v1::Desktop {
        id: record.id.to_string(),
        pool: record.id.pool.to_string(),
        user: record.id.user.to_string(),
        pool_title: record.pool_title.clone(),
        state: state(record.state, there).into(),
        host: record.host.to_string(),
        number: record.number,
        epoch: record.epoch,
        image: record.image.to_string(),
        version: placed.version,
        mac: placed.mac,
        ip: placed.ip,
        started_at: placed.started_at.map(Into::into),
        overlay: Some(overlay),
        limits: Some(limits(record.limits)),
        usage: there.and_then(|told| told.usage),
        failure: record.failure.as_ref().map(failure),
        viewer: viewer.map(|viewer| v1::Viewer {
            user: viewer.user.to_string(),
            address: viewer.address.clone(),
            since: Some(viewer.since.into()),
        }),
        end_reason: record.end_reason.clone(),
        phases: record
            .phases
            .iter()
            .map(|phase| v1::Progress {
                phase: phase.phase,
                done: true,
                elapsed: prost_types::Duration::try_from(std::time::Duration::from_micros(
                    phase.done_us,
                ))
                .ok(),
            })
            .collect(),
    }
}

/// While it starts, the host knows more closely where it is.
fn state(noted: DesktopState, told: Option<&v1::HostDesktop>) -> v1::DesktopState {
    match noted {
        DesktopState::Starting => match told.map(v1::HostDesktop::state) {
            Some(there @ (v1::DesktopState::Preparing | v1::DesktopState::Starting)) => there,
            Some(_) | None => v1::DesktopState::Planned,
        },
        DesktopState::Running => v1::DesktopState::Running,
        DesktopState::Stopping => v1::DesktopState::Stopping,
        DesktopState::Gone => v1::DesktopState::Gone,
        DesktopState::Failed => v1::DesktopState::Failed,
    }
}

pub(super) fn display(display: Display) -> v1::DisplayProtocol {
    match display {
        Display::Vnc => v1::DisplayProtocol::Vnc,
    }
}

pub(super) fn stamp(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(at.into())
}

fn limits(limits: LimitsRecord) -> v1::Limits {
    v1::Limits { memory_mib: limits.memory_mib, cpu_millis: limits.cpu_millis, pids: limits.pids }
}

fn failure(record: &FailureRecord) -> v1::Failure {
    v1::Failure {
        phase: record.phase,
        reason: record.reason.clone(),
        code: record.code.clone(),
        output_tail: record.output_tail.clone(),
    }
}
