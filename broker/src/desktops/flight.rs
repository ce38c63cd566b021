//! A start under way: one task works, any number of callers follow it from
//! the beginning, whenever they come. Callers may leave; the start goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, stream};
use rolltop_proto::v1::{Phase, Progress};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::DesktopError;
use crate::{
    names::DesktopId,
    state::{DesktopRecord, PhaseRecord},
};

/// What ends a start: the desktop (running or failed), or why there is none.
pub type Outcome = Arc<Result<DesktopRecord, DesktopError>>;

/// What a caller sees of a start.
#[derive(Debug, Clone)]
pub enum Step {
    /// A phase began or ended.
    Progress(Progress),
    /// The last.
    Done(Outcome),
}

/// A start under way.
pub struct Flight {
    id: DesktopId,
    begun: Instant,
    log: watch::Sender<Log>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Log {
    /// Two entries a phase at most.
    progress: Vec<Progress>,
    outcome: Option<Outcome>,
}

/// All starts under way.
#[derive(Default)]
pub(super) struct Flights {
    table: Arc<Mutex<BTreeMap<DesktopId, Arc<Flight>>>>,
}

/// Held by the task that works; when it is dropped, the flight is over.
pub(super) struct Pilot {
    flight: Arc<Flight>,
    table: Arc<Mutex<BTreeMap<DesktopId, Arc<Flight>>>>,
}

// === impl Flight ===

impl Flight {
    /// Everything from the beginning; ends after [`Step::Done`].
    pub fn follow(self: &Arc<Self>) -> impl Stream<Item = Step> + Send + use<> {
        let cursor = (self.log.subscribe(), 0_usize);
        stream::unfold(Some(cursor), |cursor| async {
            let (mut log, next) = cursor?;
            loop {
                {
                    let seen = log.borrow_and_update();
                    if let Some(progress) = seen.progress.get(next) {
                        let step = Step::Progress(*progress);
                        drop(seen);
                        return Some((step, Some((log, next + 1))));
                    }
                    if let Some(outcome) = &seen.outcome {
                        return Some((Step::Done(Arc::clone(outcome)), None));
                    }
                }
                // The pilot always leaves an outcome before it goes.
                log.changed().await.ok()?;
            }
        })
    }

    /// Asks the start to end; the desktop then ends as well.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Notes a phase; a repetition, after joining the host's start again, is
    /// not told twice.
    pub(super) fn note(&self, phase: Phase, done: bool) {
        let elapsed = self.begun.elapsed();
        self.log.send_if_modified(|log| {
            let known = log.progress.iter().any(|seen| seen.phase() == phase && seen.done == done);
            if !known && phase != Phase::Unspecified {
                let elapsed = prost_types::Duration::try_from(elapsed).ok();
                log.progress.push(Progress { phase: phase.into(), done, elapsed });
            }
            !known
        });
    }

    /// The phase that is under way.
    pub(super) fn phase(&self) -> Phase {
        self.log.borrow().progress.last().map_or(Phase::Placement, Progress::phase)
    }

    /// Phases that ended well.
    pub(super) fn phases(&self) -> Vec<PhaseRecord> {
        let log = self.log.borrow();
        let done = log.progress.iter().filter(|progress| progress.done);
        done.map(|progress| PhaseRecord {
            phase: progress.phase,
            done_us: micros(progress.elapsed),
        })
        .collect()
    }
}

// === impl Flights ===

impl Flights {
    /// The flight of a desktop; a new one comes with the duty to fly it.
    pub(super) fn join(&self, id: &DesktopId) -> (Arc<Flight>, Option<Pilot>) {
        let mut table = lock(&self.table);
        if let Some(flight) = table.get(id) {
            return (Arc::clone(flight), None);
        }
        let flight = Arc::new(Flight {
            id: id.clone(),
            begun: Instant::now(),
            log: watch::Sender::new(Log::default()),
            stop: CancellationToken::new(),
        });
        table.insert(id.clone(), Arc::clone(&flight));
        let pilot = Pilot { flight: Arc::clone(&flight), table: Arc::clone(&self.table) };
        (flight, Some(pilot))
    }

    pub(super) fn find(&self, id: &DesktopId) -> Option<Arc<Flight>> {
        lock(&self.table).get(id).map(Arc::clone)
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    pub(super) fn all(&self) -> BTreeSet<DesktopId> {
        lock(&self.table).keys().cloned().collect()
    }
}

// === impl Pilot ===

impl Pilot {
    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Ends the flight. Later callers begin a new one.
    pub(super) fn land(self, outcome: Result<DesktopRecord, DesktopError>) {
        self.finish(outcome);
    }

    fn finish(&self, outcome: Result<DesktopRecord, DesktopError>) {
        // Out of the table first: who has seen the outcome finds no flight.
        lock(&self.table).remove(&self.flight.id);
        self.flight.log.send_modify(|log| log.outcome = Some(Arc::new(outcome)));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if self.flight.log.borrow().outcome.is_none() {
            self.finish(Err(DesktopError::Abandoned(self.flight.id.clone())));
        }
    }
}

fn micros(duration: Option<prost_types::Duration>) -> u64 {
    let duration = duration.and_then(|duration| std::time::Duration::try_from(duration).ok());
    duration.map_or(0, |duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn id() -> DesktopId {
        DesktopId::from_key("demo/anna").unwrap()
    }

    fn told(step: &Step) -> String {
        match step {
            Step::Progress(progress) => format!("{:?} {}", progress.phase(), progress.done),
            Step::Done(outcome) => {
                format!("{:?}", outcome.as_ref().as_ref().map(|_| ()).map_err(ToString::to_string))
            }
        }
    }

    #[tokio::test]
    async fn early_and_late_callers_see_the_same() {
        let flights = Flights::default();
        let (flight, pilot) = flights.join(&id());
        let early = tokio::spawn(flight.follow().map(|step| told(&step)).collect::<Vec<_>>());
        flight.note(Phase::Disk, false);
        flight.note(Phase::Disk, true);
        flight.note(Phase::Disk, false);
        let (joined, second) = flights.join(&id());
        assert!(second.is_none(), "one flight a desktop");
        let late = joined.follow();
        pilot.unwrap().land(Err(DesktopError::Stopped(id())));
        let late: Vec<String> = late.map(|step| told(&step)).collect().await;
        assert_eq!(early.await.unwrap(), late);
        assert_eq!(late.len(), 3);
        assert!(flights.find(&id()).is_none());
    }

    #[tokio::test]
    async fn a_pilot_that_vanishes_leaves_nobody_waiting() {
        let flights = Flights::default();
        let (flight, pilot) = flights.join(&id());
        drop(pilot);
        let steps: Vec<String> = flight.follow().map(|step| told(&step)).collect().await;
        assert_eq!(steps.len(), 1);
        assert!(steps[0].contains("ended unexpectedly"), "{steps:?}");
        assert!(flights.join(&id()).1.is_some(), "the next one can start");
    }
}
