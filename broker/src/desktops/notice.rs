//! Texts for the users of running desktops.

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

// === impl Audience ===

impl Audience {
    fn has(&self, record: &DesktopRecord) -> bool {
        match self {
            Self::All => true,
            Self::Desktop(id) => record.id == *id,
            Self::Pool(pool) => record.id.pool == *pool,
            Self::Host(host) => record.host == *host,
        }
    }
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
        if let Audience::Desktop(id) = audience {
            self.running(id).await?;
        }
        let all = state::list::<DesktopRecord>(self.store(), keys::DESKTOPS).await?;
        let running = all
            .into_iter()
            .map(|stored| stored.record)
            .filter(|record| record.state == DesktopState::Running && audience.has(record));
        let mut told = Vec::new();
        for record in running {
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

    pub(crate) async fn watched_among(&self, told: &[DesktopId]) -> Result<usize, StoreError> {
        let viewers = self.store().range(keys::VIEWERS).await?.entries;
        let watched = |id: &DesktopId| viewers.iter().any(|entry| entry.key == keys::viewer(id));
        Ok(told.iter().filter(|id| watched(id)).count())
    }
}
