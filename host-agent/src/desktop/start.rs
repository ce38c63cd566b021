//! Bringing a desktop up: disk → container ∥ network → session → display.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::libc::O_NOFOLLOW;
use rolltop_launcher::cgroup::Cgroup;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Desktop, disk, failure::StepError, home, verdict};
use crate::{
    address::Addresses,
    bundle::{self, SessionIngredients},
    display,
    host::Host,
    lifecycle::Event,
    process::{Ending, Process},
    request::StartRequest,
    runtime::{Container, Executed, Io, Prepared, Role, Runtime},
    storage::Found,
    view::{Failure, Phase},
    watcher::{self, Counting},
    work::blocking,
};

/// Of the session's output, shown to a person when it fails.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 * 1024;

/// For a home's server to answer. Others' starts wait meanwhile.
const HOME_DEADLINE: Duration = Duration::from_secs(10);

/// What a new desktop is made from; checked and resolved.
#[derive(Debug)]
pub struct Start {
    /// The request.
    pub request: StartRequest,
    /// What follows from its number.
    pub addresses: Addresses,
    /// The image's version.
    pub image: Found,
    /// What makes the container.
    pub runtime: Arc<Runtime>,
}

/// A desktop that runs.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) init: Process,
    pub(super) group: Cgroup,
    /// How the session's first process ended, once it has; none: it was begun
    /// by an earlier agent.
    pub(super) session: Option<watch::Receiver<Option<Ending>>>,
    /// What draws, if it could be found out.
    pub(super) display: Option<Process>,
}

/// Why a start came to no desktop.
#[derive(Debug)]
pub(super) enum NotUp {
    Failed(Failure),
    /// Someone asked it to end before it was up.
    Stopped,
}

/// Brings the desktop up. On `Err` the caller releases what was made.
pub(super) async fn start(
    host: &Arc<Host>,
    desktop: &Desktop,
    start: &Arc<Start>,
) -> Result<Up, NotUp> {
    let mut at = Phase::Disk;
    match steps(host, desktop, start, &mut at).await {
        Ok(Some(up)) => Ok(up),
        Ok(None) => Err(NotUp::Stopped),
        Err(error) => {
            let log = host.paths.desktop(start.request.number).session_log();
            let tail = blocking(move || output_tail(&log)).await;
            Err(NotUp::Failed(error.into_failure(at, tail)))
        }
    }
}

/// `None`: asked to end on the way.
async fn steps(
    host: &Arc<Host>,
    desktop: &Desktop,
    start: &Arc<Start>,
    at: &mut Phase,
) -> Result<Option<Up>, StepError> {
    let number = start.request.number;
    let paths = host.paths.desktop(number);
    let id = number.to_string();
    let watch = watch_time(host, desktop).await?;
    // Kernel-bound steps wait on global locks: a few at a time are as fast as
    // all at once, and the first of them are done sooner. Not if it is known that
    // this one will wait for long.
    let lane = if watch.is_zero() { Some(host.lanes.acquire().await) } else { None };

    desktop.mark(Phase::Disk, false);
    desktop.step(Event::Prepare).map_err(illegal)?;
    {
        let dir = paths.dir().to_owned();
        let first_id = start.addresses.first_id;
        blocking(move || disk::make_desktop_dir(&dir, first_id)).await?;
    }
    record(host, desktop).await?;
    let home = find_home(host, &start.request).await?;
    let disk = {
        let (host, start) = (Arc::clone(host), Arc::clone(start));
        let kind = desktop.view().overlay;
        blocking(move || {
            let Start { request, addresses, image, .. } = start.as_ref();
            disk::make(&host, request, addresses, image, &kind, home.as_ref(), watch)
        })
    };
    // Both are awaited, whatever the other says: what goes on in the background
    // must not meet the release of a failed start.
    let (disk, prepared) = tokio::join!(disk, start.runtime.prepare());
    disk?;
    let mut prepared = prepared?;
    desktop.mark(Phase::Disk, true);
    if desktop.is_stop_ordered() {
        return Ok(None);
    }

    let lane = match lane {
        Some(lane) => lane,
        None => host.lanes.acquire().await,
    };
    *at = Phase::Container;
    desktop.mark(Phase::Container, false);
    desktop.step(Event::Launch).map_err(illegal)?;
    let bundle = paths.bundle();
    let created = start.runtime.create(&id, &bundle, &mut prepared).await?;

    *at = Phase::Network;
    desktop.mark(Phase::Network, false);
    host.network.attach(&start.addresses, created.pid()).await?;
    desktop.mark(Phase::Network, true);

    *at = Phase::Container;
    let limit = host.config.deadlines.runtime;
    let begun = start.runtime.start(&id, &bundle, created);
    let init = in_time(limit, "begin init", begun).await?;
    desktop.publisher.change(|view| view.record.init = Some(init.id()));
    let group = host.cgroup(number)?;
    desktop.mark(Phase::Container, true);
    drop(lane);
    if desktop.is_stop_ordered() {
        return Ok(None);
    }

    *at = Phase::Session;
    desktop.mark(Phase::Session, false);
    let mut session = start_session(host, start, &init, &group, prepared).await?;
    desktop.mark(Phase::Session, true);

    *at = Phase::Display;
    desktop.mark(Phase::Display, false);
    let socket = &start.image.image.manifest.desktop.display.socket;
    let display_dir = paths.display_dir();
    let server = tokio::select! {
        biased;
        answered = display::answers(&display_dir, socket, host.config.deadlines.display) => answered?,
        _order = desktop.stop_ordered() => return Ok(None),
        error = ended_early(host, start, &mut session, &init, &group) => return Err(error),
    };
    desktop.mark(Phase::Display, true);
    desktop.step(Event::Ready).map_err(illegal)?;
    record(host, desktop).await?;
    let display = held_display(&group, server).await;
    Ok(Some(Up { init, group, session: Some(session), display }))
}

