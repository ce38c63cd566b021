//! How long people can learn why a desktop ended: its last record is under a lease,
//! which those share that end at about the same time. A lease for each would be a
//! write more for each.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use crate::store::{LeaseId, Store, StoreError};

/// At least this long.
const LAST_WORD: Duration = Duration::from_secs(60);
/// A lease is given to others for this long, and lives as much longer.
const SHARED: Duration = Duration::from_secs(1);
/// Most that share one: they vanish in one transaction, which watches take whole.
const AT_MOST: u32 = 64;

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<Option<Given>>);

#[derive(Debug)]
struct Given {
    lease: LeaseId,
    granted: Instant,
    times: u32,
}

// === impl LastWords ===

impl LastWords {
    /// A lease for one more record.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn lease(&self, store: &dyn Store) -> Result<LeaseId, StoreError> {
        // Held while it is granted: who comes meanwhile shares it.
        let mut given = self.0.lock().await;
        if let Some(given) = given.as_mut()
            && given.granted.elapsed() < SHARED
            && given.times < AT_MOST
        {
            given.times += 1;
            return Ok(given.lease);
        }
        let granted = Instant::now();
        let lease = store.grant(LAST_WORD + SHARED).await?;
        *given = Some(Given { lease, granted, times: 1 });
        Ok(lease)
    }

    /// The store does not know it any more.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
