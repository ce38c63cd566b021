//! Deleting what is kept for a desktop: only ever on an explicit call that
//! names it.

use std::time::Duration;

use rolltop_proto::v1::DeleteOverlayRequest;
use tokio::time::timeout;
use tonic::Code;

use super::{DesktopError, Desktops, overlay_name};
use crate::{
    names::DesktopId,
    state::{self, DesktopState, OverlayRecord, TransactionExt as _, UserRecord, keys},
    store::{Commit, StoreError, Transaction},
};

/// Freeing a large file takes its time.
const HOST_DEADLINE: Duration = Duration::from_secs(60);

impl Desktops {
    /// Deletes the persistent overlay of a desktop that does not live.
    ///
    /// # Errors
    /// [`DesktopError::WrongState`] while it lives, [`DesktopError::NoData`]
    /// when there is nothing.
    pub async fn delete_data(&self, id: &DesktopId) -> Result<(), DesktopError> {
        let unknown = || DesktopError::UnknownUser(id.user.clone());
        let user = state::read::<UserRecord>(self.store(), &keys::user(&id.user))
            .await?
            .ok_or_else(unknown)?;
        let name = overlay_name(&id.pool, &user.record);
        let overlay = self.mark_deleting(id, &name).await?;
        let mut agent = self.inner.hosts.agent(&overlay.host)?;
        let request = DeleteOverlayRequest { name: name.clone() };
        let failed = |message: &str| DesktopError::Agent {
            host: overlay.host.to_string(),
            verb: "delete a disk",
            message: message.to_owned(),
        };
        match timeout(HOST_DEADLINE, agent.delete_overlay(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) if status.code() == Code::NotFound => {}
            Ok(Err(status)) => return Err(failed(status.message())),
            Err(_) => return Err(failed("it takes too long")),
        }
        self.store().commit(Transaction::new().delete(keys::overlay(&name))).await?;
        Ok(())
    }

    /// From here on no start takes the overlay. Asking again goes on with a
    /// deletion that was begun.
    async fn mark_deleting(
        &self,
        id: &DesktopId,
        name: &str,
    ) -> Result<OverlayRecord, DesktopError> {
        let key = keys::overlay(name);
        let overlay = state::read::<OverlayRecord>(self.store(), &key).await?;
        let overlay = overlay.ok_or_else(|| DesktopError::NoData(id.clone()))?;
        let desktop = self.find(id).await?;
        if let Some(desktop) = &desktop
            && desktop.record.state.holds_capacity()
        {
            let state = desktop.record.state;
            return Err(DesktopError::WrongState {
                desktop: id.clone(),
                state,
                wanted: DesktopState::Gone,
            });
        }
        // Fails early, while nothing is marked.
        self.inner.hosts.agent(&overlay.record.host)?;
        let marked = OverlayRecord { deleting: true, ..overlay.record.clone() };
        let transaction = Transaction::new()
            .unless_changed(&keys::desktop(id), desktop.as_ref())
            .unless_changed(&key, Some(&overlay))
            .put_record(&key, &marked)?;
        match self.store().commit(transaction).await? {
            Commit::Applied(_) => Ok(marked),
            Commit::Conflict { .. } => {
                Err(StoreError::Contended { what: "a kept disk", attempts: 1 }.into())
            }
        }
    }
}
