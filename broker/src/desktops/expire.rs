//! Desktops whose time is running out: what their users are told, and the end.
//! Each change is made to the record that was judged, or not at all: somebody
//! may have come this instant.

use super::{DesktopError, Desktops};
use crate::{
    clock::Timestamp,
    names::DesktopId,
    state::{
        DesktopRecord, DesktopState, ExpiryRecord, Happening, SeatRecord, Stored, TimeLimit,
        TransactionExt as _, keys,
    },
    store::{Commit, Revision, StoreError, Transaction},
};

impl Desktops {
    /// Notes what the user of a desktop is told of its end.
    ///
    /// # Errors
    /// Of the store.
    pub async fn set_expiry(
        &self,
        id: &DesktopId,
        judged: Revision,
        expiry: Option<ExpiryRecord>,
    ) -> Result<(), StoreError> {
        let Some(stored) = self.as_judged(id, judged).await? else { return Ok(()) };
        let record = DesktopRecord { expiry, ..stored.record.clone() };
        let put = Transaction::new()
            .unless_changed(&stored.key, Some(&stored))
            .put_record(&stored.key, &record)?;
        self.store().commit(put).await.map(drop)
    }

    /// Notes that whoever sat at a desktop is gone, and their broker with them:
    /// nobody can say when they last used it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn vacate(&self, id: &DesktopId, judged: Revision) -> Result<(), StoreError> {
        let Some(stored) = self.as_judged(id, judged).await? else { return Ok(()) };
        let now: Timestamp = self.inner.clock.now();
        let seat: SeatRecord = stored.record.seat.left(now, now);
        let record = DesktopRecord { seat, ..stored.record.clone() };
        let put = Transaction::new()
            .unless_changed(&stored.key, Some(&stored))
            .absent(keys::viewer(id))
            .put_record(&stored.key, &record)?;
        self.store().commit(put).await.map(drop)
    }

    /// Ends a desktop that has had its time. One whose host does not answer is
    /// left as it is.
    ///
    /// # Errors
    /// Of the store.
    pub async fn expire(
        &self,
        id: &DesktopId,
        judged: Revision,
        limit: TimeLimit,
    ) -> Result<(), DesktopError> {
        let Some(stored) = self.as_judged(id, judged).await? else { return Ok(()) };
        if self.inner.hosts.agent(&stored.record.host).is_err() {
            return Ok(());
        }
        let ended = self.note_end_of(&stored, limit.end_reason(), Transaction::new()).await?;
        if let (Commit::Applied(_), record) = ended {
            tracing::info!(desktop.id = %id, reason = %record.end_reason, "a desktop has had its time");
            self.stop_on_host(record);
        }
        Ok(())
    }

    /// Notes, in a transaction with `note`, that a desktop is to end for this
    /// reason, if it is as it was read. The record as it is then.
    ///
    /// # Errors
    /// Its life does not allow it, or of the store.
    pub(super) async fn note_end_of(
        &self,
        stored: &Stored<DesktopRecord>,
        reason: &str,
        note: Transaction,
    ) -> Result<(Commit, DesktopRecord), DesktopError> {
        let illegal =
            |illegal| DesktopError::Illegal { desktop: stored.record.id.clone(), illegal };
        let state = stored.record.state.after(Happening::Stop).map_err(illegal)?;
        let record =
            DesktopRecord { state, end_reason: reason.to_owned(), ..stored.record.clone() };
        let put =
            note.unless_changed(&stored.key, Some(stored)).put_record(&stored.key, &record)?;
        Ok((self.store().commit(put).await?, record))
    }

    async fn as_judged(
        &self,
        id: &DesktopId,
        judged: Revision,
    ) -> Result<Option<Stored<DesktopRecord>>, StoreError> {
        let stored = self.find(id).await?;
        Ok(stored.filter(|stored| {
            stored.revision == judged && stored.record.state == DesktopState::Running
        }))
    }
}
