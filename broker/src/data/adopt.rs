//! Data that a host keeps and the store does not know: it went back to a backup,
//! or a disk moved to another host. It is noted again, so that its user finds it
//! rather than an empty one in its place.

use rolltop_proto::v1::{VolumeId, VolumeKind};

use super::{Data, DataError, DataId, Kept};
use crate::{
    names::{DesktopId, HostName, PoolName, UserName},
    state::{self, PoolRecord, StorageRecord, UserRecord, keys},
    store::{Commit, Transaction},
};

/// What was found on a host.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Noted from now on.
    pub data: Vec<Kept>,
    /// Left as it is, and why.
    pub left: Vec<(VolumeId, String)>,
}

/// Whose a volume is, by its name.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    id: DataId,
    uid: u32,
}

// === impl Data ===

impl Data {
    /// Notes what `host` keeps for people of this cluster and the store does not
    /// know. Nothing is changed on the host.
    ///
    /// # Errors
    /// The host or the store does not answer.
    pub async fn adopt(&self, host: &HostName) -> Result<Adopted, DataError> {
        let volumes = self.measure_all(host).await?;
        let storage = self.storage_of(host);
        let mut adopted = Adopted::default();
        for volume in volumes.into_iter().filter_map(|volume| volume.id) {
            match self.adopt_one(host, storage.as_ref(), &volume).await? {
                Ok(Some(kept)) => adopted.data.push(kept),
                Ok(None) => {}
                Err(reason) => adopted.left.push((volume, reason)),
            }
        }
        Ok(adopted)
    }

    /// `Ok(None)`: it is known, and there.
    async fn adopt_one(
        &self,
        host: &HostName,
        storage: Option<&StorageRecord>,
        volume: &VolumeId,
    ) -> Result<Result<Option<Kept>, String>, DataError> {
        let Some(Owner { id, uid }) = Owner::of(volume) else {
            return Ok(Err("its name is none that this cluster gives".to_owned()));
        };
        let user = state::read::<UserRecord>(self.store(), &keys::user(id.user())).await?;
        match user {
            Some(user) if user.record.uid == uid => {}
            Some(_) => return Ok(Err(format!("it belongs to an earlier {}", id.user()))),
            None => return Ok(Err(format!("there is no user {}", id.user()))),
        }
        if let DataId::Desktop(desktop) = &id
            && state::read::<PoolRecord>(self.store(), &keys::pool(&desktop.pool)).await?.is_none()
        {
            return Ok(Err(format!("there is no pool {}", desktop.pool)));
        }
        let key = self.key(&id).await?;
        if let Some(known) = self.read(&id, &key).await? {
            let reached = known.host == *host
                || known.storage.as_ref().zip(storage).is_some_and(|(known, here)| {
                    known.shared && here.shared && known.id == here.id
                });
            let elsewhere =
                || format!("{id} is on {} as far as is known; there may be two now", known.host);
            return Ok(if reached { Ok(None) } else { Err(elsewhere()) });
        }
        let kept =
            Kept { making: false, storage: storage.cloned(), ..Kept::new(&id, &key, host, "") };
        let transaction = kept.put(Transaction::new().absent(&key).absent(kept.work_key()))?;
        match self.store().commit(transaction).await? {
            Commit::Applied(_) => {
                tracing::info!(data.id = %id, host.name = %host, "data that was not known is noted");
                Ok(Ok(Some(kept)))
            }
            // A start took it at this moment, which notes it too.
            Commit::Conflict { .. } => Ok(Ok(None)),
        }
    }

    /// What `host` told of its storage last.
    fn storage_of(&self, host: &HostName) -> Option<StorageRecord> {
        let info = self.inner.hosts.seen().remove(host)?.info?;
        let id = Some(info.storage_id).filter(|id| !id.is_empty())?;
        Some(StorageRecord { id, shared: info.storage_shared })
    }
}

// === impl Owner ===

impl Owner {
    /// Reads what `overlay_name` and `home_name` write.
    fn of(volume: &VolumeId) -> Option<Self> {
        const FIELD: &str = "volume";
        let (rest, uid) = volume.name.rsplit_once('.')?;
        let uid = uid.parse().ok()?;
        let user = |name| UserName::parse(FIELD, name).ok();
        let id = match volume.kind() {
            VolumeKind::Overlay => {
                let (pool, name) = rest.split_once('.')?;
                let pool = PoolName::parse(FIELD, pool).ok()?;
                DataId::Desktop(DesktopId { pool, user: user(name)? })
            }
            VolumeKind::Home => DataId::Home(user(rest)?),
            VolumeKind::Unspecified => return None,
        };
        Some(Self { id, uid })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(kind: VolumeKind, name: &str) -> Option<Owner> {
        Owner::of(&VolumeId { kind: kind.into(), name: name.to_owned() })
    }

    #[test]
    fn names_that_nobody_gave_have_no_owner() {
        for name in [
            "",
            "demo",
            "demo.anna",
            "demo.anna.",
            "demo.anna.x",
            ".anna.1",
            "demo..1",
            "de/mo.anna.1",
        ] {
            assert_eq!(of(VolumeKind::Overlay, name), None, "{name}");
        }
        assert_eq!(of(VolumeKind::Home, ".1"), None);
        assert_eq!(of(VolumeKind::Unspecified, "demo.anna.1"), None);
    }

    proptest! {
        #[test]
        fn the_owner_is_read_from_the_name_as_it_was_written(
            pool in "[a-z][a-z0-9-]{0,10}[a-z0-9]", user in "[a-z_][a-z0-9_.-]{0,10}[a-z0-9]", uid: u32,
        ) {
            if let (Ok(pool), Ok(user)) = (PoolName::parse("p", &pool), UserName::parse("u", &user)) {
                let overlay = of(VolumeKind::Overlay, &format!("{pool}.{user}.{uid}"));
                let desktop = DesktopId { pool, user: user.clone() };
                prop_assert_eq!(overlay, Some(Owner { id: DataId::Desktop(desktop), uid }));
                let home = of(VolumeKind::Home, &format!("{user}.{uid}"));
                prop_assert_eq!(home, Some(Owner { id: DataId::Home(user), uid }));
            }
        }
    }
}
