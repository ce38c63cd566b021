//! One thing at a time is done to a volume, by a thread that outlives its
//! callers. What was done for a request is remembered for a while, so that a
//! repeated one gets the same answer.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::sync::watch;

use super::{Done, VolumeError, VolumeKey};

/// Ended jobs remembered.
const REMEMBERED: usize = 256;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Made larger.
    Grow,
    /// Unused blocks given back.
    Trim,
    /// Looked through.
    Check,
    /// Deleted.
    Delete,
    /// A snapshot made.
    Snapshot,
    /// A snapshot deleted.
    DeleteSnapshot,
    /// Made what it was.
    RollBack,
    /// Copied, or made by copying.
    Clone,
    /// Written to a stream.
    Export,
    /// Made from a stream.
    Import,
}

/// How a job ended.
pub type Outcome = Arc<Result<Done, VolumeError>>;

/// Something that is being done, or was.
#[derive(Debug)]
pub struct Job {
    volumes: Vec<VolumeKey>,
    task: Task,
    request_id: String,
    begun: Instant,
    outcome: watch::Sender<Option<Outcome>>,
}

/// Everything that is being done.
#[derive(Debug, Default)]
pub struct Jobs {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// A job is here under each of its volumes.
    running: BTreeMap<VolumeKey, Arc<Job>>,
    ended: VecDeque<Arc<Job>>,
}

/// Something else is being done to a volume.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{volume} is being {task} for {seconds} s; try again when that is done")]
pub struct Busy {
    /// Which volume.
    pub volume: VolumeKey,
    /// What is being done.
    pub task: Task,
    /// For how long.
    pub seconds: u64,
}

/// Ends its job, however the thread ends.
struct Ending {
    jobs: Arc<Jobs>,
    job: Arc<Job>,
    outcome: Option<Outcome>,
}

// === impl Jobs ===

impl Jobs {
    /// Does `work` on a thread of its own, unless something else is being done
    /// to one of the volumes. With a request id that was seen before, gives the
    /// job that it began.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn begin(
        self: &Arc<Self>,
        volumes: Vec<VolumeKey>,
        task: Task,
        request_id: &str,
        work: impl FnOnce() -> Result<Done, VolumeError> + Send + 'static,
    ) -> Result<Arc<Job>, Busy> {
        let job = {
            let mut table = self.lock();
            if let Some(known) = table.known(&volumes, task, request_id) {
                return Ok(known);
            }
            if let Some(busy) = volumes.iter().find_map(|volume| table.busy(volume)) {
                return Err(busy);
            }
            let job = Arc::new(Job {
                volumes,
                task,
                request_id: request_id.to_owned(),
                begun: Instant::now(),
                outcome: watch::Sender::new(None),
            });
            for volume in &job.volumes {
                table.running.insert(volume.clone(), Arc::clone(&job));
            }
            job
        };
        let ending = Ending { jobs: Arc::clone(self), job: Arc::clone(&job), outcome: None };
        // Not one of the runtime's threads: the agent's end would wait for
        // them, and the library bears to be cut off.
        let spawned =
            std::thread::Builder::new().name("storage".into()).spawn(move || ending.with(work()));
        if let Err(source) = spawned {
            // `ending` went with the closure and has freed the volumes.
            job.outcome.send_replace(Some(Arc::new(Err(VolumeError::Thread(source)))));
        }
        Ok(job)
    }

    /// What is being done to a volume.
    pub fn of(&self, volume: &VolumeKey) -> Option<Arc<Job>> {
        self.lock().running.get(volume).cloned()
    }

    /// That something is being done to a volume, as an error.
    pub fn busy(&self, volume: &VolumeKey) -> Option<Busy> {
        self.lock().busy(volume)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No step under this lock can leave the table half-changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn known(&self, volumes: &[VolumeKey], task: Task, request_id: &str) -> Option<Arc<Job>> {
        let same = |job: &&Arc<Job>| {
            job.request_id == request_id && job.task == task && job.volumes == volumes
        };
        if request_id.is_empty() {
            return None;
        }
        self.running.values().chain(&self.ended).find(same).cloned()
    }

    fn busy(&self, volume: &VolumeKey) -> Option<Busy> {
        self.running.get(volume).map(|job| Busy {
            volume: volume.clone(),
            task: job.task,
            seconds: job.elapsed().as_secs(),
        })
    }
}

// === impl Job ===

