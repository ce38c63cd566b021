//! Deleting: only ever on an explicit call that names what goes.

use std::time::Duration;

use rolltop_proto::v1;
use tonic::Code;

use super::{Data, DataError, DataId, Order, mark::Look, volume_id, within};
use crate::{
    names::{HostName, UserName},
    state::WorkKind,
    store::{Commit, StoreError, Transaction},
};

/// Freeing a large file takes its time.
const HOST_DEADLINE: Duration = Duration::from_secs(120);

impl Data {
    /// Deletes data and its snapshots for good. Asking again goes on with a
    /// deletion that was begun, also of data that was never whole.
    ///
    /// # Errors
    /// [`DataError::InUse`] while a desktop has it, [`DataError::None`].
    pub async fn delete(&self, id: &DataId, by: &UserName) -> Result<(), DataError> {
        let order = order(WorkKind::Delete, by);
        let (kept, entry) = self.mark(id, &Look::Doomed, &order).await?;
        let work = async {
            let mut storage = self.inner.hosts.storage(&kept.host)?;
            let request = v1::DeleteVolumeRequest { id: Some(volume_id(&kept)) };
            match within(&kept.host, HOST_DEADLINE, storage.delete_volume(request)).await {
                Ok(_) => {}
                // Deleted by a call whose answer was lost, or never made.
                Err(DataError::Refused { status, .. }) if status.code() == Code::NotFound => {}
                Err(error) => return Err(error),
            }
            self.forget(&kept).await
        };
        entry.during(work).await
    }

    /// Forgets all data on a host that will not come back. Nothing is deleted
    /// there; should its disks be read again, the data can be imported.
    ///
    /// # Errors
    /// Of the store.
    pub async fn forget_all_on(&self, host: &HostName) -> Result<usize, StoreError> {
        let mut count = 0;
        for kept in self.all().await? {
            if kept.host == *host {
                tracing::warn!(data = %kept.id, host.name = %host, "what a host that is gone kept is forgotten");
                let gone = Transaction::new()
                    .unchanged(&kept.place.key, kept.place.revision)
                    .delete(&kept.place.key);
                // Changed meanwhile: then the removal of the host is refused.
                count +=
                    usize::from(matches!(self.store().commit(gone).await?, Commit::Applied(_)));
            }
        }
        Ok(count)
    }

    /// Deletes one snapshot for good.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn delete_snapshot(
        &self,
        id: &DataId,
        name: String,
        by: &UserName,
    ) -> Result<(), DataError> {
        let (kept, entry) =
            self.mark(id, &Look::Whole, &order(WorkKind::DeleteSnapshot, by)).await?;
        let work = async {
            let mut storage = self.inner.hosts.storage(&kept.host)?;
            let request = v1::DeleteVolumeSnapshotRequest { id: Some(volume_id(&kept)), name };
            let call = storage.delete_snapshot(request);
            within(&kept.host, HOST_DEADLINE, call).await.map(drop)
        };
        entry.during(work).await
    }
}

fn order(kind: WorkKind, by: &UserName) -> Order {
    Order { kind, by: by.clone(), request_id: String::new() }
}