/// How long the kernel will watch an overlay that a host had when it died.
async fn watch_time(host: &Arc<Host>, desktop: &Desktop) -> Result<Duration, StepError> {
    let kind = desktop.view().overlay;
    if kind.kept_name().is_none() {
        return Ok(Duration::ZERO);
    }
    let host = Arc::clone(host);
    let watch = blocking(move || host.overlays.watch_time(&kind)).await?;
    if !watch.is_zero() {
        info!(?watch, "another host did not close its overlay: the kernel watches it first");
    }
    Ok(watch)
}

/// A directory may lie on a server that does not answer: its thread is left
/// behind then, having mounted nothing.
async fn find_home(
    host: &Arc<Host>,
    request: &StartRequest,
) -> Result<Option<home::Found>, StepError> {
    let Some(wanted) = request.home.clone() else { return Ok(None) };
    let directory = home::directory(&wanted);
    let (account, host) = (request.account.clone(), Arc::clone(host));
    let looking = blocking(move || home::find(&host.config.home_parents, &wanted, &account));
    match tokio::time::timeout(HOME_DEADLINE, looking).await {
        Ok(found) => Ok(Some(found?)),
        Err(_elapsed) => Err(home::HomeError::Silent {
            path: directory.unwrap_or_default(),
            seconds: HOME_DEADLINE.as_secs(),
        }
        .into()),
    }
}

/// Waits for the end of the session, or of init, which is an error until the
/// display has answered.
async fn ended_early(
    host: &Host,
    start: &Start,
    session: &mut watch::Receiver<Option<Ending>>,
    init: &Process,
    group: &Cgroup,
) -> StepError {
    let linger = host.config.deadlines.linger;
    let only_init = watcher::only_init_left(group, init.id().pid, Counting::Session, linger);
    tokio::select! {
        biased;
        _ended = init.ended() => StepError::InitEnded,
        // The first process may hand over to others and end: what counts is
        // that none is left.
        _either = only_init => {
            let ending = end_of(session).await;
            // However it ended: a session that starts has no past to blame.
            if kills(group).await > 0 {
                StepError::OutOfMemory(verdict::out_of_memory(start.request.limits.memory_mib))
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
    start: &Start,
    init: &Process,
    group: &Cgroup,
    prepared: Prepared,
) -> Result<watch::Receiver<Option<Ending>>, StepError> {
    let request = &start.request;
    let paths = host.paths.desktop(request.number);
    let desktop = &start.image.image.manifest.desktop;
    let spec = bundle::session(&SessionIngredients {
        account: &request.account,
        command: &desktop.session.command,
        environment: &desktop.session.environment,
        display_socket: &desktop.display.socket,
        geometry: request.geometry,
        label: &request.label,
        time_zone: request.time_zone.as_deref(),
    })?;
    let log = paths.session_log();
    let io = session_io(&log).map_err(|source| StepError::io("open", log.display(), source))?;
    let (id, bundle) = (request.number.to_string(), paths.bundle());
    let container = Container { id: &id, bundle: &bundle, init, group };
    let executed = async {
        let role = Role::Session(Box::new(prepared));
        start.runtime.exec(&container, spec, io, role).await.map_err(|error| {
            if error.is_missing_program() { StepError::SessionMissing(error) } else { error.into() }
        })
    };
    let limit = host.config.deadlines.runtime;
    let Executed { process, .. } = in_time(limit, "begin the session", executed).await?;
    Ok(reap_when_ended(process))
}

/// Gives up waiting for a program to begin: it may lie on a server that has
/// gone. What waits for it in the desktop ends when that is released.
async fn in_time<T, E: Into<StepError>>(
    limit: Duration,
    verb: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StepError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_elapsed) => {
            Err(StepError::io(verb, format!("within {limit:?}"), io::ErrorKind::TimedOut.into()))
        }
    }
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

/// The last lines in the session's log, made fit for a terminal.
pub(super) fn output_tail(log: &Path) -> Vec<String> {
    let read = || {
        let mut file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    // No log: the session was never begun.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> =
        text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

/// Writes the record as it is now.
pub(super) async fn record(host: &Host, desktop: &Desktop) -> Result<(), StepError> {
    let record = desktop.view().record;
    let paths = host.paths.desktop(record.number);
    blocking(move || {
        let path = paths.record();
        record.write(&path).map_err(|source| StepError::io("write", path.display(), source))
    })
    .await
}

fn illegal(error: crate::lifecycle::Illegal) -> StepError {
    StepError::io("go on with", "the desktop", io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_short_and_clean() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert!(output_tail(&log).is_empty());
        let mut text: String = (0..5_000).map(|n| format!("line {n}\n")).collect();
        text.push_str("\x1b[31mred\x07\n");
        std::fs::write(&log, text).unwrap();
        let tail = output_tail(&log);
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail[TAIL_LINES - 1], "[31mred");
        assert_eq!(tail[TAIL_LINES - 2], "line 4999");
    }

    #[test]
    fn a_link_in_the_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert!(output_tail(&log).is_empty());
    }
}
