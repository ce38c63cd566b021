//! What is kept, where, and who uses it.

use super::{Data, DataError, DataId};
use crate::{
    names::{DesktopId, HostName, UserName},
    state::{
        self, DesktopRecord, HomeRecord, HomeUse, OverlayRecord, StorageRecord, Stored,
        TransactionExt as _, UserRecord, keys,
    },
    store::{Revision, Store, StoreError, Transaction},
};

/// Data that is kept on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What people call it.
    pub id: DataId,
    /// What its host calls it.
    pub volume: String,
    /// Where it is.
    pub host: HostName,
    /// What of that host it lies on; none: not known.
    pub storage: Option<StorageRecord>,
    /// It is being deleted.
    pub deleting: bool,
    /// It is being made, or was not made to its end.
    pub making: bool,
    pub(super) made_by: String,
    pub(super) place: Place,
    pub(super) claim: Option<state::HomeClaim>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) revision: Revision,
}

/// Name of the persistent overlay of a user in a pool. The uid is in it so
/// that someone who later gets the same login name does not get the data:
/// uids are never given twice. Pool names hold no '.'.
pub fn overlay_name(pool: &crate::names::PoolName, user: &UserRecord) -> String {
    format!("{pool}.{}.{}", user.name, user.uid)
}

/// Name of the home volume of a user; all pools with such homes share it.
pub fn home_name(user: &UserRecord) -> String {
    format!("{}.{}", user.name, user.uid)
}

// === impl Kept ===

impl Kept {
    fn overlay(stored: Stored<OverlayRecord>) -> Option<Self> {
        let Stored { record, key, revision } = stored;
        Some(Self {
            id: DataId::Desktop(record.desktop),
            volume: key.strip_prefix(keys::OVERLAYS)?.to_owned(),
            host: record.host,
            storage: record.storage,
            deleting: record.deleting,
            making: record.making,
            made_by: record.made_by,
            place: Place { key, revision },
            claim: None,
        })
    }

    fn home(stored: Stored<HomeRecord>) -> Option<Self> {
        let Stored { record, key, revision } = stored;
        Some(Self {
            id: DataId::Home(record.user),
            volume: key.strip_prefix(keys::HOMES)?.to_owned(),
            host: record.host,
            storage: record.storage,
            deleting: record.deleting,
            making: record.making,
            made_by: record.made_by,
            place: Place { key, revision },
            claim: record.claim,
        })
    }

    /// Data that is yet to be made.
    pub(super) fn new(id: &DataId, key: &str, host: &HostName, made_by: &str) -> Self {
        Self {
            id: id.clone(),
            volume: super::make::volume_of(id, key),
            host: host.clone(),
            storage: None,
            deleting: false,
            making: true,
            made_by: made_by.to_owned(),
            place: Place { key: key.to_owned(), revision: Revision(0) },
            claim: None,
        }
    }

    /// The key of what is being done to it.
    pub(super) fn work_key(&self) -> String {
        keys::work(&self.place.key)
    }

    /// Unless it is whole.
    pub(super) fn whole(self) -> Result<Self, DataError> {
        match (self.deleting, self.making) {
            (true, _) => Err(DataError::Deleting(self.id)),
            (_, true) => Err(DataError::Unfinished(self.id)),
            (false, false) => Ok(self),
        }
    }

    /// Puts its record as it is in `self`.
    pub(super) fn put(&self, transaction: Transaction) -> Result<Transaction, StoreError> {
        match &self.id {
            DataId::Desktop(desktop) => transaction.put_record(
                &self.place.key,
                &OverlayRecord {
                    desktop: desktop.clone(),
                    host: self.host.clone(),
                    storage: self.storage.clone(),
                    deleting: self.deleting,
                    making: self.making,
                    made_by: self.made_by.clone(),
                },
            ),
            DataId::Home(user) => transaction.put_record(
                &self.place.key,
                &HomeRecord {
                    user: user.clone(),
                    host: self.host.clone(),
                    storage: self.storage.clone(),
                    claim: self.claim.clone(),
                    deleting: self.deleting,
                    making: self.making,
                    made_by: self.made_by.clone(),
                },
            ),
        }
    }
}

