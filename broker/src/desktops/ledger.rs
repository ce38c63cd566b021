//! Changes of a desktop's record. What the record holds on its host is given
//! back in the same transaction that ends its holding it.

use super::{DesktopError, Desktops, group::Draft};
use crate::{
    names::DesktopId,
    state::{
        DesktopRecord, DesktopState, FailureRecord, Happening, Illegal, Stored,
        TransactionExt as _, keys,
    },
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 256;

impl Desktops {
    /// Applies what happened to the life of a desktop that began with `epoch`.
    /// `edit` fills in what goes with it. If the record does not change by it,
    /// nothing is written.
    pub(super) async fn happen(
        &self,
        id: &DesktopId,
        epoch: u64,
        happening: Happening,
        edit: impl Fn(&mut DesktopRecord) + Send + Sync,
    ) -> Result<DesktopRecord, DesktopError> {
        self.rewrite(id, epoch, |state| state.after(happening), edit).await
    }

    /// Changes what does not belong to its life.
    pub(super) async fn amend(
        &self,
        id: &DesktopId,
        epoch: u64,
        edit: impl Fn(&mut DesktopRecord) + Send + Sync,
    ) -> Result<DesktopRecord, DesktopError> {
        self.rewrite(id, epoch, Ok, edit).await
    }

    async fn rewrite(
        &self,
        id: &DesktopId,
        epoch: u64,
        next: impl Fn(DesktopState) -> Result<DesktopState, Illegal> + Send + Sync,
        edit: impl Fn(&mut DesktopRecord) + Send + Sync,
    ) -> Result<DesktopRecord, DesktopError> {
        let done = self.try_rewrite(id, epoch, next, edit).await;
        if let Err(error) = &done {
            self.doubt_after(error);
        }
        done
    }

    async fn try_rewrite(
        &self,
        id: &DesktopId,
        epoch: u64,
        next: impl Fn(DesktopState) -> Result<DesktopState, Illegal> + Send + Sync,
        edit: impl Fn(&mut DesktopRecord) + Send + Sync,
    ) -> Result<DesktopRecord, DesktopError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.find(id).await? else {
                return Err(DesktopError::Unknown(id.clone()));
            };
            if stored.record.epoch != epoch {
                return Err(DesktopError::Superseded { desktop: id.clone() });
            }
            let next = next(stored.record.state)
                .map_err(|illegal| DesktopError::Illegal { desktop: id.clone(), illegal })?;
            let mut record = stored.record.clone();
            record.state = next;
            edit(&mut record);
            if record == stored.record {
                return Ok(record);
            }
            if self.change(&stored, &record).await? {
                tracing::info!(desktop.id = %id, desktop.epoch = epoch, from = %stored.record.state, to = %next,
                    reason = %record.end_reason, "a desktop changed");
                return Ok(record);
            }
        }
        Err(StoreError::Contended { what: "a desktop", attempts: ATTEMPTS }.into())
    }

    /// Notes that it has ended, as its host says.
    ///
    /// # Errors
    /// It has ended before, or was started anew; or the store failed.
    pub async fn end(
        &self,
        record: &DesktopRecord,
        reason: &str,
    ) -> Result<DesktopRecord, DesktopError> {
        self.happen(&record.id, record.epoch, Happening::End, |record| {
            super::reconcile::note_end(record, reason);
        })
        .await
    }

    /// It failed, for this reason.
    pub(super) async fn fail(
        &self,
        record: &DesktopRecord,
        failure: &FailureRecord,
    ) -> Result<DesktopRecord, DesktopError> {
        let edit = |record: &mut DesktopRecord| record.failure = Some(failure.clone());
        self.happen(&record.id, record.epoch, Happening::Fail, edit).await
    }

    /// False: others were faster.
    async fn change(
        &self,
        before: &Stored<DesktopRecord>,
        after: &DesktopRecord,
    ) -> Result<bool, DesktopError> {
        let key = &before.key;
        let own = Transaction::new().unchanged(key, before.revision);
        let own = if after.state == DesktopState::Gone {
            let lease = self.inner.last_words.lease(self.store()).await?;
            own.delete(keys::number(after.number)).put_leased_record(key, after, lease)?
        } else {
            own.put_record(key, after)?
        };
        match self.apply_change(before, after, own).await {
            // Another lease, then.
            Err(DesktopError::Store(StoreError::LeaseGone(_))) => {
                self.inner.last_words.forget().await;
                Ok(false)
            }
            done => done,
        }
    }

    async fn apply_change(
        &self,
        before: &Stored<DesktopRecord>,
        after: &DesktopRecord,
        own: Transaction,
    ) -> Result<bool, DesktopError> {
        if before.record.state.holds_capacity() == after.state.holds_capacity() {
            return Ok(matches!(self.commit(own).await?, Commit::Applied(_)));
        }
        let DesktopRecord { host, limits, id: DesktopId { pool, .. }, .. } = after.clone();
        let give_back = move |draft: &mut Draft<'_>| {
            draft.give_room(&host, &limits);
            draft.leave_pool(&pool);
            Ok(Some((own.clone(), ())))
        };
        Ok(self.together(give_back).await?.is_some())
    }
}
