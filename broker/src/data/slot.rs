//! The kept data that a start takes, in the transaction that claims it.

use rolltop_proto::v1;

use super::{Data, DataError, DataId, Kept};
use crate::{
    names::{DesktopId, HostName},
    placement::Place,
    state::{self, HomeClaim, StorageRecord, UserRecord, WorkRecord, keys},
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
    /// The data a start of `desktop` by `user` would take, free to be taken as far
    /// as can be seen now.
    ///
    /// # Errors
    /// It is being worked on, not whole, or a home another desktop has.
    pub async fn slot(
        &self,
        id: DataId,
        user: &UserRecord,
        desktop: &DesktopId,
    ) -> Result<Slot, DataError> {
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
                && let Some(other) = self.user_of(kept).await?
                // Its own earlier life: it goes on, or is given up by the claim.
                && other != *desktop
            {
                return Err(DataError::InUse { data: id, desktop: other });
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

    /// Where it is; none: nowhere yet.
    pub fn place(&self) -> Option<Place> {
        let there = self.there.as_ref();
        there.map(|kept| Place { host: kept.host.clone(), storage: kept.storage.clone() })
    }

    /// What is to be asked about at a host, if there is anything.
    pub fn volume_id(&self) -> Option<v1::VolumeId> {
        self.there.as_ref().map(super::volume_id)
    }

    /// Takes it for one life of a desktop on `host`, which has it on `storage`.
    /// From the first start on it is bound to that host, even if the start fails:
    /// the host may have made it before it did. On storage that other hosts reach
    /// too, it is bound to the storage.
    ///
    /// # Errors
    /// The record cannot be written down.
    pub fn take(
        &self,
        transaction: Transaction,
        host: &HostName,
        storage: Option<&StorageRecord>,
        desktop: &DesktopId,
        epoch: u64,
    ) -> Result<Transaction, StoreError> {
        let mut kept = match &self.there {
            Some(kept) => Kept { host: host.clone(), ..kept.clone() },
            None => Kept { making: false, ..Kept::new(&self.id, &self.key, host, "") },
        };
        if let Some(storage) = storage {
            kept.storage = Some(storage.clone());
        }
        let guarded = match &self.there {
            Some(kept) => transaction.unchanged(&self.key, kept.place.revision),
            None => transaction.absent(&self.key),
        };
        let guarded = guarded.absent(kept.work_key());
        match (&self.id, &self.there) {
            (DataId::Desktop(_), Some(there)) if *there == kept => Ok(guarded),
            (DataId::Desktop(_), _) => kept.put(guarded),
            // Written each time: of two starts that take it, one loses.
            (DataId::Home(_), _) => {
                kept.claim = Some(HomeClaim { desktop: desktop.clone(), epoch });
                kept.put(guarded)
            }
        }
    }
}
