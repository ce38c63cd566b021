//! Markers: keys that tell a broker what became of its transactions.
//!
//! A slot is one such key, used by one transaction at a time. The transaction
//! writes its own name there and demands that nobody has since the slot was
//! last looked at. So it cannot be applied twice, its name in the slot proves
//! that it was applied, and whoever writes there first keeps it from being
//! applied at all. Slots hang on a lease: a broker that is gone leaves none.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, interval, timeout_at},
};

use super::{
    super::{LeaseId, StoreError},
    lease_number,
    members::Members,
};

/// Far longer than any transaction waits for its answer.
const LIFE: Duration = Duration::from_secs(60 * 60);
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Transactions of one broker under way at once.
const AT_ONCE: usize = 64;

/// The slots of this process.
pub(super) struct Slots {
    members: Arc<Members>,
    prefix: String,
    room: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    owner: Option<Owner>,
    free: Vec<Slot>,
}

struct Owner {
    name: String,
    lease: LeaseId,
    slots: u64,
}

/// One slot. Who does not know what is in it lets it go instead of giving it
/// back.
pub(super) struct Slot {
    /// In etcd.
    pub(super) key: String,
    /// It dies with this one.
    pub(super) lease: LeaseId,
    /// As etcd counts it.
    pub(super) lease_number: i64,
    /// When it was last written; 0: never.
    pub(super) revision: i64,
}

// === impl Slots ===

impl Slots {
    pub(super) fn new(members: Arc<Members>, prefix: String) -> Self {
        Self { members, prefix, room: Semaphore::new(AT_ONCE), state: Mutex::default() }
    }

    /// Room for one transaction.
    pub(super) async fn room(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, StoreError> {
        match timeout_at(deadline, self.room.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => {
                let problem = format!("{AT_ONCE} transactions were under way all the time");
                Err(self.members.unavailable("commit", problem))
            }
        }
    }

    pub(super) async fn take(&self) -> Result<Slot, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(slot) = state.free.pop() {
            return Ok(slot);
        }
        if state.owner.is_none() {
            let lease = self.members.grant(LIFE).await?;
            let name = uuid::Uuid::new_v4().simple().to_string();
            state.owner = Some(Owner { name, lease, slots: 0 });
        }
        let Some(owner) = state.owner.as_mut() else {
            return Err(StoreError::Worker { verb: "mark a transaction" });
        };
        let key = format!("{}{}/{}", self.prefix, owner.name, owner.slots);
        owner.slots += 1;
        let lease = owner.lease;
        Ok(Slot { key, lease, lease_number: lease_number(lease)?, revision: 0 })
    }

    /// `slot.revision` must be right.
    pub(super) async fn give_back(&self, slot: Slot) {
        let mut state = self.state.lock().await;
        if state.owner.as_ref().is_some_and(|owner| owner.lease == slot.lease) {
            state.free.push(slot);
        }
    }

    /// The lease is gone, and all its slots.
    pub(super) async fn lost(&self, lease: LeaseId) {
        let mut state = self.state.lock().await;
        if state.owner.as_ref().is_some_and(|owner| owner.lease == lease) {
            *state = State::default();
        }
    }
}

/// Keeps the lease until dropped.
pub(super) async fn renew(slots: Arc<Slots>) {
    let mut ticks = interval(RENEWAL);
    loop {
        ticks.tick().await;
        let lease = slots.state.lock().await.owner.as_ref().map(|owner| owner.lease);
        let Some(lease) = lease else { continue };
        match slots.members.keep_alive(lease).await {
            Ok(()) => {}
            Err(StoreError::LeaseGone(_)) => slots.lost(lease).await,
            // There are many more tries in its life.
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the lease of the transactions' markers was not renewed"
            ),
        }
    }
}
