//! A desktop made ahead of its user: it waits, and then gets what it has of a
//! user: names, display directory, home, session.
//!
//! Nobody has been in it before, so there is nothing in it to find. From the
//! moment it is given to somebody its record says that it is being started:
//! should the agent die then, the next one takes it down, and gives it to nobody
//! else.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, pin::pin, sync::Arc};

use rolltop_fail_points as fail_points;
use rolltop_image::ImageRef;
use thiserror::Error;
use tokio::sync::mpsc;

use super::{
    Desktop, disk,
    disks::Disks,
    failure::StepError,
    home, inside,
    orders::{Asked, obey},
    session::{Means, Seat, Up, begin_session},
    start::{Base, NotUp, look_for_home, outcome, record},
    verdict::Verdict,
};
use crate::{
    address::Number,
    host::Host,
    lifecycle::EndReason,
    process::Process,
    record::Record,
    request::{Assignment, DiskRates, Home},
    runtime::{Prepared, Runtime},
    storage::{Found, Ids, StorageError},
    view::Phase,
    watcher,
    work::blocking,
};

/// A desktop without a session, and what a session in it needs.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) base: Base,
    pub(super) image: Found,
    pub(super) runtime: Arc<Runtime>,
    /// Waits beside it, so that the session begins at once.
    pub(super) prepared: Prepared,
}

/// How the waiting ended.
#[derive(Debug)]
pub(super) enum Wait {
    Given(Arc<Assignment>),
    Ended(Verdict),
}

