//! Keeps as many warm desktops as pools want, for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use tokio::time::sleep;
use tracing::Instrument as _;

use super::{
    Work,
    choose::standing,
    ledger::Number,
    plan::{Plan, plan},
};
use crate::{
    desktops::{DesktopError, Desktops},
    hosts::{Health, Seen},
    names::{HostName, PoolName},
    state::{self, PoolRecord, Stored, WarmRecord, WarmState, keys},
    store::{Revision, StoreError},
};

/// Between looks, as long as there is anything to keep: other brokers' claims,
/// tags that moved, pools that are tried again.
const PACE: Duration = Duration::from_secs(2);

/// Keeps warm desktops, for ever.
pub struct Keeper {
    /// What they are kept among.
    pub desktops: Desktops,
}

/// What is to be done after a look.
struct Looked {
    /// There is anything to keep.
    busy: bool,
    /// Changes of pools after this are news.
    since: Revision,
}

// === impl Keeper ===

impl Keeper {
    /// Never ends.
    pub async fn run(self) {
        loop {
            // Before the look: what happens meanwhile is not missed.
            let hosts = self.desktops.inner.hosts.changed();
            let wait = match self.desktops.look_at_warm().await {
                Ok(looked) => self.wait(looked, hosts).await,
                Err(error) => Err(error),
            };
            if let Err(error) = wait {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "warm desktops are not seen to for a moment"
                );
                sleep(PACE).await;
            }
        }
    }

    /// Until there is something to look at.
    async fn wait(
        &self,
        Looked { busy, since }: Looked,
        hosts: impl Future<Output = ()>,
    ) -> Result<(), DesktopError> {
        let inner = &self.desktops.inner;
        let mut pools = inner.store.watch(keys::POOLS, since).await?;
        let paced = async { if busy { sleep(PACE).await } else { std::future::pending().await } };
        tokio::select! {
            () = inner.warming.nudge.notified() => Ok(()),
            () = paced => Ok(()),
            () = hosts => Ok(()),
            changed = pools.try_next() => Ok(changed.map(drop)?),
        }
    }
}

impl Desktops {
    async fn look_at_warm(&self) -> Result<Looked, DesktopError> {
        let since = self.store().range(keys::POOLS).await?.revision;
        let pools = state::list::<PoolRecord>(self.store(), keys::POOLS).await?;
        let warm = state::list::<WarmRecord>(self.store(), keys::WARM).await?;
        let pools: BTreeMap<PoolName, PoolRecord> =
            pools.into_iter().map(|stored| (stored.record.name.clone(), stored.record)).collect();
        let wanted =
            pools.values().filter(|pool| pool.warm_wanted() > 0).map(|pool| pool.name.clone());
        let mut of_pools: BTreeMap<PoolName, Vec<Stored<WarmRecord>>> =
            wanted.map(|name| (name, Vec::new())).collect();
        let brokers = self.inner.presence.others().await?;
        for stored in warm {
            if !self.settle(&stored.record, &brokers).await? {
                of_pools.entry(stored.record.pool.clone()).or_default().push(stored);
            }
        }
        for (name, there) in &of_pools {
            let plan = self.try_plan(|draft| {
                let standing = |record: &WarmRecord| standing(draft.host(&record.host), record);
                Ok(plan(pools.get(name), there, standing))
            });
            let Plan { end, missing } = plan.await?;
            for stored in end {
                self.end_in_background(&stored.record);
            }
            self.make_missing(name, missing).await?;
        }
        Ok(Looked { busy: !of_pools.is_empty(), since })
    }

    /// Does what is to be done about one alone; answers whether it is settled.
    async fn settle(
        &self,
        record: &WarmRecord,
        brokers: &BTreeSet<String>,
    ) -> Result<bool, DesktopError> {
        if self.lost_for(&record.host).await?.is_some() {
            // Nobody misses it; the host may still use its number.
            self.forget_warm(record, Number::Held).await?;
            return Ok(true);
        }
        // Whether it is heard, and has this one.
        let look = |seen: &Seen| {
            let told = seen.desktops.get(&record.number);
            (seen.health == Health::Ready, told.is_some_and(|told| told.epoch == record.epoch))
        };
        let (heard, has_it) = self.inner.hosts.look(&record.host, look).unwrap_or_default();
        match record.state {
            WarmState::Ready => Ok(false),
            WarmState::Ending => {
                if heard {
                    self.end_in_background(record);
                }
                Ok(false)
            }
            WarmState::Making => {
                let mine = record.pilot == self.inner.presence.name();
                let orphan = !mine && !brokers.contains(&record.pilot) && heard && !has_it;
                if orphan {
                    self.forget_warm(record, Number::Free).await?;
                }
                Ok(orphan)
            }
        }
    }

    async fn make_missing(&self, pool: &PoolName, missing: u32) -> Result<(), DesktopError> {
        for _ in 0..missing {
            if self.is_busy(Work::Make) || self.inner.warming.patience.left(pool).is_some() {
                return Ok(());
            }
            match self.make_warm(pool).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error @ DesktopError::Store(_)) => return Err(error),
                Err(error) => {
                    self.inner.warming.patience.failed(pool, error.to_string(), rand::random());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ends the warm desktops of a host at once.
    ///
    /// # Errors
    /// Of the store.
    pub async fn end_warm_on(&self, host: &HostName) -> Result<(), StoreError> {
        let claimed = self.claimed_till_now().await?;
        for record in self.warm_on(host, claimed).await? {
            self.end_in_background(&record);
        }
        Ok(())
    }

    /// Notes that those of a host are gone with it.
    ///
    /// # Errors
    /// Of the store.
    pub(in crate::desktops) async fn write_off_warm(
        &self,
        host: &HostName,
    ) -> Result<(), DesktopError> {
        let claimed = self.claimed_till_now().await?;
        for record in self.warm_on(host, claimed).await? {
            self.forget_warm(&record, Number::Free).await?;
        }
        Ok(())
    }

    /// Not again while it is being ended, or made: then once that is done.
    fn end_in_background(&self, record: &WarmRecord) {
        if self.is_busy(Work::End) {
            // The next look finds it again.
            return;
        }
        let Some(work) = self.at_work(record.epoch, Work::End) else { return };
        let (desktops, record) = (self.clone(), record.clone());
        let span = tracing::info_span!("warm", pool.name = %record.pool, number = record.number, host.name = %record.host);
        let end = async move {
            let ended = desktops.end_warm(&record).await;
            drop(work);
            match ended {
                Ok(()) => desktops.nudge(),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a warm desktop is ended when its host answers"
                ),
            }
        };
        self.inner.tasks.spawn(end.instrument(span));
    }
}
