//! Desktops made ahead of their users, so that who asks for one waits for their
//! session alone.
//!
//! * `ledger`: the transactions on their records;
//! * `choose`: which of them a claim takes;
//! * `make`: one is claimed on a host, and made there;
//! * `told`: what hosts say about them;
//! * `plan`: how many are missing and which are of no use: a pure function;
//! * `keep`: sees to it, for ever;
//! * `patience`: how long a pool whose desktops cannot be made is left alone.
//!
//! Every broker does all of this. That two of them do not make the same desktop
//! twice is seen to by the transactions: whoever makes one demands that nothing
//! has been claimed in the cluster since it counted.

mod choose;
mod keep;
mod ledger;
mod make;
mod patience;
mod plan;
mod told;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

pub use keep::Keeper;
use patience::Patience;
pub(super) use told::WarmVerdict;

use super::Desktops;
use crate::{
    names::PoolName,
    state::{self, WarmRecord, WarmState, keys},
    store::StoreError,
};

/// Desktops that one broker has made at a time: people's starts come first.
const MAKES_AT_ONCE: usize = 4;
/// Desktops that one broker ends at a time.
const ENDS_AT_ONCE: usize = 16;

/// What this broker has in memory about them.
#[derive(Debug, Default)]
pub(super) struct Warming {
    /// Pools whose desktops could not be made.
    patience: Patience,
    /// Those this broker is making, or ending, by epoch.
    at_work: Mutex<BTreeMap<u64, Work>>,
    /// One was taken, made or ended: look now.
    nudge: Notify,
}

/// What this broker does about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Make,
    End,
}

/// Something this broker does about one; not any more when this is dropped.
struct AtWork {
    desktops: Desktops,
    epoch: u64,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.desktops.works().remove(&self.epoch);
    }
}

impl Desktops {
    /// How many are ready, by pool.
    ///
    /// # Errors
    /// Of the store.
    pub async fn warm_ready(&self) -> Result<BTreeMap<PoolName, u32>, StoreError> {
        let mut ready = BTreeMap::new();
        for stored in state::list::<WarmRecord>(self.store(), keys::WARM).await? {
            if stored.record.state == WarmState::Ready {
                *ready.entry(stored.record.pool).or_default() += 1;
            }
        }
        Ok(ready)
    }

    /// Why there are fewer than there should be; none: this broker does not know
    /// of a reason.
    pub fn warm_problem(&self, pool: &PoolName) -> Option<String> {
        self.inner.warming.patience.problem(pool)
    }

    /// `None`: it is being seen to already.
    fn at_work(&self, epoch: u64, work: Work) -> Option<AtWork> {
        let mut works = self.works();
        if works.contains_key(&epoch) {
            return None;
        }
        works.insert(epoch, work);
        Some(AtWork { desktops: self.clone(), epoch })
    }

    /// Whether as many are being made, or ended, as may be at a time: a host that
    /// is slow to end some holds up no others that are made.
    fn is_busy(&self, with: Work) -> bool {
        let most = match with {
            Work::Make => MAKES_AT_ONCE,
            Work::End => ENDS_AT_ONCE,
        };
        self.works().values().filter(|work| **work == with).count() >= most
    }

    /// Something has changed: the keeper looks now.
    fn nudge(&self) {
        self.inner.warming.nudge.notify_one();
    }

    fn works(&self) -> MutexGuard<'_, BTreeMap<u64, Work>> {
        self.inner.warming.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
