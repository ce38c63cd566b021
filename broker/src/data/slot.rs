//! The kept data that a start takes, in the transaction that claims it.

use super::{Data, DataError, DataId, Kept};
use crate::{
    names::{DesktopId, HostName},
    state::{self, HomeClaim, UserRecord, WorkRecord, keys},
    store::{StoreError, Transaction},
};

/// What a start is to find of one kind of data: there, or to be made by it.
#[derive(Debug, Clone)]
pub struct Slot {
    id: DataId,
    key: String,
    there: Option<Kept>,
}

// === impl Data ===

impl Data {
    /// The data a start by `user` would take, free to be taken as far as can
    /// be seen now.
    ///
    /// # Errors
    /// It is being worked on, not whole, or a home another desktop has.
    pub async fn slot(&self, id: DataId, user: &UserRecord) -> Result<Slot, DataError> {
        let key = match &id {
            DataId::Desktop(desktop) => keys::overlay(&super::overlay_name(&desktop.pool, user)),
            DataId::Home(_) => keys::home(&super::home_name(user)),
        };
        let there = self.read(&id, &key).await?;
        if let Some(kept) = &there {
            if let Some(work) = state::read::<WorkRecord>(self.store(), &kept.work_key()).await? {
                let WorkRecord { kind, by, since, .. } = work.record;
                let seconds = since.until(self.inner.clock.now()).as_secs();
                return Err(DataError::Busy { data: id, kind, by, seconds });
            }
            kept.clone().whole()?;
            // Whether an overlay is free, the claim of its desktop tells.
            if let DataId::Home(_) = id
                && let Some(desktop) = self.user_of(kept).await?
            {
                return Err(DataError::InUse { data: id, desktop });
            }
        }
        Ok(Slot { id, key, there })
    }
}

// === impl Slot ===

impl Slot {
    /// What its host calls it.
    pub fn volume(&self) -> String {
        super::make::volume_of(&self.id, &self.key)
    }

    /// The host that has it; none has it yet.
    pub fn host(&self) -> Option<&HostName> {
        self.there.as_ref().map(|kept| &kept.host)
    }

    /// Takes it for one life of a desktop on `host`. From the first start on it
    /// is bound to that host, even if the start fails: the host may have made
    /// it before it did.
    ///
    /// # Errors
    /// The record cannot be written down.
    pub fn take(
        &self,
        transaction: Transaction,
        host: &HostName,
        desktop: &DesktopId,
        epoch: u64,
    ) -> Result<Transaction, StoreError> {
        let mut kept = match &self.there {
            Some(kept) => kept.clone(),
            None => Kept { making: false, ..Kept::new(&self.id, &self.key, host, "") },
        };
        let guarded = match &self.there {
            Some(kept) => transaction.unchanged(&self.key, kept.place.revision),
            None => transaction.absent(&self.key),
        };
        let guarded = guarded.absent(kept.work_key());
        match (&self.id, &self.there) {
            (DataId::Desktop(_), Some(_)) => Ok(guarded),
            (DataId::Desktop(_), None) => kept.put(guarded),
            // Written each time: of two starts that take it, one loses.
            (DataId::Home(_), _) => {
                kept.claim = Some(HomeClaim { desktop: desktop.clone(), epoch });
                kept.put(guarded)
            }
        }
    }
}
