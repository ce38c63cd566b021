//! What a new agent does first: adopt the desktops that live, take away what
//! is half-made. It asks the kernel; a record only says what to ask for.

use std::{
    collections::BTreeSet,
    error::Error,
    fs, io,
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rolltop_proto::egress::Egress;
use tracing::{error, info, warn};

use crate::{
    address::{Number, link_name, number_of_link},
    desktop::{ReleaseError, adopt, clear_away, release, sentence},
    host::Host,
    keep::KeepError,
    lifecycle::{EndReason, State},
    network::{Member, NetworkError},
    process::{Process, is_gone},
    record::{Record, RecordError},
    storage::Used,
    view::View,
    work::blocking,
};

/// Between two looks for storage that does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Desktops that live and are watched again.
    pub adopted: usize,
    /// Remains that were taken away.
    pub removed: usize,
    /// Remains that would not go.
    pub stuck: usize,
    /// Remains on storage that does not answer: they go when it does.
    pub late: usize,
}

/// What a number stands for.
enum Trace {
    /// A desktop that was up and still is.
    Living(Record, Process),
    /// Remains, and their record if there is one.
    Remains(Option<Record>),
}

/// Brings the host and the registry in line. Run it once, before any request.
///
/// # Errors
/// The packet filter cannot be set: nothing may be started then. Living
/// desktops run on behind the walls that an earlier agent has left.
pub async fn recover(host: &Arc<Host>) -> Result<Recovered, NetworkError> {
    let begun = Instant::now();
    let mut found = Recovered::default();
    for number in traces(host).await {
        match living(host, number).await {
            Err(error) => {
                // It may well live. The next start of the agent looks again.
                error!(%number, error = %sentence(&*error), "cannot tell whether a desktop lives; leaving it alone");
                found.stuck += 1;
            }
            Ok(Trace::Living(record, init)) => {
                let Some(view) = view_of(host, record) else { continue };
                let desktop = host.registry.adopt(view);
                adopt(host, desktop, init);
                found.adopted += 1;
            }
            Ok(Trace::Remains(record)) => {
                let patience = begun + host.config.nfs.deadline;
                match clear(host, number, record, patience).await {
                    None => found.late += 1,
                    Some(errors) => {
                        for error in &errors {
                            error!(%number, %error, "remains of a desktop cannot be taken away");
                        }
                        if errors.is_empty() { found.removed += 1 } else { found.stuck += 1 }
                    }
                }
            }
        }
    }
    wall_in(host).await?;
    if found.stuck == 0 {
        let its = Arc::clone(host);
        blocking(move || let_go(&its)).await;
    }
    host.metrics.recovered(found);
    info!(
        adopted = found.adopted,
        removed = found.removed,
        stuck = found.stuck,
        late = found.late,
        elapsed_ms = begun.elapsed().as_millis() as u64,
        "recovered"
    );
    Ok(found)
}

/// Takes remains away; what would not go. What is on storage that does not answer
/// by `patience` is no reason for everybody to wait: it is a desktop that is
/// stopping (`None`) until the storage answers.
async fn clear(
    host: &Arc<Host>,
    number: Number,
    record: Option<Record>,
    patience: Instant,
) -> Option<Vec<ReleaseError>> {
    let view = record.and_then(|record| {
        view_of(host, Record { state: State::Stopping, ..record.clone() }).map(|view| {
            let kept = view.overlay.kept_name().is_some() || view.home_volume.is_some();
            (view, record.state, kept)
        })
    });
    let Some((mut view, before, true)) = view else {
        return Some(release(host, number, None).await);
    };
    let its = Arc::clone(host);
    let mut releasing = tokio::spawn(async move {
        while let Err(KeepError::Silent { .. }) = its.keep.kept().await {
            tokio::time::sleep(PAUSE).await;
        }
        release(&its, number, None).await
    });
    match tokio::time::timeout_at(patience.into(), &mut releasing).await {
        Ok(done) => Some(done.unwrap_or_else(|error| resume_unwind(error.into_panic()))),
        Err(_elapsed) => {
            warn!(%number, "remains of a desktop wait for the storage they are on (kept_dir)");
            view.end = Some(match before {
                State::Stopping => EndReason::Stopped,
                _ => EndReason::InitExited,
            });
            clear_away(host, host.registry.adopt(view), releasing);
            None
        }
    }
}