// === impl Data ===

impl Data {
    /// What is kept under this name.
    ///
    /// # Errors
    /// [`DataError::None`].
    pub async fn find(&self, id: &DataId) -> Result<Kept, DataError> {
        // Of a user that was deleted, an operator finds it by its record.
        let found = match self.key(id).await {
            Ok(key) => self.read(id, &key).await?,
            Err(DataError::UnknownUser(_)) => None,
            Err(error) => return Err(error),
        };
        let found = match found {
            Some(kept) => Some(kept),
            None => self.all().await?.into_iter().find(|kept| kept.id == *id),
        };
        found.ok_or_else(|| DataError::None(id.clone()))
    }

    /// Everything that is kept for anybody.
    ///
    /// # Errors
    /// Of the store.
    pub async fn all(&self) -> Result<Vec<Kept>, StoreError> {
        let overlays = state::list::<OverlayRecord>(self.store(), keys::OVERLAYS).await?;
        let homes = state::list::<HomeRecord>(self.store(), keys::HOMES).await?;
        let overlays = overlays.into_iter().filter_map(Kept::overlay);
        Ok(overlays.chain(homes.into_iter().filter_map(Kept::home)).collect())
    }

    /// The desktop that has it now, with what must stay as it is for that to
    /// stay true.
    ///
    /// # Errors
    /// Of the store.
    pub async fn user_of(&self, kept: &Kept) -> Result<Option<DesktopId>, StoreError> {
        self.user_of_guarded(kept, Transaction::new()).await.map(|(user, _)| user)
    }

    /// As [`Data::user_of`], with the guard that it stays so.
    pub(super) async fn user_of_guarded(
        &self,
        kept: &Kept,
        transaction: Transaction,
    ) -> Result<(Option<DesktopId>, Transaction), StoreError> {
        let desktop = match (&kept.id, &kept.claim) {
            (DataId::Desktop(id), _) => id,
            (DataId::Home(_), Some(claim)) => &claim.desktop,
            (DataId::Home(_), None) => return Ok((None, transaction)),
        };
        let key = keys::desktop(desktop);
        let stored = state::read::<DesktopRecord>(self.store(), &key).await?;
        let living = stored
            .as_ref()
            .filter(|stored| stored.record.state.holds_capacity() && uses(&stored.record, kept));
        let user = living.map(|stored| stored.record.id.clone());
        Ok((user, transaction.unless_changed(&key, stored.as_ref())))
    }

    /// The key of data, whether there is some or not.
    pub(super) async fn key(&self, id: &DataId) -> Result<String, DataError> {
        let user = self.user(id.user()).await?;
        Ok(match id {
            DataId::Desktop(desktop) => keys::overlay(&overlay_name(&desktop.pool, &user)),
            DataId::Home(_) => keys::home(&home_name(&user)),
        })
    }

    pub(super) async fn read(&self, id: &DataId, key: &str) -> Result<Option<Kept>, StoreError> {
        Ok(match id {
            DataId::Desktop(_) => state::read(self.store(), key).await?.and_then(Kept::overlay),
            DataId::Home(_) => state::read(self.store(), key).await?.and_then(Kept::home),
        })
    }

    async fn user(&self, name: &UserName) -> Result<UserRecord, DataError> {
        let stored = state::read::<UserRecord>(self.store(), &keys::user(name)).await?;
        stored.map(|stored| stored.record).ok_or_else(|| DataError::UnknownUser(name.clone()))
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }
}

fn uses(desktop: &DesktopRecord, kept: &Kept) -> bool {
    match (&kept.id, &kept.claim) {
        (DataId::Desktop(_), _) => desktop.overlay == kept.volume,
        (DataId::Home(_), claim) => {
            let claimed = claim.as_ref().is_some_and(|claim| claim.epoch == desktop.epoch);
            let name = match &desktop.home {
                Some(HomeUse::Volume { name, .. }) => Some(name),
                Some(HomeUse::Directory { .. }) | None => None,
            };
            claimed && name == Some(&kept.volume)
        }
    }
}