impl Job {
    /// What it is.
    pub fn task(&self) -> Task {
        self.task
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for its end.
    pub async fn outcome(&self) -> Outcome {
        let mut outcomes = self.outcome.subscribe();
        // Cannot fail: the sender lives as long as `self`.
        let outcome = outcomes.wait_for(Option::is_some).await.ok().and_then(|o| o.clone());
        outcome.unwrap_or_else(|| Arc::new(Err(VolumeError::Interrupted)))
    }
}

// === impl Ending ===

impl Ending {
    fn with(mut self, outcome: Result<Done, VolumeError>) {
        self.outcome = Some(Arc::new(outcome));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut table = self.jobs.lock();
        for volume in &self.job.volumes {
            table.running.remove(volume);
        }
        // A failed one may be tried again.
        let worth_keeping = self.outcome.as_ref().is_some_and(|outcome| outcome.is_ok());
        if worth_keeping && !self.job.request_id.is_empty() {
            table.ended.push_back(Arc::clone(&self.job));
            let surplus = table.ended.len().saturating_sub(REMEMBERED);
            table.ended.drain(..surplus);
        }
        drop(table);
        let interrupted = || Arc::new(Err(VolumeError::Interrupted));
        let outcome = self.outcome.take().unwrap_or_else(interrupted);
        self.job.outcome.send_replace(Some(outcome));
    }
}

impl fmt::Display for Task {
    /// "it is being ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grow => "grown",
            Self::Trim => "trimmed",
            Self::Check => "checked",
            Self::Delete => "deleted",
            Self::Snapshot => "kept as a snapshot",
            Self::DeleteSnapshot => "freed of a snapshot",
            Self::RollBack => "rolled back",
            Self::Clone => "cloned",
            Self::Export => "exported",
            Self::Import => "imported",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn key(name: &str) -> VolumeKey {
        let kind = rolltop_overlay::OverlayKind::Persistent(name.try_into().unwrap());
        VolumeKey::of(&kind).unwrap()
    }

    /// A job that goes on until told.
    fn held(jobs: &Arc<Jobs>, volumes: &[&str], id: &str) -> (Arc<Job>, mpsc::Sender<()>) {
        let (go, wait) = mpsc::channel::<()>();
        let volumes = volumes.iter().map(|name| key(name)).collect();
        let work = move || {
            // An error is the sender's end: a go as well.
            wait.recv().unwrap_or_default();
            Ok(Done::Deleted)
        };
        (jobs.begin(volumes, Task::Clone, id, work).unwrap(), go)
    }

    #[tokio::test]
    async fn one_at_a_time_for_each_volume() {
        let jobs = Arc::new(Jobs::default());
        let (job, go) = held(&jobs, &["a", "b"], "");
        let busy = jobs.begin(vec![key("b")], Task::Trim, "", || Ok(Done::Deleted)).unwrap_err();
        assert_eq!((busy.task, &busy.volume), (Task::Clone, &key("b")));
        assert!(busy.to_string().starts_with("persistent overlay b is being cloned for "));
        let (_other, _go) = held(&jobs, &["c"], "");
        go.send(()).unwrap();
        assert!(job.outcome().await.is_ok());
        assert!(jobs.of(&key("a")).is_none() && jobs.of(&key("b")).is_none());
        assert!(jobs.of(&key("c")).is_some());
    }

    #[tokio::test]
    async fn a_repeated_request_joins_and_is_remembered() {
        let jobs = Arc::new(Jobs::default());
        let (job, go) = held(&jobs, &["a"], "r");
        let (joined, _unused) = held(&jobs, &["a"], "r");
        assert!(Arc::ptr_eq(&job, &joined));
        drop(go);
        assert!(job.outcome().await.is_ok());
        let (again, _unused) = held(&jobs, &["a"], "r");
        assert!(Arc::ptr_eq(&job, &again), "it is not done twice");
        let (other, _unused) = held(&jobs, &["b"], "r");
        assert!(!Arc::ptr_eq(&job, &other), "another volume is another request");
    }

    #[tokio::test]
    async fn a_failed_request_may_be_tried_again_and_a_panic_frees_the_volume() {
        let jobs = Arc::new(Jobs::default());
        let fail = || Err(VolumeError::Interrupted);
        let job = jobs.begin(vec![key("a")], Task::Trim, "r", fail).unwrap();
        assert!(job.outcome().await.is_err());
        let second = jobs.begin(vec![key("a")], Task::Trim, "r", || Ok(Done::Deleted)).unwrap();
        assert!(second.outcome().await.is_ok());
        let broken = jobs.begin(vec![key("a")], Task::Trim, "", || panic!("a fault")).unwrap();
        assert!(matches!(&*broken.outcome().await, Err(VolumeError::Interrupted)));
        assert!(jobs.of(&key("a")).is_none());
    }
}
