//! Which member is asked, and who is asked next. A connection to each, and one
//! that all use until it fails them: a paused member then costs one wait, not
//! one of every three calls.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use etcd_client::{Client, Error};
use futures_util::future::BoxFuture;
use rand::RngExt as _;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout_at},
};

use super::{
    super::{LeaseId, StoreError},
    EtcdOptions,
    fault::Fault,
    lease_number, lease_options,
};

/// For one member's answer. A cluster elects a leader in less.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between tries, doubled up to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The members of the cluster.
pub(super) struct Members {
    options: EtcdOptions,
    list: Vec<Member>,
    /// In `list`: who is asked now.
    current: AtomicUsize,
}

struct Member {
    endpoint: String,
    client: OnceCell<Client>,
}

/// What is asked of one member.
pub(super) type Asked<T> = BoxFuture<'static, Result<T, Error>>;

// === impl Members ===

impl Members {
    pub(super) fn new(options: &EtcdOptions) -> Result<Self, StoreError> {
        if options.endpoints.is_empty() {
            return Err(StoreError::Setup {
                what: "endpoints".to_owned(),
                reason: "there are none".to_owned(),
            });
        }
        let list = options
            .endpoints
            .iter()
            .map(|endpoint| Member { endpoint: endpoint.clone(), client: OnceCell::new() })
            .collect();
        // Brokers begin with different members, so that none carries them all.
        let first = rand::rng().random_range(0..options.endpoints.len());
        Ok(Self { options: options.clone(), list, current: AtomicUsize::new(first) })
    }

    /// Of every call.
    pub(super) fn deadline(&self) -> Duration {
        self.options.deadline
    }

    pub(super) fn unavailable(&self, verb: &'static str, problem: String) -> StoreError {
        StoreError::Unavailable { verb, seconds: self.options.deadline.as_secs(), problem }
    }

    /// Asks until someone answers or the deadline is reached; `work` must do
    /// no harm if it is done twice.
    pub(super) async fn call<T: Send>(
        &self,
        verb: &'static str,
        work: impl Fn(Client) -> Asked<T> + Send + Sync,
    ) -> Result<T, StoreError> {
        let work = &work;
        self.until_answered(verb, |members, deadline| {
            Box::pin(async move { members.once(deadline, work).await })
        })
        .await
    }

