//! Desktops that are ended for another version of their image.

use super::{DesktopError, Desktops, drain::passing};
use crate::{
    names::DesktopId,
    state::{DesktopRecord, EndsRecord, Stored},
    store::{Commit, StoreError, Transaction},
};

/// Why a desktop ended that was restarted for another version.
const IMAGE_UPDATE: &str = "IMAGE_UPDATE";

impl Desktops {
    /// Notes what the user of a desktop is told of its end; `None`: it goes on.
    ///
    /// # Errors
    /// Of the store.
    pub async fn foretell_renewal(
        &self,
        record: &DesktopRecord,
        ends: Option<EndsRecord>,
    ) -> Result<(), StoreError> {
        let edit = |record: &mut DesktopRecord| record.renewal.clone_from(&ends);
        passing(self.amend(&record.id, record.epoch, edit).await).map(drop)
    }

    /// Notes that a desktop is to end, as it was judged and together with `note`;
    /// its host is asked by [`Desktops::see_ended`].
    ///
    /// # Errors
    /// Its host does not answer, its life does not allow it, or of the store.
    pub async fn end_for_renewal(
        &self,
        stored: &Stored<DesktopRecord>,
        note: Transaction,
    ) -> Result<Commit, DesktopError> {
        self.inner.hosts.agent(&stored.record.host)?;
        self.note_end_of(stored, IMAGE_UPDATE, note).await.map(|(commit, _)| commit)
    }

    /// Has the host end this life of a desktop, which is noted to end already;
    /// answers when it has.
    ///
    /// # Errors
    /// It takes too long, or of the store.
    pub async fn see_ended(&self, id: &DesktopId, epoch: u64) -> Result<(), DesktopError> {
        let record = self.find(id).await?.map(|stored| stored.record);
        let living = record.filter(|record| record.epoch == epoch && record.state.holds_capacity());
        let Some(record) = living else { return Ok(()) };
        self.stop_on_host(record.clone());
        self.ended(&record, self.inner.deadlines.stop_deadline).await.map(drop)
    }
}
