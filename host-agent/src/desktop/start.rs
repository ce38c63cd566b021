//! Bringing a desktop up: disk → container ∥ network, then its session.

use std::{io, sync::Arc, time::Duration};

use rolltop_fail_points as fail_points;
use rolltop_launcher::cgroup::Cgroup;
use rolltop_overlay::{OverlayKind, Overlays};
use tracing::info;

use super::{
    Desktop, disk,
    failure::StepError,
    home,
    output::output_tail,
    session::{Means, Up, begin_session},
    warm::Warm,
};
use crate::{
    address::Addresses,
    host::Host,
    lifecycle::Event,
    process::Process,
    request::{Account, Home, StartRequest},
    runtime::{Prepared, Runtime},
    storage::Found,
    view::{Failure, Phase},
    watcher::Members,
    work::blocking,
};

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

/// A container whose init runs.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) init: Process,
    pub(super) group: Cgroup,
    /// The image's own: the signal that asks it to end.
    pub(super) own_init: Option<i32>,
}

impl Base {
    /// Its processes, for who watches them.
    pub(super) fn members(&self) -> Members {
        let apart = self.own_init.is_some();
        Members { group: self.group.clone(), init: self.init.id().pid, apart }
    }
}

/// What a start came to.
#[derive(Debug)]
pub(super) enum Risen {
    /// It runs.
    Up(Up),
    /// It waits for its user.
    Warm(Box<Warm>),
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
) -> Result<Risen, NotUp> {
    let mut at = Phase::Disk;
    let risen = steps(host, desktop, start, &mut at).await;
    outcome(host, desktop, at, risen).await
}

/// Tells what steps came to, of which the last began in phase `at`.
pub(super) async fn outcome<T>(
    host: &Host,
    desktop: &Desktop,
    at: Phase,
    steps: Result<Option<T>, StepError>,
) -> Result<T, NotUp> {
    match steps {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(NotUp::Stopped),
        Err(error) => {
            let log = host.paths.desktop(desktop.view().record.number).session_log();
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
) -> Result<Option<Risen>, StepError> {
    let Some((base, prepared)) = contain(host, desktop, start, at).await? else { return Ok(None) };
    let Start { image, runtime, .. } = start.as_ref();
    let Some(seat) = start.request.seat() else {
        desktop.step(Event::Warmed).map_err(illegal)?;
        record(host, desktop).await?;
        let (image, runtime) = (image.clone(), Arc::clone(runtime));
        return Ok(Some(Risen::Warm(Box::new(Warm { base, image, runtime, prepared }))));
    };
    let means = Means { image, runtime, prepared };
    Ok(begin_session(host, desktop, &seat, base, means, at).await?.map(Risen::Up))
}

/// Everything up to the session. `None`: asked to end on the way.
async fn contain(
    host: &Arc<Host>,
    desktop: &Desktop,
    start: &Arc<Start>,
    at: &mut Phase,
) -> Result<Option<(Base, Prepared)>, StepError> {
    let number = start.request.number;
    let paths = host.paths.desktop(number);
    let id = number.to_string();
    let kind = desktop.view().overlay;
    let overlays = host.keep.of(&kind).await?;
    let watch = watch_time(&overlays, &kind).await?;
    // Kernel-bound steps wait on global locks: a few at a time are as fast as
    // all at once, and the first of them are done sooner. Not if it is known that
    // this one will wait for long.
    let lane = if watch.is_zero() { Some(host.lane().await) } else { None };

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
        blocking(move || {
            let Start { request, addresses, image, .. } = start.as_ref();
            let overlay = (&*overlays, &kind);
            disk::make(&host, request, addresses, image, overlay, home.as_ref(), watch)
        })
    };
    // Both are awaited, whatever the other says: what goes on in the background
    // must not meet the release of a failed start.
    let (disk, prepared) = tokio::join!(disk, start.runtime.prepare());
    let boot = disk?;
    let mut prepared = prepared?;
    fail_points::pass("make disk");
    desktop.mark(Phase::Disk, true);
    if desktop.is_stop_ordered() {
        return Ok(None);
    }

    let lane = match lane {
        Some(lane) => lane,
        None => host.lane().await,
    };
    *at = Phase::Container;
    desktop.mark(Phase::Container, false);
    desktop.step(Event::Launch).map_err(illegal)?;
    let bundle = paths.bundle();
    let created = start.runtime.create(&id, &bundle, &mut prepared).await?;
    fail_points::pass("create container");

    *at = Phase::Network;
    desktop.mark(Phase::Network, false);
    host.network.attach(&start.addresses, &start.request.egress, created.pid()).await?;
    let rates = start.request.limits.network;
    if rates.is_limited() {
        host.network.set_rates(&start.addresses.link, created.pid(), rates).await?;
    }
    desktop.mark(Phase::Network, true);

    *at = Phase::Container;
    let limit = host.config.deadlines.runtime;
    let begun = start.runtime.start(&id, &bundle, created);
    let init = in_time(limit, "begin init", begun).await?;
    fail_points::pass("begin init");
    desktop.publisher.change(|view| view.record.init = Some(init.id()));
    drop(lane);
    let own_init = desktop.view().record.init_stop_signal;
    let base = Base { init, group: host.cgroup(number)?, own_init };
    if let Some(boot) = boot {
        tokio::select! {
            biased;
            _order = desktop.stop_ordered() => return Ok(None),
            booted = boot.done(&base.init, host.live().boot) => booted?,
        }
        fail_points::pass("boot");
    }
    desktop.mark(Phase::Container, true);
    Ok((!desktop.is_stop_ordered()).then_some((base, prepared)))
}

/// How long the kernel will watch an overlay that a host had when it died.
async fn watch_time(overlays: &Arc<Overlays>, kind: &OverlayKind) -> Result<Duration, StepError> {
    if kind.kept_name().is_none() {
        return Ok(Duration::ZERO);
    }
    let (overlays, kind) = (Arc::clone(overlays), kind.clone());
    let watch = blocking(move || overlays.watch_time(&kind)).await?;
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
    // Neither without the other: the request was checked.
    let (Some(wanted), Some(account)) = (request.home.clone(), request.account.clone()) else {
        return Ok(None);
    };
    look_for_home(host, wanted, account).await.map(Some)
}

/// As [`find_home`], for whom it is.
pub(super) async fn look_for_home(
    host: &Arc<Host>,
    wanted: Home,
    account: Account,
) -> Result<home::Found, StepError> {
    let directory = home::directory(&wanted);
    if let Some((kind, size)) = home::volume(&wanted)? {
        return Ok(home::Found::Volume(host.keep.kept().await?, kind, size));
    }
    let host = Arc::clone(host);
    let looking = blocking(move || home::find(&host.config.home_parents, &wanted, &account));
    match tokio::time::timeout(HOME_DEADLINE, looking).await {
        Ok(found) => Ok(found?),
        Err(_elapsed) => Err(home::HomeError::Silent {
            path: directory.unwrap_or_default(),
            seconds: HOME_DEADLINE.as_secs(),
        }
        .into()),
    }
}

/// Gives up waiting for a program to begin: it may lie on a server that has
/// gone. What waits for it in the desktop ends when that is released.
pub(super) async fn in_time<T, E: Into<StepError>>(
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

pub(super) fn illegal(error: crate::lifecycle::Illegal) -> StepError {
    StepError::io("go on with", "the desktop", io::Error::other(error))
}
