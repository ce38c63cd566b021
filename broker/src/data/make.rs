//! Data that comes to be: as a clone of other data, or from a stream. It is
//! noted before its host makes it, and not to be used before it is whole, so
//! that nothing lies on a host that nobody knows of.

use rolltop_proto::v1;

use super::{
    Data, DataError, DataId, Done, Kept, Order,
    mark::{Entry, Look},
    work::Out,
};
use crate::{
    state::keys,
    store::{Commit, StoreError, Transaction},
};

/// What a host calls data with this key.
pub(super) fn volume_of(id: &DataId, key: &str) -> String {
    let prefix = match id {
        DataId::Desktop(_) => keys::OVERLAYS,
        DataId::Home(_) => keys::HOMES,
    };
    key.strip_prefix(prefix).unwrap_or(key).to_owned()
}

// === impl Data ===

impl Data {
    pub(super) async fn clone_data(
        &self,
        from: &DataId,
        to: &DataId,
        snapshot: &str,
        order: &Order,
        out: &Out,
    ) -> Result<Done, DataError> {
        if from.kind() != to.kind() {
            return Err(DataError::Kinds { from: from.clone(), to: to.clone() });
        }
        let (source, source_entry) = self.mark(from, &Look::Whole, order).await?;
        let work = async {
            let new = Look::New { host: source.host.clone() };
            let (target, entry) = match self.mark(to, &new, order).await {
                Err(DataError::Exists(id)) => return self.repeated(id, order).await,
                other => other?,
            };
            let at_host = self.clone_at_host(&source, to, snapshot, order, out);
            let result = match entry {
                marked @ Entry::Marked(_) => marked.during(self.settle(&target, at_host)).await?,
                // Who began it notes its end.
                Entry::Joined => at_host.await?,
            };
            Ok(Done { kept: Kept { making: false, ..target }, result })
        };
        source_entry.during(work).await
    }

    /// A repeated request gets what the first one made.
    async fn repeated(&self, id: DataId, order: &Order) -> Result<Done, DataError> {
        let kept = self.find(&id).await?;
        if order.request_id.is_empty() || kept.made_by != order.request_id {
            return Err(DataError::Exists(id));
        }
        let volume = Some(self.measure(&kept).await?);
        Ok(Done { kept, result: v1::VolumeResult { volume, ..Default::default() } })
    }

    /// Awaits the making of `kept`: it is whole then, or never was, or, if the
    /// host cannot say, stays noted as half made.
    pub(super) async fn settle<T>(
        &self,
        kept: &Kept,
        making: impl Future<Output = Result<T, DataError>>,
    ) -> Result<T, DataError> {
        let made = making.await;
        let noted = match &made {
            Ok(_) => self.note(kept, |whole| whole.making = false).await,
            Err(error) if error.is_certain() => self.forget(kept).await,
            Err(_) => Ok(()),
        };
        match (made, noted) {
            (Ok(made), Ok(())) => Ok(made),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(noting)) => {
                tracing::error!(
                    error = &noting as &dyn std::error::Error,
                    data.id = %kept.id,
                    "data stays noted that was not made"
                );
                Err(error)
            }
        }
    }

    /// Changes the record of data that is marked: only who marked it does.
    pub(super) async fn note(
        &self,
        kept: &Kept,
        change: impl Fn(&mut Kept),
    ) -> Result<(), DataError> {
        let Some(mut now) = self.read(&kept.id, &kept.place.key).await? else {
            return Err(DataError::None(kept.id.clone()));
        };
        change(&mut now);
        let transaction = Transaction::new().unchanged(&now.place.key, now.place.revision);
        self.commit(now.put(transaction)?).await
    }

    pub(super) async fn forget(&self, kept: &Kept) -> Result<(), DataError> {
        self.commit(Transaction::new().delete(&kept.place.key)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<(), DataError> {
        match self.store().commit(transaction).await? {
            Commit::Applied(_) => Ok(()),
            Commit::Conflict { .. } => {
                Err(StoreError::Contended { what: "kept data", attempts: 1 }.into())
            }
        }
    }
}
