//! Image roll-outs: the desktops of a pool that are behind are ended and started
//! anew, a batch at a time, until all are done or too many starts have failed.
//!
//! * `survey`: what is there, of one pool;
//! * `plan`: what is to be done about it now: a pure function;
//! * `acts`: what operators want: start, pause, resume, cancel, roll back;
//! * `keeper`: does what is planned, for ever;
//! * `restart`: one desktop, from its end to its being up again.
//!
//! One broker sees to a roll-out, whose record bears its name; when it is gone,
//! another puts its own there and goes on. What is being restarted is in the
//! record, written in the transaction that ends the desktop: so there are never
//! more than a batch, whoever dies when.

mod acts;
mod error;
mod keeper;
mod plan;
mod restart;
mod survey;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use error::RolloutError;
pub use survey::Shown;

use crate::{
    auth::Groups,
    clock::Clock,
    desktops::Desktops,
    hosts::Hosts,
    names::{DesktopId, PoolName},
    presence::Presence,
    state::RolloutState,
    store::Store,
};

/// What it takes to roll out.
pub struct Parts {
    /// Where the records are.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is restarted.
    pub desktops: Desktops,
    /// Where the versions are.
    pub hosts: Hosts,
    /// Who may have a desktop of a pool.
    pub groups: Groups,
    /// This broker among the others.
    pub presence: Presence,
    /// Restarts under way are among these.
    pub tasks: TaskTracker,
}

/// All roll-outs. Cheap to clone.
#[derive(Clone)]
pub struct Rollouts {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// Those this broker restarts, by their life that ends.
    at_work: Mutex<BTreeSet<(DesktopId, u64)>>,
    /// Something was done: look now.
    nudge: Notify,
    /// As they were seen last.
    states: Mutex<BTreeMap<PoolName, RolloutState>>,
}

// === impl Rollouts ===

impl Rollouts {
    /// Nothing happens until [`Rollouts::keep`] runs.
    pub fn new(parts: Parts) -> Self {
        let inner = Inner {
            parts,
            at_work: Mutex::default(),
            nudge: Notify::new(),
            states: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many there are in each state, as this broker saw them last.
    pub fn tally(&self) -> BTreeMap<RolloutState, u64> {
        let mut tally: BTreeMap<_, _> =
            RolloutState::ALL.into_iter().map(|state| (state, 0)).collect();
        for state in lock(&self.inner.states).values() {
            *tally.entry(*state).or_default() += 1;
        }
        tally
    }

    fn store(&self) -> &dyn Store {
        self.inner.parts.store.as_ref()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