    /// As [`Self::call`], each try being made by `attempt`.
    pub(super) async fn until_answered<'a, T: Send>(
        &'a self,
        verb: &'static str,
        mut attempt: impl FnMut(&'a Self, Instant) -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.options.deadline;
        let mut pause = Pause::default();
        loop {
            let fault = match attempt(self, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match fault {
                Fault::NotDone(_) | Fault::Unknown(_) => {
                    if !pause.before(deadline).await {
                        return Err(self.unavailable(verb, fault.problem()));
                    }
                }
                other => return Err(fault_error(verb, &other)),
            }
        }
    }

    /// One try with the member all use now, which they leave if it fails.
    pub(super) async fn once<T>(
        &self,
        deadline: Instant,
        work: impl FnOnce(Client) -> Asked<T> + Send,
    ) -> Result<T, Fault> {
        let (place, member) = self.current();
        let deadline = deadline.min(Instant::now() + PATIENCE);
        let tried = timeout_at(deadline, async {
            let client = self.client(member).await.map_err(|error| match Fault::of(&error) {
                // Connecting changes nothing.
                Fault::Unknown(text) => Fault::NotDone(text),
                other => other,
            })?;
            work(client).await.map_err(|error| Fault::of(&error))
        });
        let fault = match tried.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Unknown(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if let Fault::NotDone(problem) | Fault::Unknown(problem) = &fault {
            self.leave(place, problem);
        }
        Err(named(fault, &member.endpoint))
    }

    /// The member all use now, for a watch; with its place for [`Self::leave`].
    pub(super) async fn connected(&self) -> (usize, Result<Client, Fault>) {
        let (place, member) = self.current();
        let client = match timeout_at(Instant::now() + PATIENCE, self.client(member)).await {
            Ok(client) => client.map_err(|error| Fault::of(&error)),
            Err(_) => Err(Fault::NotDone("no answer".to_owned())),
        };
        (place, client)
    }

    /// The next calls go to the next member, unless they do already.
    pub(super) fn leave(&self, place: usize, problem: &str) {
        let next = (place + 1) % self.list.len();
        let moved =
            self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != place {
            let at = |place: usize| self.list.get(place).map(|member| member.endpoint.as_str());
            tracing::warn!(
                from = at(place),
                to = at(next),
                problem,
                "another etcd member is asked"
            );
        }
    }

    /// A lease with a number we choose, so that asking twice grants one.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let id = rand::rng().random_range(1..=i64::MAX);
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let mut asked_before = false;
        self.until_answered("grant a lease", |members, deadline| {
            let again = std::mem::replace(&mut asked_before, true);
            Box::pin(async move {
                let granted = members
                    .once(deadline, move |mut client| {
                        Box::pin(async move {
                            client.lease_grant(seconds, Some(lease_options(id))).await
                        })
                    })
                    .await;
                match granted {
                    Err(Fault::LeaseExists) if again => Ok(()),
                    other => other.map(drop),
                }
            })
        })
        .await?;
        Ok(LeaseId(id.unsigned_abs()))
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let id = lease_number(lease)?;
        self.call("keep a lease", move |mut client| {
            Box::pin(async move { client.lease_keep_alive(id).await.map(drop) })
        })
        .await
        .map_err(|error| name_lease(error, lease))
    }

    fn current(&self) -> (usize, &Member) {
        let place = self.current.load(Ordering::Relaxed) % self.list.len();
        (place, &self.list[place])
    }

    /// Connects on first use: with a user, that needs the member's answer.
    async fn client(&self, member: &Member) -> Result<Client, Error> {
        let connect = || Client::connect([member.endpoint.as_str()], Some(self.options.connect()));
        member.client.get_or_try_init(connect).await.cloned()
    }
}

/// Growing waits, spread so that callers do not come back together.
#[derive(Default)]
pub(super) struct Pause {
    count: u32,
}

impl Pause {
    /// Waits; false if there would be no time left after it.
    pub(super) async fn before(&mut self, deadline: Instant) -> bool {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.count.min(8)).min(LONGEST_PAUSE);
        self.count += 1;
        let end = Instant::now() + longest.mul_f64(rand::rng().random_range(0.5..1.0));
        if end >= deadline {
            return false;
        }
        sleep(end - Instant::now()).await;
        true
    }
}

/// A fault no further try mends.
pub(super) fn fault_error(verb: &'static str, fault: &Fault) -> StoreError {
    match fault {
        Fault::NoLease => StoreError::LeaseGone(LeaseId(0)),
        Fault::Compacted => StoreError::Compacted(super::Revision(0)),
        Fault::Refused(_) | Fault::LeaseExists | Fault::NotDone(_) | Fault::Unknown(_) => {
            StoreError::Refused { verb, reason: fault.problem() }
        }
    }
}

/// A member does not say which lease it misses.
pub(super) fn name_lease(error: StoreError, lease: LeaseId) -> StoreError {
    match error {
        StoreError::LeaseGone(_) => StoreError::LeaseGone(lease),
        other => other,
    }
}

fn named(fault: Fault, endpoint: &str) -> Fault {
    match fault {
        Fault::NotDone(text) => Fault::NotDone(format!("{endpoint}: {text}")),
        Fault::Unknown(text) => Fault::Unknown(format!("{endpoint}: {text}")),
        Fault::Refused(text) => Fault::Refused(format!("{endpoint}: {text}")),
        other @ (Fault::NoLease | Fault::Compacted | Fault::LeaseExists) => other,
    }
}
