//! Who looks at which desktop, in the store: the last to enter has it, and
//! whoever had it before sees that, on whichever broker. All entries of one
//! broker hang on a lease, so that none outlives it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, interval},
};

use crate::{
    clock::Clock,
    names::{DesktopId, UserName},
    state::{self, TransactionExt as _, ViewerRecord, keys},
    store::{LeaseId, Store, StoreError, Transaction},
};

/// After a broker is gone, its viewers are for this long still shown.
const LIFE: Duration = Duration::from_secs(15);
/// Thrice in the life of the lease.
const RENEWAL: Duration = Duration::from_secs(5);

/// Enters and leaves.
#[derive(Clone)]
pub struct Viewers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lease: Arc<Mutex<Option<LeaseId>>>,
}

/// One viewer, until it leaves.
pub(super) struct Viewer {
    store: Arc<dyn Store>,
    key: String,
    connection: String,
}

// === impl Viewers ===

impl Viewers {
    /// Nobody looks yet.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, lease: Arc::default() }
    }

    /// Keeps the lease alive until dropped.
    pub async fn keep(self) {
        let mut ticks = interval(RENEWAL);
        let mut last = Instant::now();
        loop {
            last = ticks.tick().await.max(last);
            let mut lease = self.lease.lock().await;
            let Some(id) = *lease else { continue };
            if let Err(error) = self.store.keep_alive(id).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lease of the viewers was not kept"
                );
                // After any other fault it may well live on, until the next try.
                if let StoreError::LeaseGone(_) = error {
                    *lease = None;
                }
            }
        }
    }

    /// Who looks at a desktop.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of(&self, desktop: &DesktopId) -> Result<Option<ViewerRecord>, StoreError> {
        let stored =
            state::read::<ViewerRecord>(self.store.as_ref(), &keys::viewer(desktop)).await?;
        Ok(stored.map(|stored| stored.record))
    }

    /// All who look at something.
    ///
    /// # Errors
    /// Of the store.
    pub async fn all(&self) -> Result<Vec<(DesktopId, ViewerRecord)>, StoreError> {
        let stored = state::list::<ViewerRecord>(self.store.as_ref(), keys::VIEWERS).await?;
        let named = stored.into_iter().filter_map(|stored| {
            let id = DesktopId::from_key(stored.key.strip_prefix(keys::VIEWERS)?)?;
            Some((id, stored.record))
        });
        Ok(named.collect())
    }

    pub(super) async fn enter(
        &self,
        desktop: &DesktopId,
        user: &UserName,
        from: SocketAddr,
    ) -> Result<Viewer, StoreError> {
        let key = keys::viewer(desktop);
        let record = ViewerRecord {
            connection: uuid::Uuid::new_v4().to_string(),
            user: user.clone(),
            address: from.ip().to_canonical().to_string(),
            since: self.clock.now(),
        };
        let mut lease = self.lease.lock().await;
        // Twice: the lease may have been lost unnoticed.
        for _ in 0..2 {
            let id = match *lease {
                Some(id) => id,
                None => *lease.insert(self.store.grant(LIFE).await?),
            };
            match self.store.commit(Transaction::new().put_leased_record(&key, &record, id)?).await
            {
                Ok(_) => {
                    let store = Arc::clone(&self.store);
                    return Ok(Viewer { store, key, connection: record.connection });
                }
                Err(StoreError::LeaseGone(_)) => *lease = None,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended { what: "a viewer's lease", attempts: 2 })
    }
}

// === impl Viewer ===

impl Viewer {
    pub(super) fn connection(&self) -> &str {
        &self.connection
    }

    /// Unless someone else has come meanwhile.
    pub(super) async fn leave(self) {
        let left = async {
            let now = state::read::<ViewerRecord>(self.store.as_ref(), &self.key).await?;
            match now {
                Some(now) if now.record.connection == self.connection => {
                    // A conflict: someone else came this instant.
                    let leave =
                        Transaction::new().unchanged(&self.key, now.revision).delete(&self.key);
                    self.store.commit(leave).await.map(drop)
                }
                Some(_) | None => Ok(()),
            }
        };
        if let Err(error) = left.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a viewer is still noted");
        }
    }
}
