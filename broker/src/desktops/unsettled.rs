//! What could not be noted because the store failed, and what may have been noted
//! although it seemed to have failed. Once the store answers again, every host
//! tells all it has, and that is held against the records once more; without that
//! a desktop whose start or end fell into the failure would be noted as it was
//! before, until its host's line happens to break.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{DesktopError, Desktops, Reconciler};
use crate::{
    state::keys,
    store::{Commit, StoreError, Transaction},
};

/// Before the store is asked whether it answers again.
const PAUSE: Duration = Duration::from_secs(1);
/// What was under way to the store when it failed may be applied for as long.
const AFTERWARDS: Duration = Duration::from_secs(15);

impl Desktops {
    /// Commits; a failure is remembered.
    pub(super) async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        let done = self.store().commit(transaction).await;
        if done.as_ref().err().is_some_and(passes) {
            self.doubt();
        }
        done
    }

    /// Remembers that the records may differ from what is there, if this is why.
    pub(super) fn doubt_after(&self, error: &DesktopError) {
        if may_pass(error) {
            self.doubt();
        }
    }

    fn doubt(&self) {
        self.inner.unsettled.notify_one();
    }
}

impl Reconciler {
    /// Holds all that hosts have against the records once more: after a failure of
    /// the store, and when a broker is gone that may have left something half done.
    pub async fn look_again(&self) {
        self.desktops.inner.hosts.look_again();
        self.fail_orphans().await;
    }

    /// Settles what failures of the store have left, for ever.
    pub async fn settle(self: Arc<Self>) {
        let inner = &self.desktops.inner;
        let mut afterwards: Option<Instant> = None;
        loop {
            let due = async {
                match afterwards {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let anew = tokio::select! {
                () = inner.unsettled.notified() => true,
                () = due => false,
            };
            if anew {
                sleep(PAUSE).await;
                while inner.store.range(keys::BROKERS).await.is_err() {
                    sleep(PAUSE).await;
                }
                tracing::info!("the store has failed for a moment; hosts are asked what they have");
            }
            self.look_again().await;
            afterwards = anew.then(|| Instant::now() + AFTERWARDS);
        }
    }
}

/// Whether the same may succeed when it is tried again.
pub(super) fn may_pass(error: &DesktopError) -> bool {
    matches!(error, DesktopError::Store(error) if passes(error))
}

fn passes(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unavailable { .. }
            | StoreError::Indeterminate { .. }
            | StoreError::Contended { .. }
    )
}
