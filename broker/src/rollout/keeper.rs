//! Sees to roll-outs, for ever.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use tokio::time::sleep;

use super::{
    Rollouts, lock,
    plan::{Plan, plan},
    survey::Survey,
};
use crate::{
    clock::Timestamp,
    desktops::DesktopError,
    state::{
        self, AgainRecord, DesktopRecord, EndsRecord, FailedRecord, RestartRecord, RolloutRecord,
        RolloutState, Stored, TransactionExt as _, keys,
    },
    store::{Commit, StoreError, Transaction},
};

/// Between looks.
const PACE: Duration = Duration::from_secs(1);
/// A look at a large pool takes its time: no more than so much of it goes there.
const PARTS: u32 = 20;
/// Longest pause between looks.
const LONGEST: Duration = Duration::from_secs(20);
/// Users that are told in one look: those whose time has come go between.
const TELLS: usize = 200;

impl Rollouts {
    /// Never ends.
    pub async fn keep(self) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "roll-outs are not seen to for a moment"
                );
                sleep(PACE).await;
            }
        }
    }

    /// Does what is due, and waits until there may be more.
    async fn look(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let since = self.store().range(keys::ROLLOUTS).await?.revision;
        let all = state::list::<RolloutRecord>(self.store(), keys::ROLLOUTS).await?;
        *lock(&self.inner.states) =
            all.iter().map(|stored| (stored.record.pool.clone(), stored.record.state)).collect();
        let busy: Vec<_> = all.into_iter().filter(|stored| is_busy(&stored.record)).collect();
        if busy.is_empty() {
            let mut changes = self.store().watch(keys::ROLLOUTS, since).await?;
            return tokio::select! {
                changed = changes.try_next() => changed.map(drop),
                () = self.inner.nudge.notified() => Ok(()),
            };
        }
        let brokers = self.inner.parts.presence.others().await?;
        for stored in busy {
            if let Some(stored) = self.as_driver(stored, &brokers).await? {
                self.drive(stored).await?;
            }
        }
        let pause = begun.elapsed().saturating_mul(PARTS).clamp(PACE, LONGEST);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.inner.nudge.notified() => {}
        }
        Ok(())
    }

    /// The record, if it is this broker's to see to.
    async fn as_driver(
        &self,
        stored: Stored<RolloutRecord>,
        brokers: &BTreeSet<String>,
    ) -> Result<Option<Stored<RolloutRecord>>, StoreError> {
        let name = self.inner.parts.presence.name();
        if stored.record.driver == name {
            return Ok(Some(stored));
        }
        if brokers.contains(&stored.record.driver) {
            return Ok(None);
        }
        tracing::info!(pool.name = %stored.record.pool, rollout.id = %stored.record.id,
            "a roll-out whose broker is gone is taken over");
        let record = RolloutRecord { driver: name.to_owned(), ..stored.record.clone() };
        self.rewrite(&stored, record).await
    }

    async fn drive(&self, stored: Stored<RolloutRecord>) -> Result<(), StoreError> {
        for restart in &stored.record.restarting {
            self.see_through(&stored.record.pool, restart);
        }
        let Some(survey) = self.survey(&stored.record.pool, None).await? else { return Ok(()) };
        let now = self.inner.parts.clock.now();
        let plan = plan(&stored.record, &survey.facts, survey.closed(), now);
        let record = self.noted(&stored.record, &plan, &survey);
        let stored = match record == stored.record {
            true => stored,
            false => match self.rewrite(&stored, record).await? {
                Some(stored) => stored,
                None => return Ok(()),
            },
        };
        if stored.record.state == RolloutState::Running {
            self.take(stored.clone(), &plan, &survey).await?;
        }
        self.tell(&stored.record, &plan, &survey).await
    }

    /// The record with what the plan says of it.
    fn noted(&self, record: &RolloutRecord, plan: &Plan, survey: &Survey) -> RolloutRecord {
        let now = self.inner.parts.clock.now();
        let mut record = record.clone();
        let failed = plan.failed.iter().filter_map(|place| survey.desktops.get(*place));
        for stored in failed {
            record.fail(failure_of(&stored.record, now));
        }
        if let Some(event) = plan.event() {
            // Halted meanwhile: then that stands.
            record.happen(event, now).unwrap_or_default();
        }
        let is_told = survey.facts.iter().any(|fact| fact.told.is_some());
        record.told = record.state == RolloutState::Running || is_told;
        record
    }

    /// Ends those whose turn it is, each in one transaction with the record.
    async fn take(
        &self,
        mut rollout: Stored<RolloutRecord>,
        plan: &Plan,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        for (place, again) in &plan.take {
            let Some(desktop) = survey.desktops.get(*place) else { continue };
            let restart = restart_of(&desktop.record, *again, self.inner.parts.clock.now());
            let mut record = rollout.record.clone();
            record.restarting.push(restart.clone());
            let note = Transaction::new()
                .unless_changed(&rollout.key, Some(&rollout))
                .put_record(&rollout.key, &record)?;
            match self.inner.parts.desktops.end_for_renewal(desktop, note).await {
                Ok(Commit::Applied(revision)) => {
                    rollout = Stored { record, revision, ..rollout };
                    self.see_through(&rollout.record.pool, &restart);
                }
                // The desktop or the roll-out is another by now: look again.
                Ok(Commit::Conflict { .. }) => return Ok(()),
                Err(DesktopError::Store(error)) => return Err(error),
                // Its host does not answer, or it is over: the next look says so.
                Err(error) => tracing::info!(
                    desktop.id = %desktop.record.id, error = &error as &dyn std::error::Error,
                    "a desktop is not restarted for now"
                ),
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        record: &RolloutRecord,
        plan: &Plan,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        let because = match record.replaced {
            None => {
                "a new version of this desktop is there; log out and start anew to have it at a time of your own"
            }
            Some(_) => {
                "this desktop goes back to an earlier version; log out and start anew to have it at a time of your own"
            }
        };
        for (place, at) in plan.tell.iter().take(TELLS) {
            let Some(Stored { record, .. }) = survey.desktops.get(*place) else { continue };
            let ends = at.map(|at| EndsRecord { at, because: because.to_owned() });
            self.inner.parts.desktops.foretell_renewal(record, ends).await?;
        }
        if plan.tell.len() > TELLS {
            self.inner.nudge.notify_one();
        }
        Ok(())
    }

    /// The record as it is now; none: somebody else has changed it.
    pub(super) async fn rewrite(
        &self,
        stored: &Stored<RolloutRecord>,
        record: RolloutRecord,
    ) -> Result<Option<Stored<RolloutRecord>>, StoreError> {
        let put = Transaction::new()
            .unless_changed(&stored.key, Some(stored))
            .put_record(&stored.key, &record)?;
        let Commit::Applied(revision) = self.store().commit(put).await? else { return Ok(None) };
        report(stored.record.state, &record);
        Ok(Some(Stored { record, revision, key: stored.key.clone() }))
    }
}

fn report(before: RolloutState, record: &RolloutRecord) {
    let RolloutRecord { pool, id, state, failed, .. } = record;
    if before == *state {
        return;
    }
    if *state == RolloutState::Halted {
        tracing::warn!(pool.name = %pool, rollout.id = %id, failed, "a roll-out is halted");
    } else {
        tracing::info!(pool.name = %pool, rollout.id = %id, %state, "a roll-out changed");
    }
}

/// Whether there is anything to do about it.
fn is_busy(record: &RolloutRecord) -> bool {
    record.state == RolloutState::Running || record.told || !record.restarting.is_empty()
}

fn restart_of(record: &DesktopRecord, again: bool, now: Timestamp) -> RestartRecord {
    RestartRecord {
        desktop: record.id.clone(),
        epoch: record.epoch,
        since: now,
        again: again.then(|| AgainRecord {
            width: record.width,
            height: record.height,
            time_zone: record.time_zone.clone(),
        }),
    }
}

/// Of a desktop that never came up.
pub(super) fn failure_of(record: &DesktopRecord, at: Timestamp) -> FailedRecord {
    let failure = record.failure.as_ref();
    FailedRecord {
        desktop: record.id.clone(),
        epoch: record.epoch,
        host: Some(record.host.clone()),
        code: failure.map_or_else(|| "UNKNOWN".to_owned(), |failure| failure.code.clone()),
        reason: failure.map(|failure| failure.reason.clone()).unwrap_or_default(),
        at,
    }
}
