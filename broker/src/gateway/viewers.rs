//! Who looks at which desktop, in the store: the last to enter has it, and
//! whoever had it before sees that, on whichever broker. All entries of one
//! broker hang on a lease, so that none outlives it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, interval},
};

use super::activity::{Activities, Activity};
use crate::{
    clock::Clock,
    names::{DesktopId, UserName},
    state::{
        self, DesktopRecord, DesktopState, SeatRecord, SentAwayRecord, TransactionExt as _,
        ViewerRecord, keys,
    },
    store::{Commit, LeaseId, Store, StoreError, Transaction},
};

/// After a broker is gone, its viewers are for this long still shown.
const LIFE: Duration = Duration::from_secs(15);
/// Thrice in the life of the lease.
const RENEWAL: Duration = Duration::from_secs(5);

/// Lost races before giving up. A desktop that runs rarely changes.
const ATTEMPTS: u32 = 32;

/// Enters and leaves.
#[derive(Clone)]
pub struct Viewers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// This broker's name.
    broker: Arc<str>,
    activities: Activities,
    lease: Arc<Mutex<Option<LeaseId>>>,
}

/// One viewer, until it leaves.
pub(super) struct Viewer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    desktop: DesktopId,
    epoch: u64,
    connection: String,
    activity: Arc<Activity>,
}

// === impl Viewers ===

impl Viewers {
    /// Nobody looks yet. `broker`: its name among the others.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, broker: &str) -> Self {
        let (broker, activities) = (broker.into(), Activities::default());
        Self { store, clock, broker, activities, lease: Arc::default() }
    }

    /// When those that this broker relays last used their desktops.
    pub fn activities(&self) -> &Activities {
        &self.activities
    }

    /// The name of the broker whose viewers these are.
    pub fn broker(&self) -> &str {
        &self.broker
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

    /// Ends the connection of who looks at a desktop; who that was.
    ///
    /// # Errors
    /// Of the store.
    pub async fn send_away(
        &self,
        desktop: &DesktopId,
        because: &str,
    ) -> Result<Option<ViewerRecord>, StoreError> {
        let Some(viewer) = self.of(desktop).await? else { return Ok(None) };
        // Read at once by whoever relays; nobody has to clean up.
        let lease = self.store.grant(LIFE).await?;
        let away =
            SentAwayRecord { connection: viewer.connection.clone(), because: because.to_owned() };
        let put = Transaction::new().put_leased_record(&keys::sent_away(desktop), &away, lease)?;
        match self.store.commit(put).await? {
            // It demands nothing, so there is nothing to conflict with.
            Commit::Applied(_) | Commit::Conflict { .. } => Ok(Some(viewer)),
        }
    }

    /// Whoever looked until now sees that, and who looks is noted with the
    /// desktop.
    pub(super) async fn enter(
        &self,
        desktop: &DesktopRecord,
        user: &UserName,
        from: SocketAddr,
    ) -> Result<Viewer, StoreError> {
        let now = self.clock.now();
        let record = ViewerRecord {
            connection: uuid::Uuid::new_v4().to_string(),
            user: user.clone(),
            address: from.ip().to_canonical().to_string(),
            since: now,
            broker: self.broker.to_string(),
        };
        let (id, connection) = (&desktop.id, record.connection.clone());
        let activity = self.activities.open(id, &connection, now);
        let mut lease = self.lease.lock().await;
        for _ in 0..ATTEMPTS {
            let granted = match *lease {
                Some(id) => id,
                None => *lease.insert(self.store.grant(LIFE).await?),
            };
            let enter =
                Transaction::new().put_leased_record(&keys::viewer(id), &record, granted)?;
            let store = self.store.as_ref();
            let enter = seat(store, enter, id, desktop.epoch, |_| {
                Some(SeatRecord::entered(&connection, now))
            });
            match self.store.commit(enter.await?).await {
                Ok(Commit::Applied(_)) => {
                    let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                    let (desktop, epoch) = (id.clone(), desktop.epoch);
                    return Ok(Viewer { store, clock, desktop, epoch, connection, activity });
                }
                Ok(Commit::Conflict { .. }) => {}
                // It may have been lost unnoticed.
                Err(StoreError::LeaseGone(_)) => *lease = None,
                Err(error) => return Err(error),
            }
        }
        activity.close();
        Err(StoreError::Contended { what: "a desktop's viewer", attempts: ATTEMPTS })
    }
}

// === impl Viewer ===

impl Viewer {
    pub(super) fn connection(&self) -> &str {
        &self.connection
    }

    /// The viewer has done something.
    pub(super) fn used(&self) {
        self.activity.used(self.clock.now());
    }

    /// Unless someone else has come meanwhile.
    pub(super) async fn leave(self) {
        if let Err(error) = self.try_leave().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a viewer is still noted");
        }
        self.activity.close();
    }

    async fn try_leave(&self) -> Result<(), StoreError> {
        let key = keys::viewer(&self.desktop);
        for _ in 0..ATTEMPTS {
            let now = state::read::<ViewerRecord>(self.store.as_ref(), &key).await?;
            let leave = match &now {
                Some(now) if now.record.connection != self.connection => return Ok(()),
                Some(now) => Transaction::new().unchanged(&key, now.revision).delete(&key),
                // Its lease was lost.
                None => Transaction::new().absent(&key),
            };
            let left = |seat: &SeatRecord| {
                (seat.connection == self.connection)
                    .then(|| seat.left(self.activity.last(), self.clock.now()))
            };
            let leave = seat(self.store.as_ref(), leave, &self.desktop, self.epoch, left).await?;
            if let Commit::Applied(_) = self.store.commit(leave).await? {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a desktop's viewer", attempts: ATTEMPTS })
    }
}

/// Adds to a transaction who sits at a desktop, if that life of it still runs.
async fn seat(
    store: &dyn Store,
    transaction: Transaction,
    id: &DesktopId,
    epoch: u64,
    next: impl Fn(&SeatRecord) -> Option<SeatRecord> + Send,
) -> Result<Transaction, StoreError> {
    let key = keys::desktop(id);
    let stored = state::read::<DesktopRecord>(store, &key).await?;
    let running = stored.filter(|stored| {
        stored.record.epoch == epoch && stored.record.state == DesktopState::Running
    });
    let Some((stored, seat)) = running.and_then(|stored| {
        let seat = next(&stored.record.seat)?;
        Some((stored, seat))
    }) else {
        return Ok(transaction);
    };
    let guarded = transaction.unless_changed(&key, Some(&stored));
    guarded.put_record(&key, &DesktopRecord { seat, ..stored.record })
}
