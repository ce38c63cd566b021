//! Whether a pool takes a desktop more: it may be closed, or have as many as it
//! may have. Counted in a record of its own, in the transactions that claim a
//! desktop and end its holding room: no two claims both take the last place.

use super::{DesktopError, Desktops};
use crate::{
    names::PoolName,
    state::{self, PoolRecord, PoolUseRecord, Stored, TransactionExt as _, keys},
    store::{StoreError, Transaction},
};

/// How many a pool has, as it was read.
pub(super) struct PoolUse(Option<Stored<PoolUseRecord>>);

impl PoolUse {
    fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |stored| stored.record.desktops)
    }

    /// Adds one more to a claim.
    ///
    /// # Errors
    /// [`DesktopError::PoolClosed`] or [`DesktopError::PoolFull`].
    pub(super) fn take(
        &self,
        transaction: Transaction,
        pool: &PoolRecord,
    ) -> Result<Transaction, DesktopError> {
        self.admits(pool)?;
        Ok(self.put(transaction, &pool.name, self.count().saturating_add(1))?)
    }

    /// Whether there may be one more.
    ///
    /// # Errors
    /// As [`PoolUse::take`].
    pub(super) fn admits(&self, pool: &PoolRecord) -> Result<(), DesktopError> {
        if !pool.closed.is_empty() {
            let (pool, why) = (pool.name.clone(), pool.closed.clone());
            return Err(DesktopError::PoolClosed { pool, why });
        }
        let present = self.count();
        if pool.max_desktops > 0 && present >= pool.max_desktops {
            return Err(DesktopError::PoolFull { pool: pool.name.clone(), present });
        }
        Ok(())
    }

    fn put(
        &self,
        transaction: Transaction,
        pool: &PoolName,
        desktops: u32,
    ) -> Result<Transaction, StoreError> {
        let key = keys::pool_use(pool);
        transaction
            .unless_changed(&key, self.0.as_ref())
            .put_record(&key, &PoolUseRecord { desktops })
    }
}

impl Desktops {
    pub(super) async fn pool_use(&self, pool: &PoolName) -> Result<PoolUse, StoreError> {
        Ok(PoolUse(state::read(self.store(), &keys::pool_use(pool)).await?))
    }

    /// Adds one less to the end of a desktop.
    pub(super) async fn leave_pool(
        &self,
        transaction: Transaction,
        pool: &PoolName,
    ) -> Result<Transaction, StoreError> {
        let present = self.pool_use(pool).await?;
        let less = present.count().saturating_sub(1);
        present.put(transaction, pool, less)
    }
}
