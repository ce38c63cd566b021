//! Marking data as being worked on. No start takes marked data, and nothing
//! else is done to it. Marks hang on a lease, so that none outlives its broker.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;

use super::{Data, DataError, DataId, Kept};
use crate::{
    names::{HostName, UserName},
    state::{self, TransactionExt as _, WorkKind, WorkRecord},
    store::{Commit, LeaseId, Store, StoreError, Transaction},
};

/// After a broker is gone, data stays marked for this long.
const LIFE: Duration = Duration::from_secs(30);
/// Thrice in the life of the lease.
const RENEWAL: Duration = Duration::from_secs(10);
/// Lost races before giving up.
const ATTEMPTS: u32 = 16;

/// What is to be done, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub kind: WorkKind,
    /// For whom.
    pub by: UserName,
    /// Chosen by the caller; may be empty.
    pub request_id: String,
}

/// What is to be marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Data that is there and whole.
    Whole,
    /// Data that is not there; noted as being made on this host.
    New {
        /// Where it will be.
        host: HostName,
    },
    /// Data that is to go; noted as being deleted.
    Doomed,
}

/// Data is marked until this is lifted.
pub(super) struct Mark {
    store: Arc<dyn Store>,
    lease: LeaseId,
}

/// How a caller stands to work.
pub(super) enum Entry {
    /// It is the caller's to have done.
    Marked(Mark),
    /// It goes on already for the same request.
    Joined,
}

// === impl Order ===

impl Order {
    /// May a desktop use the data meanwhile?
    fn wants_it_idle(&self) -> bool {
        match self.kind {
            WorkKind::RollBack | WorkKind::Delete => true,
            WorkKind::Grow
            | WorkKind::Trim
            | WorkKind::Check
            | WorkKind::Snapshot
            | WorkKind::DeleteSnapshot
            | WorkKind::Clone
            | WorkKind::Export
            | WorkKind::Import => false,
        }
    }
}

// === impl Data ===

impl Data {
    /// Marks data, and writes what goes with it, in one transaction: a start at
    /// the same instant loses or wins against it.
    pub(super) async fn mark(
        &self,
        id: &DataId,
        look: &Look,
        order: &Order,
    ) -> Result<(Kept, Entry), DataError> {
        let lease = self.store().grant(LIFE).await?;
        let marked = self.try_mark(id, look, order, lease).await;
        if !matches!(marked, Ok((_, Entry::Marked(_)))) {
            // Nothing hangs on it.
            self.store().revoke(lease).await?;
        }
        marked
    }

    async fn try_mark(
        &self,
        id: &DataId,
        look: &Look,
        order: &Order,
        lease: LeaseId,
    ) -> Result<(Kept, Entry), DataError> {
        for _ in 0..ATTEMPTS {
            let (kept, transaction) = self.look(id, look, order).await?;
            let key = kept.work_key();
            if let Some(work) = state::read::<WorkRecord>(self.store(), &key).await? {
                let work = work.record;
                let same = work.kind == order.kind && work.request_id == order.request_id;
                if same && !order.request_id.is_empty() {
                    return Ok((kept, Entry::Joined));
                }
                let seconds = work.since.until(self.inner.clock.now()).as_secs();
                let data = kept.id;
                return Err(DataError::Busy { data, kind: work.kind, by: work.by, seconds });
            }
            let (user, guarded) = self.user_of_guarded(&kept, transaction).await?;
            let transaction = match user {
                Some(desktop) if order.wants_it_idle() => {
                    return Err(DataError::InUse { data: kept.id, desktop });
                }
                // A desktop that comes or goes does not matter to the rest.
                Some(_) | None => guarded,
            };
            let work = WorkRecord {
                kind: order.kind,
                by: order.by.clone(),
                since: self.inner.clock.now(),
                request_id: order.request_id.clone(),
            };
            let transaction = transaction.absent(&key).put_leased_record(&key, &work, lease)?;
            if let Commit::Applied(_) = self.store().commit(transaction).await? {
                let store = Arc::clone(&self.inner.store);
                return Ok((kept, Entry::Marked(Mark { store, lease })));
            }
        }
        Err(StoreError::Contended { what: "kept data", attempts: ATTEMPTS }.into())
    }

    /// The data as it is now, and what is to be written with the mark.
    async fn look(
        &self,
        id: &DataId,
        look: &Look,
        order: &Order,
    ) -> Result<(Kept, Transaction), DataError> {
        let unchanged =
            |kept: &Kept| Transaction::new().unchanged(&kept.place.key, kept.place.revision);
        match look {
            Look::Whole => {
                let kept = self.find(id).await?.whole()?;
                let transaction = unchanged(&kept);
                Ok((kept, transaction))
            }
            Look::Doomed => {
                let mut kept = self.find(id).await?;
                // Fails early, while nothing is noted.
                self.inner.hosts.storage(&kept.host)?;
                kept.deleting = true;
                let transaction = kept.put(unchanged(&kept))?;
                Ok((kept, transaction))
            }
            Look::New { host } => {
                let key = self.key(id).await?;
                let Some(there) = self.read(id, &key).await? else {
                    let kept = Kept::new(id, &key, host, &order.request_id);
                    let transaction = kept.put(Transaction::new().absent(&key))?;
                    return Ok((kept, transaction));
                };
                // Where it is being made now, the mark finds out by whom.
                let busy = self.store().get(&there.work_key()).await?.is_some();
                match there.making && busy {
                    true => {
                        let transaction = unchanged(&there);
                        Ok((there, transaction))
                    }
                    false => there.whole().and_then(|there| Err(DataError::Exists(there.id))),
                }
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Awaits `work`, marked as far as it is the caller's.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Marked(mark) => mark.during(work).await,
            Self::Joined => work.await,
        }
    }
}

// === impl Mark ===

impl Mark {
    /// Keeps data marked while `work` goes on, and lifts the mark.
    async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let renewal = async {
            let mut ticks = interval(RENEWAL);
            loop {
                ticks.tick().await;
                if let Err(error) = self.store.keep_alive(self.lease).await {
                    // The host's own lock still holds.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "data is no longer marked as worked on"
                    );
                    return std::future::pending::<T>().await;
                }
            }
        };
        let done = tokio::select! {
            done = work => done,
            never = renewal => never,
        };
        if let Err(error) = self.store.revoke(self.lease).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "data stays marked for a moment"
            );
        }
        done
    }
}
