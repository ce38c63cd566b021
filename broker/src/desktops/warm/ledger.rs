//! The transactions on the records of warm desktops. What one holds is given
//! back in the transaction that deletes its record, or goes to the desktop it
//! becomes.

use crate::{
    desktops::{DesktopError, Desktops, group::Draft},
    names::PoolName,
    state::{self, HeldRecord, Stored, TransactionExt as _, WarmRecord, WarmState, keys},
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 256;

/// What becomes of the number of one that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// It is free.
    Free,
    /// Its host is lost, and may still use it.
    Held,
}

impl Desktops {
    pub(super) async fn warm(
        &self,
        pool: &PoolName,
        number: u32,
        epoch: u64,
    ) -> Result<Option<Stored<WarmRecord>>, StoreError> {
        let stored = state::read::<WarmRecord>(self.store(), &keys::warm(pool, number)).await?;
        Ok(stored.filter(|stored| stored.record.epoch == epoch))
    }

    /// Changes the record, if it is still there. `edit` answers whether there is
    /// anything to change.
    pub(super) async fn amend_warm(
        &self,
        record: &WarmRecord,
        edit: impl Fn(&mut WarmRecord) -> bool + Send + Sync,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let there = self.warm(&record.pool, record.number, record.epoch).await?;
            let Some(stored) = there else { return Ok(()) };
            let mut record = stored.record.clone();
            if !edit(&mut record) {
                return Ok(());
            }
            let change = Transaction::new()
                .unchanged(&stored.key, stored.revision)
                .put_record(&stored.key, &record)?;
            if let Commit::Applied(_) = self.commit(change).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// It can be claimed.
    pub(super) async fn warm_is_ready(
        &self,
        record: &WarmRecord,
        version: &str,
    ) -> Result<(), StoreError> {
        let edit = |record: &mut WarmRecord| {
            let news = record.state == WarmState::Making;
            if news {
                record.state = WarmState::Ready;
                version.clone_into(&mut record.version);
            }
            news
        };
        self.amend_warm(record, edit).await
    }

    /// It is no more: its record goes, and its room is given back. Nothing, if
    /// it was claimed or forgotten meanwhile.
    pub(super) async fn forget_warm(
        &self,
        record: &WarmRecord,
        number: Number,
    ) -> Result<(), DesktopError> {
        for _ in 0..ATTEMPTS {
            let there = self.warm(&record.pool, record.number, record.epoch).await?;
            let Some(stored) = there else { return Ok(()) };
            let WarmRecord { pool, number: n, epoch, host, recipe, .. } = stored.record;
            let own = Transaction::new().unchanged(&stored.key, stored.revision);
            let own = own.delete(&stored.key);
            let own = match number {
                Number::Free => own.delete(keys::number(n)),
                Number::Held => {
                    let held = HeldRecord { desktop: pool.to_string(), epoch };
                    own.put_record(&keys::held(&host, n), &held)?
                }
            };
            let key = stored.key;
            let forget = move |draft: &mut Draft<'_>| {
                draft.give_room(&host, &recipe.limits);
                draft.take_warm(&key);
                Ok(Some((own.clone(), ())))
            };
            if self.together(forget).await?.is_some() {
                tracing::info!(pool.name = %record.pool, number = record.number, host.name = %record.host,
                    "a warm desktop is no more");
                return Ok(());
            }
        }
        Err(contended().into())
    }

    /// Ends one: nobody gets it from now on. A host that does not answer is asked
    /// when it does.
    pub(super) async fn end_warm(&self, record: &WarmRecord) -> Result<(), DesktopError> {
        let edit = |record: &mut WarmRecord| {
            let news = record.state != WarmState::Ending;
            record.state = WarmState::Ending;
            news
        };
        self.amend_warm(record, edit).await?;
        let Some(stored) = self.warm(&record.pool, record.number, record.epoch).await? else {
            return Ok(());
        };
        self.ask_host_to_stop(&record.host, record.number, record.epoch, None).await?;
        self.forget_warm(&stored.record, Number::Free).await
    }
}

fn contended() -> StoreError {
    StoreError::Contended { what: "a warm desktop", attempts: ATTEMPTS }
}