/// Puts the adopted into the packet filter, and nobody else.
async fn wall_in(host: &Host) -> Result<(), NetworkError> {
    let all = host.registry.all().into_iter();
    let members = all.filter(|desktop| desktop.view().state() != State::Stopping).map(|desktop| {
        let View { record, mac, ips, .. } = desktop.view();
        let egress = Egress::parse(&record.egress).unwrap_or_else(|errors| {
            // Changed by hand. Nothing is opened by mistake.
            error!(number = %record.number, ?errors, "the record's network policy cannot be read: nothing may leave");
            Egress::none()
        });
        Member { link: link_name(record.number), mac, ips, egress }
    });
    host.network.wall_in(members.collect()).await
}

/// Lets go of the versions that no desktop uses. Only while nothing can be
/// started. Blocking.
pub(crate) fn let_go(host: &Host) {
    let used: Vec<Used> = host
        .registry
        .all()
        .iter()
        .filter_map(|desktop| {
            let record = desktop.view().record;
            let name = record.image.split([':', '@']).next()?;
            Some((name.parse().ok()?, record.version.parse().ok()?))
        })
        .collect();
    host.storage.release_unused(&used);
}

/// Numbers of which anything is there. A directory is made before and removed
/// after all else; links and volatile overlays also tell of one that was lost.
async fn traces(host: &Arc<Host>) -> BTreeSet<Number> {
    let mut numbers: BTreeSet<Number> = match host.network.desktop_links().await {
        Ok(links) => links.iter().filter_map(|link| number_of_link(link)).collect(),
        Err(error) => {
            warn!(%error, "links of earlier desktops cannot be listed");
            BTreeSet::new()
        }
    };
    let host = Arc::clone(host);
    let others = blocking(move || {
        let mut numbers = names_in(&host.paths.desktops());
        match host.keep.own().volatile_numbers() {
            Ok(found) => numbers.extend(found.into_iter().filter_map(Number::new)),
            Err(error) => warn!(%error, "overlays of earlier desktops cannot be listed"),
        }
        numbers
    })
    .await;
    numbers.extend(others);
    numbers
}

fn names_in(dir: &Path) -> BTreeSet<Number> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .filter_map(|entry| number(&entry.file_name().to_string_lossy()))
            .collect(),
        Err(error) => {
            warn!(%error, dir = %dir.display(), "records of earlier desktops cannot be listed");
            BTreeSet::new()
        }
    }
}

fn number(name: &str) -> Option<Number> {
    let number = Number::new(name.parse().ok()?)?;
    (number.to_string() == name).then_some(number)
}

/// Looks whether a desktop was up and still is. An error tells neither that it
/// lives nor that it does not.
async fn living(host: &Arc<Host>, number: Number) -> Result<Trace, Box<dyn Error + Send + Sync>> {
    let path = host.paths.desktop(number).record();
    let record = match blocking(move || Record::read(&path)).await {
        Ok(record) => record,
        Err(RecordError::Read { source, .. }) if source.kind() != io::ErrorKind::NotFound => {
            return Err(source.into());
        }
        Err(error) => {
            warn!(%number, %error, "no usable record: taking down what is there");
            return Ok(Trace::Remains(None));
        }
    };
    // A warm one whose user was being let in is `Starting`: it goes.
    let was_up = matches!(record.state, State::Warm | State::Running | State::Frozen);
    if record.number != number {
        return Ok(Trace::Remains(None));
    }
    let Some(init) = record.init.filter(|_| was_up) else {
        return Ok(Trace::Remains(Some(record)));
    };
    match Process::reopen(init) {
        Ok(init) if !init.has_ended() => Ok(Trace::Living(record, init)),
        Ok(_ended) => Ok(Trace::Remains(Some(record))),
        Err(error) if is_gone(&error) => Ok(Trace::Remains(Some(record))),
        Err(error) => Err(error.into()),
    }
}

fn view_of(host: &Host, record: Record) -> Option<View> {
    match host.view_of(record) {
        Ok(view) => Some(view),
        Err(error) => {
            // The network was configured smaller while desktops were running.
            error!(%error, "a living desktop has a number this configuration has no place for");
            None
        }
    }
}
