//! Records as the API shows them.

use std::collections::BTreeSet;

use prost_types::Duration;
use rolltop_proto::v1;

use crate::{
    clock::Timestamp,
    hosts::{Health, Seen},
    names::GroupName,
    state::{
        CapacityRecord, DesktopRecord, DesktopState, Display, Duty, FailureRecord, HomePolicy,
        HostPolicy, HostRecord, PoolRecord, Role, Strategy, Term, TimeLimits, UserRecord,
        ViewerRecord,
    },
};

pub(super) fn user(record: &UserRecord) -> v1::User {
    v1::User {
        name: record.name.to_string(),
        full_name: record.full_name.clone(),
        role: role(record.role).into(),
        uid: record.uid,
        created_at: Some(record.created_at.into()),
        groups: Vec::new(),
        second_factor: false,
        source: record.source.to_string(),
    }
}

/// And the groups the user is in.
pub(super) fn user_in(record: &UserRecord, groups: &BTreeSet<GroupName>) -> v1::User {
    v1::User { groups: groups.iter().map(ToString::to_string).collect(), ..user(record) }
}

pub(super) fn role(role: Role) -> v1::Role {
    match role {
        Role::User => v1::Role::User,
        Role::Auditor => v1::Role::Auditor,
        Role::Operator => v1::Role::Operator,
        Role::Admin => v1::Role::Admin,
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
        limits: Some(record.limits.into()),
        runtime: record.runtime.clone(),
        users: record.users.iter().map(ToString::to_string).collect(),
        groups: record.groups.iter().map(ToString::to_string).collect(),
        home: record.home.as_ref().map(home),
        network: Some(v1::NetworkPolicy { egress: record.egress.clone() }),
        hosts: Some(host_policy(&record.hosts)),
        time_limits: time_limits(record.time_limits),
        max_desktops: record.max_desktops,
        closed: record.closed.clone(),
        warm: record.warm,
        // Not the pool's own: whoever lists pools says so.
        warm_ready: 0,
        warm_problem: String::new(),
        running: 0,
        behind: 0,
    }
}

fn time_limits(limits: TimeLimits) -> Option<v1::TimeLimits> {
    let span = |ms: Option<u64>| Duration::try_from(std::time::Duration::from_millis(ms?)).ok();
    limits.is_any().then(|| v1::TimeLimits {
        idle: span(limits.idle_ms),
        disconnected: span(limits.disconnected_ms),
        total: span(limits.total_ms),
        warning: span(Some(limits.warning_ms).filter(|ms| *ms > 0)),
    })
}

fn host_policy(policy: &HostPolicy) -> v1::HostPolicy {
    let strategy = match policy.strategy {
        None => v1::Strategy::Unspecified,
        Some(Strategy::Spread) => v1::Strategy::Spread,
        Some(Strategy::Pack) => v1::Strategy::Pack,
    };
    let terms = |terms: &[Term]| terms.iter().map(Term::to_string).collect();
    v1::HostPolicy {
        strategy: strategy.into(),
        require: terms(&policy.require),
        forbid: terms(&policy.forbid),
        prefer: terms(&policy.prefer),
        avoid: terms(&policy.avoid),
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

/// `claimed`: what its desktops have claimed.
pub(super) fn host(record: &HostRecord, seen: Option<Seen>, claimed: CapacityRecord) -> v1::Host {
    let seen = seen.unwrap_or_default();
    let state = match (seen.health, record.duty()) {
        (Health::Unknown, _) => v1::HostState::Unknown,
        (Health::Ready, Duty::Serving) => v1::HostState::Ready,
        (Health::Ready, Duty::Draining) => v1::HostState::Draining,
        (Health::Ready, Duty::Drained) => v1::HostState::Drained,
        (Health::Suspect, _) => v1::HostState::Suspect,
        (Health::Lost, _) => v1::HostState::Lost,
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
        certificate_expires_at: record
            .credential
            .current
            .as_ref()
            .and_then(|current| stamp(current.expires_at)),
        revoked: record.credential.revoked,
        drain: record.drain.as_ref().map(|drain| v1::Drain {
            since: stamp(drain.since),
            deadline: drain.deadline.and_then(stamp),
            by: drain.by.to_string(),
            remaining: claimed.desktops,
        }),
        labels: record.labels.clone().into_iter().collect(),
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
    let ends = record.foreseen_end();
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
        limits: Some(record.limits.into()),
        usage: there.and_then(|told| told.usage),
        failure: record.failure.as_ref().map(failure),
        viewer: viewer.map(self::viewer),
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
        ends_at: ends.as_ref().and_then(|ends| stamp(ends.at)),
        ends_because: ends.map(|ends| ends.because).unwrap_or_default(),
        notice: record.notice.as_ref().map(|notice| v1::Notice {
            id: notice.id.clone(),
            text: notice.text.clone(),
            by: notice.by.to_string(),
            at: stamp(notice.at),
            expires_at: stamp(notice.expires_at),
        }),
        // Whoever tells of it says so.
        behind: false,
        next_version: String::new(),
    }
}

pub(super) fn viewer(viewer: &ViewerRecord) -> v1::Viewer {
    v1::Viewer {
        user: viewer.user.to_string(),
        address: viewer.address.clone(),
        since: Some(viewer.since.into()),
    }
}

/// What of it is its session's.
pub(super) fn session(desktop: v1::Desktop) -> v1::Session {
    v1::Session {
        state: desktop.state,
        desktop: desktop.id,
        pool: desktop.pool,
        user: desktop.user,
        host: desktop.host,
        started_at: desktop.started_at,
        viewer: desktop.viewer,
        ends_at: desktop.ends_at,
        ends_because: desktop.ends_because,
        notice: desktop.notice,
    }
}

/// While it starts, the host knows more closely where it is.
fn state(noted: DesktopState, told: Option<&v1::HostDesktop>) -> v1::DesktopState {
    match noted {
        DesktopState::Starting => match told.map(v1::HostDesktop::state) {
            Some(there @ (v1::DesktopState::Preparing | v1::DesktopState::Starting)) => there,
            Some(_) | None => v1::DesktopState::Planned,
        },
        DesktopState::Running => match told.map(v1::HostDesktop::state) {
            Some(frozen @ v1::DesktopState::Frozen) => frozen,
            Some(_) | None => v1::DesktopState::Running,
        },
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

fn failure(record: &FailureRecord) -> v1::Failure {
    v1::Failure {
        phase: record.phase,
        reason: record.reason.clone(),
        code: record.code.clone(),
        output_tail: record.output_tail.clone(),
    }
}