/// A warm desktop of an earlier agent is of no use.
#[derive(Debug, Error)]
pub(super) enum Useless {
    #[error("its image cannot be had any more")]
    Image(#[from] StorageError),
    #[error("its image is called `{0}`, which is no name")]
    Name(String),
    #[error("its runtime `{0}` is not configured any more")]
    Runtime(String),
}

impl Warm {
    /// A warm desktop of an earlier agent.
    pub(super) async fn adopt(
        host: &Arc<Host>,
        record: &Record,
        base: Base,
    ) -> Result<Self, Useless> {
        // As it was resolved then: a tag may have moved.
        let name = record.image.split([':', '@']).next().unwrap_or_default();
        let exact = format!("{name}@{}", record.version);
        let exact: ImageRef = exact.parse().map_err(|_| Useless::Name(exact))?;
        let storage = Arc::clone(host);
        let image = blocking(move || storage.storage.resolve(&exact)).await?;
        let (_, runtime) = host
            .runtimes
            .get(Some(&record.runtime))
            .ok_or_else(|| Useless::Runtime(record.runtime.clone()))?;
        Ok(Self { base, image, runtime, prepared: Prepared::default() })
    }
}

/// Waits until it is given to somebody, or ends. There is no session yet whose
/// end could be the desktop's.
pub(super) async fn wait(
    host: &Host,
    desktop: &Desktop,
    warm: &Warm,
    orders: &mut mpsc::Receiver<Asked>,
) -> Wait {
    let init = &warm.base.init;
    let mut init_ended = pin!(watcher::patiently(|| init.ended()));
    let mut given = pin!(desktop.given());
    loop {
        tokio::select! {
            biased;
            _order = desktop.stop_ordered() => break Wait::Ended((EndReason::Stopped, None)),
            _ended = &mut init_ended => {
                init.reap();
                break Wait::Ended((EndReason::InitExited, None));
            }
            assignment = &mut given => break Wait::Given(assignment),
            Some(asked) = orders.recv() => obey(host, desktop, &warm.base, asked).await,
        }
    }
}

/// Gives it to its user; until the display answers. On `Err` the caller releases
/// what was made.
pub(super) async fn give(
    host: &Arc<Host>,
    desktop: &Desktop,
    warm: Warm,
    assignment: &Assignment,
) -> Result<Up, NotUp> {
    let mut at = Phase::Session;
    let steps = steps(host, desktop, warm, assignment, &mut at).await;
    outcome(host, desktop, at, steps).await
}

async fn steps(
    host: &Arc<Host>,
    desktop: &Desktop,
    warm: Warm,
    assignment: &Assignment,
    at: &mut Phase,
) -> Result<Option<Up>, StepError> {
    let Warm { base, image, runtime, prepared } = warm;
    // First of all: from here on nobody else gets it, whatever happens.
    record(host, desktop).await?;
    fail_points::pass("give desktop");
    if let Some(wanted) = assignment.home.clone() {
        *at = Phase::Disk;
        desktop.mark(Phase::Disk, false);
        let account = assignment.seat.account.clone();
        let found = look_for_home(host, wanted.clone(), account).await?;
        let (host, number) = (Arc::clone(host), assignment.number);
        let (seat, init) = (assignment.seat.clone(), held(&base.init)?);
        let rates = desktop.view().record.limits.disk;
        blocking(move || {
            let mounted = mount_home(&host, number, &found, &seat)?;
            limit_disks(&host, number, &wanted, rates)?;
            let ids = ids_of(&host, number)?;
            let inside = format!("home/{}", seat.account.name);
            Ok::<_, StepError>(inside::attach(&init, &mounted, &inside, ids.first)?)
        })
        .await?;
        fail_points::pass("attach home");
        desktop.mark(Phase::Disk, true);
    }
    *at = Phase::Session;
    let ips = desktop.view().ips;
    let init = held(&base.init)?;
    let own_init = base.own_init.is_some();
    {
        let (host, number) = (Arc::clone(host), assignment.number);
        let seat = assignment.seat.clone();
        blocking(move || {
            let paths = host.paths.desktop(number);
            let ids = ids_of(&host, number)?;
            let user = ids.container_map().outer(seat.account.uid);
            disk::give_display_dir(&paths, user.ok_or(home::HomeError::Names)?)?;
            let bundle = paths.bundle();
            disk::write_names(&bundle, &seat.label, &ips)?;
            // An image's own init knows which machine it is since it booted.
            if !own_init {
                disk::write_machine_id(&bundle, &seat.label)?;
            }
            inside::set_host_name(&init, &disk::host_name(&seat.label))?;
            Ok::<_, StepError>(())
        })
        .await?;
    }
    fail_points::pass("name desktop");
    if desktop.is_stop_ordered() {
        return Ok(None);
    }
    let means = Means { image: &image, runtime: &runtime, prepared };
    begin_session(host, desktop, &assignment.seat, base, means, at).await
}

/// Mounts the user's home; says where. Blocking.
fn mount_home(
    host: &Host,
    number: Number,
    found: &home::Found,
    seat: &Seat,
) -> Result<PathBuf, StepError> {
    let paths = host.paths.desktop(number);
    let ids = ids_of(host, number)?;
    let (mounted, needed) = home::mount(host, found, &seat.account, &paths, ids)?;
    if needed != ids {
        let reason = "the ids of a desktop that was made ahead of its user are settled";
        return Err(home::HomeError::NotMapped { path: mounted, reason }.into());
    }
    Ok(mounted)
}

/// Before the user can write to the home that has come.
fn limit_disks(
    host: &Host,
    number: Number,
    home: &Home,
    rates: DiskRates,
) -> Result<(), StepError> {
    if rates == DiskRates::default() {
        return Ok(());
    }
    let disks = Disks::of(&host.paths.desktop(number), Some(home))?;
    disks.limit(&host.cgroup(number)?, rates)?;
    Ok(disks.limit_write_back(&host.hierarchies, rates)?)
}

fn held(init: &Process) -> Result<Process, StepError> {
    init.try_clone().map_err(|source| StepError::io("hold", "init", source))
}

/// The ids of a desktop that is there: its directory is passable for its root
/// alone, and has that one's group.
fn ids_of(host: &Host, number: Number) -> Result<Ids, StepError> {
    let paths = host.paths.desktop(number);
    let dir = paths.dir();
    let status = fs::symlink_metadata(dir)
        .map_err(|source| StepError::io("look at", dir.display(), source))?;
    Ok(Ids::of_a_desktop(status.gid()))
}
