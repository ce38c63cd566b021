//! Texts for the users of running desktops.

use std::collections::BTreeSet;

use super::{DesktopError, Desktops};
use crate::{
    names::{DesktopId, HostName, PoolName},
    state::{self, DesktopRecord, DesktopState, NoticeRecord, keys},
    store::StoreError,
};

/// Whose desktops a text is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody's.
    All,
    /// This one's.
    Desktop(DesktopId),
    /// Those of a pool.
    Pool(PoolName),
    /// Those on a host.
    Host(HostName),
}

impl Desktops {
    /// Notes a text with every running desktop of an audience; whoever watches
    /// them, at whichever broker, sees it there. Which desktops those were.
    ///
    /// # Errors
    /// The one desktop does not run, or the store fails.
    pub async fn notify(
        &self,
        audience: &Audience,
        notice: &NoticeRecord,
    ) -> Result<Vec<DesktopId>, DesktopError> {
        let mut told = Vec::new();
        for record in self.running_of(audience).await? {
            let edit = |record: &mut DesktopRecord| record.notice = Some(notice.clone());
            match self.amend(&record.id, record.epoch, edit).await {
                Ok(record) => told.push(record.id),
                // It has just ended, or was started anew.
                Err(DesktopError::Unknown(_) | DesktopError::Superseded { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    async fn running_of(&self, audience: &Audience) -> Result<Vec<DesktopRecord>, DesktopError> {
        let under = async |prefix: &str| {
            let all = state::list::<DesktopRecord>(self.store(), prefix).await?;
            Ok::<_, StoreError>(all.into_iter().map(|stored| stored.record).collect())
        };
        let mut records: Vec<DesktopRecord> = match audience {
            Audience::All => under(keys::DESKTOPS).await?,
            Audience::Desktop(id) => vec![self.running(id).await?],
            Audience::Pool(pool) => under(&keys::desktops_of(pool)).await?,
            Audience::Host(host) => self.living_on(host).await?,
        };
        records.retain(|record| record.state == DesktopState::Running);
        Ok(records)
    }

    pub(crate) async fn watched_among(&self, told: &[DesktopId]) -> Result<usize, StoreError> {
        if let [one] = told {
            return Ok(usize::from(self.store().get(&keys::viewer(one)).await?.is_some()));
        }
        let viewers = self.store().range(keys::VIEWERS).await?.entries;
        let watched: BTreeSet<String> = viewers.into_iter().map(|entry| entry.key).collect();
        Ok(told.iter().filter(|id| watched.contains(&keys::viewer(id))).count())
    }
}
