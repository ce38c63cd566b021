//! Follows desktops, viewers and pools in the store, and does what the rules
//! say. One queue of times, no look at desktops that nothing is due for.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    rules::Step,
    table::{Act, Table},
};
use crate::{
    clock::Clock,
    desktops::{DesktopError, Desktops},
    gateway::Viewers,
    names::{DesktopId, PoolName},
    state::{self, DesktopRecord, PoolRecord, TimeLimits, ViewerRecord, keys},
    store::{Event, Revision, Store, StoreError},
};

/// Longest sleep: the time of day may be set anew meanwhile.
const LONGEST: Duration = Duration::from_secs(1);
/// Before something that could not be done is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// After the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the time of all desktops.
pub struct Keeper {
    /// What they are counted by.
    pub store: Arc<dyn Store>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is to end.
    pub desktops: Desktops,
    /// Who uses them.
    pub viewers: Viewers,
}

// === impl Keeper ===

impl Keeper {
    /// Never ends.
    pub async fn run(self) {
        loop {
            let error = match self.follow().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            // Too many changes at once: begin anew with what there is.
            if !matches!(error, DesktopError::Store(StoreError::Compacted(_))) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "time limits are not kept for a moment"
                );
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<Infallible, DesktopError> {
        let store = self.store.as_ref();
        let mut table = Table::default();
        let begin = store.range(keys::DESKTOPS).await?;
        let mut changes = stream::select_all([
            store.watch(keys::DESKTOPS, begin.revision).await?,
            store.watch(keys::VIEWERS, begin.revision).await?,
            store.watch(keys::POOLS, begin.revision).await?,
        ]);
        for prefix in [keys::POOLS, keys::VIEWERS] {
            for entry in store.range(prefix).await?.entries {
                note(&mut table, &entry.key, entry.revision, Some(&entry.value))?;
            }
        }
        for entry in begin.entries {
            note(&mut table, &entry.key, entry.revision, Some(&entry.value))?;
        }
        for id in table.all() {
            self.look(&mut table, &id).await?;
        }
        loop {
            let now = self.clock.now();
            let wait = table.next().map_or(LONGEST, |at| now.until(at).min(LONGEST));
            tokio::select! {
                change = changes.next() => {
                    let change = change.ok_or(StoreError::Compacted(begin.revision))??;
                    let Event { key, value, revision } = change;
                    for id in note(&mut table, &key, revision, value.as_deref())? {
                        self.look(&mut table, &id).await?;
                    }
                }
                used = self.viewers.activities().used_again() => {
                    for id in used {
                        self.look(&mut table, &id).await?;
                    }
                }
                () = sleep(wait) => {}
            }
            while let Some(id) = table.due(self.clock.now()) {
                self.look(&mut table, &id).await?;
            }
        }
    }

    async fn look(&self, table: &mut Table, id: &DesktopId) -> Result<(), DesktopError> {
        let now = self.clock.now();
        match table.judge(id, now, now.after(AGAIN), &self.viewers) {
            None | Some(Act::Step(_, Step::Wait(_))) => {}
            Some(Act::Vacate(judged)) => self.desktops.vacate(id, judged).await?,
            Some(Act::Step(judged, Step::Tell(expiry))) => {
                self.desktops.set_expiry(id, judged, Some(expiry)).await?;
            }
            Some(Act::Step(judged, Step::Untell)) => {
                self.desktops.set_expiry(id, judged, None).await?;
            }
            Some(Act::Step(judged, Step::End(limit))) => {
                self.desktops.expire(id, judged, limit).await?;
            }
        }
        Ok(())
    }
}

/// Notes a key as it is now; tells which desktops it is about.
fn note(
    table: &mut Table,
    key: &str,
    revision: Revision,
    value: Option<&[u8]>,
) -> Result<Vec<DesktopId>, StoreError> {
    if let Some(id) = key.strip_prefix(keys::DESKTOPS).and_then(DesktopId::from_key) {
        let record = value.map(|value| state::decode::<DesktopRecord>(key, value)).transpose()?;
        table.desktop(&id, record.map(|record| (revision, record)));
        return Ok(vec![id]);
    }
    if let Some(id) = key.strip_prefix(keys::VIEWERS).and_then(DesktopId::from_key) {
        let record = value.map(|value| state::decode::<ViewerRecord>(key, value)).transpose()?;
        table.viewer(&id, record);
        return Ok(vec![id]);
    }
    let pool = key.strip_prefix(keys::POOLS).map(|name| PoolName::parse("pool", name));
    let Some(Ok(pool)) = pool else { return Ok(Vec::new()) };
    let record = value.map(|value| state::decode::<PoolRecord>(key, value)).transpose()?;
    Ok(table.pool(&pool, record.map_or_else(TimeLimits::default, |pool| pool.time_limits)))
}
