//! The last part of a start: the session, up to the answer of its display.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rolltop_fail_points as fail_points;
use rolltop_launcher::cgroup::Cgroup;
use tokio::sync::watch;
use tracing::warn;

use super::{
    Desktop,
    failure::StepError,
    start::{Base, illegal, in_time, record},
    verdict,
};
use crate::{
    address::Number,
    bundle::{self, SessionIngredients},
    display,
    host::Host,
    lifecycle::Event,
    process::{Ending, Process},
    request::Account,
    runtime::{Container, Executed, Io, Prepared, Role, Runtime},
    storage::Found,
    view::Phase,
    watcher::{self, Counting},
    work::blocking,
};

/// A desktop that runs.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) base: Base,
    /// How the session's first process ended, once it has; none: it was begun
    /// by an earlier agent.
    pub(super) session: Option<watch::Receiver<Option<Ending>>>,
    /// What draws, if it could be found out.
    pub(super) display: Option<Process>,
}

/// Whose session it is, and how it begins.
#[derive(Clone, Debug)]
pub struct Seat {
    /// "pool/user".
    pub label: String,
    /// Whose it is.
    pub account: Account,
    /// First size of the screen, pixels.
    pub geometry: (u32, u32),
    /// Such as `Europe/Berlin`.
    pub time_zone: Option<String>,
}

/// What a session is begun with, besides whose it is.
#[derive(Debug)]
pub(super) struct Means<'a> {
    pub(super) image: &'a Found,
    pub(super) runtime: &'a Runtime,
    pub(super) prepared: Prepared,
}

/// From a container whose init runs to a display that answers. `None`: asked to
/// end on the way.
pub(super) async fn begin_session(
    host: &Host,
    desktop: &Desktop,
    seat: &Seat,
    base: Base,
    means: Means<'_>,
    at: &mut Phase,
) -> Result<Option<Up>, StepError> {
    *at = Phase::Session;
    desktop.mark(Phase::Session, false);
    let number = desktop.view().record.number;
    let socket = &means.image.image.manifest.desktop.display.socket;
    let mut session = start_session(host, number, seat, &base, means).await?;
    fail_points::pass("begin session");
    desktop.mark(Phase::Session, true);

    *at = Phase::Display;
    desktop.mark(Phase::Display, false);
    let display_dir = host.paths.desktop(number).display_dir();
    let limit = host.live().display;
    let server = tokio::select! {
        biased;
        answered = display::answers(&display_dir, socket, limit) => answered?,
        _order = desktop.stop_ordered() => return Ok(None),
        error = ended_early(host, desktop, &mut session, &base) => return Err(error),
    };
    fail_points::pass("await display");
    desktop.mark(Phase::Display, true);
    desktop.step(Event::Ready).map_err(illegal)?;
    record(host, desktop).await?;
    let display = held_display(&base.group, server).await;
    Ok(Some(Up { base, session: Some(session), display }))
}

/// Waits for the end of the session, or of init, which is an error until the
/// display has answered.
async fn ended_early(
    host: &Host,
    desktop: &Desktop,
    session: &mut watch::Receiver<Option<Ending>>,
    base: &Base,
) -> StepError {
    let Base { init, group, .. } = base;
    let linger = host.live().linger;
    let members = base.members();
    let only_init = watcher::only_init_left(&members, Counting::Session, linger);
    tokio::select! {
        biased;
        _ended = init.ended() => StepError::InitEnded,
        // The first process may hand over to others and end: what counts is
        // that none is left.
        _either = only_init => {
            let ending = end_of(session).await;
            // However it ended: a session that starts has no past to blame.
            if kills(group).await > 0 {
                let limit = desktop.view().record.limits.memory_mib;
                StepError::OutOfMemory(verdict::out_of_memory(limit))
            } else {
                StepError::SessionEnded(ending)
            }
        }
    }
}

/// Waits for the end of the session's first process.
pub(super) async fn end_of(session: &mut watch::Receiver<Option<Ending>>) -> Ending {
    // No sender any more: it could not be awaited.
    session.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(Ending::Unknown)
}

/// Processes of the desktop that the kernel has killed for want of memory.
pub(super) async fn kills(group: &Cgroup) -> u64 {
    let group = group.clone();
    blocking(move || group.oom_kills()).await.unwrap_or_else(|error| {
        warn!(%error, "whether memory was short cannot be read");
        0
    })
}

/// Holds the display server `pid`, if it is a process of the desktop: only to
/// learn how it ended.
pub(super) async fn held_display(group: &Cgroup, pid: Option<i32>) -> Option<Process> {
    let process = Process::open(pid?).ok()?;
    // In the group after it is held: no other process that got its pid.
    let group = group.clone();
    let pids = blocking(move || watcher::pids(&group)).await.ok()?;
    pids.contains(&process.id().pid).then_some(process)
}

async fn start_session(
    host: &Host,
    number: Number,
    seat: &Seat,
    Base { init, group, own_init }: &Base,
    Means { image, runtime, prepared }: Means<'_>,
) -> Result<watch::Receiver<Option<Ending>>, StepError> {
    let paths = host.paths.desktop(number);
    let desktop = &image.image.manifest.desktop;
    let mut spec = bundle::session(&SessionIngredients {
        account: &seat.account,
        command: &desktop.session.command,
        environment: &desktop.session.environment,
        display_socket: &desktop.display.socket,
        geometry: seat.geometry,
        label: &seat.label,
        time_zone: seat.time_zone.as_deref(),
    })?;
    host.confinement.confine(&mut spec);
    let log = paths.session_log();
    let io = session_io(&log).map_err(|source| StepError::io("open", log.display(), source))?;
    host.logs.add(&log).map_err(|source| StepError::io("watch", log.display(), source))?;
    let (id, bundle) = (number.to_string(), paths.bundle());
    let container = Container { id: &id, bundle: &bundle, init, group };
    let executed = async {
        let role = Role::Session { prepared: Box::new(prepared), apart: own_init.is_some() };
        runtime.exec(&container, spec, io, role).await.map_err(|error| {
            if error.is_missing_program() { StepError::SessionMissing(error) } else { error.into() }
        })
    };
    let limit = host.config.deadlines.runtime;
    let Executed { process, .. } = in_time(limit, "begin the session", executed).await?;
    Ok(reap_when_ended(process))
}

/// Reaps the session's first process as soon as it ends: it is the agent's
/// child, and a zombie of it would hold up the end of the pid namespace.
fn reap_when_ended(process: Process) -> watch::Receiver<Option<Ending>> {
    let (sender, ending) = watch::channel(None);
    tokio::spawn(async move {
        // Fails only while the agent itself ends.
        if process.ended().await.is_ok() {
            sender.send_replace(Some(process.reap()));
        }
    });
    ending
}

fn session_io(log: &Path) -> io::Result<Io> {
    let stdin = File::open("/dev/null")?.into();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let stderr = log.try_clone()?.into();
    Ok(Io::Files { stdin, stdout: log.into(), stderr })
}
