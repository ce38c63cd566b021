//! What operators want of roll-outs. Each is one transaction.

use super::{RolloutError, Rollouts, survey::Survey};
use crate::{
    names::{ImageRef, PoolName, UserName},
    state::{
        self, Batch, CounterRecord, PoolRecord, RolloutEvent, RolloutRecord, RolloutSettings,
        RolloutState, Stored, TransactionExt as _, keys,
    },
    store::{Commit, StoreError, Transaction},
};

/// Lost races before giving up.
const ATTEMPTS: u32 = 16;
/// Most desktops at a time: each is named in the record.
const MOST_AT_ONCE: u32 = 100;

/// What is put in a roll-out's record when it begins.
struct Beginning<'a> {
    settings: RolloutSettings,
    by: &'a UserName,
    /// What the pool names from now on.
    image: ImageRef,
    /// And named till now, if that is another.
    replaced: Option<ImageRef>,
    horizon: u64,
}

impl Rollouts {
    /// Has the desktops of a pool restarted that are behind. One with the same
    /// settings that has not ended is answered as it is.
    ///
    /// # Errors
    /// [`RolloutError::UnderWay`], [`RolloutError::NothingBehind`], no such pool.
    pub async fn start(
        &self,
        pool: &PoolName,
        settings: RolloutSettings,
        by: &UserName,
    ) -> Result<RolloutRecord, RolloutError> {
        // A tag may have moved a moment ago.
        self.inner.parts.hosts.refresh_images().await;
        for _ in 0..ATTEMPTS {
            let present = self.find(pool).await?;
            if let Some(Stored { record, .. }) = &present
                && !record.state.is_over()
            {
                if record.settings == settings && record.replaced.is_none() {
                    return Ok(record.clone());
                }
                return Err(RolloutError::UnderWay { pool: pool.clone(), state: record.state });
            }
            let horizon = self.last_epoch().await?;
            let survey = self.surveyed(pool, None).await?;
            let image = survey.pool.record.image.clone();
            if survey.behind(horizon).next().is_none() {
                let version = survey.version(&image);
                let done = present.map(|stored| stored.record).filter(|record| {
                    record.state == RolloutState::Done && record.version == version
                });
                // Asked again after it was done.
                return done
                    .ok_or_else(|| RolloutError::NothingBehind { pool: pool.clone(), image });
            }
            let begin = Beginning { settings, by, image, replaced: None, horizon };
            let record = self.begun(&survey, present.as_ref(), begin);
            let put = Transaction::new().unless_changed(&survey.pool.key, Some(&survey.pool));
            if self.put(put, present.as_ref(), &record).await? {
                return Ok(record);
            }
        }
        Err(contended())
    }

    /// Pins the pool to an earlier version of its image, and restarts what does
    /// not run that. `version` none: what most ran before the last roll-out;
    /// `settings` none: those of the last.
    ///
    /// # Errors
    /// It is not known which version, or no host has it.
    pub async fn roll_back(
        &self,
        pool: &PoolName,
        version: Option<&str>,
        settings: Option<RolloutSettings>,
        by: &UserName,
    ) -> Result<RolloutRecord, RolloutError> {
        self.inner.parts.hosts.refresh_images().await;
        for _ in 0..ATTEMPTS {
            let present = self.find(pool).await?;
            let record = present.as_ref().map(|stored| &stored.record);
            let horizon = self.last_epoch().await?;
            let there = self.surveyed(pool, None).await?.pool.record.image;
            let back = record.filter(|record| record.replaced.is_some() && record.image == there);
            let image = match version {
                Some(version) => ImageRef::of_version("version", there.image(), version)?,
                // Asked again.
                None if back.is_some() => there.clone(),
                None => record
                    .and_then(|record| record.before.clone())
                    .ok_or_else(|| RolloutError::NoEarlierVersion(pool.clone()))?,
            };
            if let Some(back) = back.filter(|back| back.image == image) {
                return Ok(back.clone());
            }
            let survey = self.surveyed(pool, Some(&image)).await?;
            if survey.startable.is_empty() {
                return Err(RolloutError::UnknownVersion(image));
            }
            let settings = settings.or_else(|| record.map(|record| record.settings));
            let begin = Beginning {
                settings: settings.unwrap_or_default(),
                by,
                image: image.clone(),
                replaced: Some(survey.pool.record.image.clone()),
                horizon,
            };
            let record = self.begun(&survey, present.as_ref(), begin);
            let pinned = PoolRecord { image, ..survey.pool.record.clone() };
            let put = Transaction::new()
                .unless_changed(&survey.pool.key, Some(&survey.pool))
                .put_record(&survey.pool.key, &pinned)?;
            if self.put(put, present.as_ref(), &record).await? {
                return Ok(record);
            }
        }
        Err(contended())
    }

    /// Pauses, resumes or cancels.
    ///
    /// # Errors
    /// There is none, or its state does not allow it.
    pub async fn happen(
        &self,
        pool: &PoolName,
        event: RolloutEvent,
    ) -> Result<RolloutRecord, RolloutError> {
        for _ in 0..ATTEMPTS {
            let last_epoch = self.last_epoch().await?;
            let present = self.find(pool).await?;
            let stored = present.ok_or_else(|| RolloutError::Unknown(pool.clone()))?;
            let mut record = stored.record.clone();
            record
                .happen(event, self.inner.parts.clock.now())
                .map_err(|illegal| RolloutError::Illegal { pool: pool.clone(), illegal })?;
            if record.state == stored.record.state {
                return Ok(record);
            }
            record.told = true;
            if event == RolloutEvent::Resume {
                record.counts_after = last_epoch;
            }
            if self.put(Transaction::new(), Some(&stored), &record).await? {
                return Ok(record);
            }
        }
        Err(contended())
    }

    fn begun(
        &self,
        survey: &Survey,
        present: Option<&Stored<RolloutRecord>>,
        begin: Beginning<'_>,
    ) -> RolloutRecord {
        let Beginning { settings, by, image, replaced, horizon } = begin;
        let total = u32::try_from(survey.behind(horizon).count()).unwrap_or(u32::MAX);
        // What is being restarted is seen through, whoever asked for it.
        let restarting = present.map(|stored| stored.record.restarting.clone());
        RolloutRecord {
            id: uuid::Uuid::new_v4().simple().to_string(),
            pool: survey.pool.record.name.clone(),
            state: RolloutState::Running,
            version: survey.version(&image),
            before: survey.before(horizon),
            replaced,
            image,
            by: by.clone(),
            started_at: self.inner.parts.clock.now(),
            ended_at: None,
            batch: settings.batch.of(total).min(MOST_AT_ONCE),
            settings,
            horizon,
            total,
            driver: self.inner.parts.presence.name().to_owned(),
            told: true,
            restarting: restarting.unwrap_or_default(),
            restarted: 0,
            ended: 0,
            failed: 0,
            forgiven: 0,
            counts_after: horizon,
            failures: Vec::new(),
        }
    }

    /// Whether it was written: nobody was faster.
    async fn put(
        &self,
        transaction: Transaction,
        present: Option<&Stored<RolloutRecord>>,
        record: &RolloutRecord,
    ) -> Result<bool, StoreError> {
        let key = keys::rollout(&record.pool);
        let put = transaction.unless_changed(&key, present).put_record(&key, record)?;
        let applied = matches!(self.store().commit(put).await?, Commit::Applied(_));
        if applied {
            tracing::info!(pool.name = %record.pool, rollout.id = %record.id, state = %record.state, image = %record.image,
                by = %record.by, "a roll-out changed");
            self.inner.nudge.notify_one();
        }
        Ok(applied)
    }

    async fn surveyed(
        &self,
        pool: &PoolName,
        next: Option<&ImageRef>,
    ) -> Result<Survey, RolloutError> {
        let survey = self.survey(pool, next).await?;
        survey.ok_or_else(|| RolloutError::UnknownPool(pool.clone()))
    }

    async fn last_epoch(&self) -> Result<u64, StoreError> {
        let counter = state::read::<CounterRecord>(self.store(), keys::EPOCH_COUNTER).await?;
        Ok(counter.map_or(0, |stored| stored.record.last))
    }
}

// === impl RolloutSettings ===

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            deadline_ms: None,
            batch: Batch::Percent(10),
            max_failures: 1,
            warning_ms: 10 * 60 * 1000,
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Of so many, at least one.
    fn of(self, total: u32) -> u32 {
        match self {
            Self::Desktops(count) => count.max(1),
            Self::Percent(percent) => {
                let count = (u64::from(total) * u64::from(percent)).div_ceil(100);
                u32::try_from(count).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

fn contended() -> RolloutError {
    StoreError::Contended { what: "a roll-out", attempts: ATTEMPTS }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_rounded_up_and_never_nothing() {
        for (batch, total, count) in [
            (Batch::Percent(10), 0, 1),
            (Batch::Percent(10), 10, 1),
            (Batch::Percent(10), 11, 2),
            (Batch::Percent(100), 7, 7),
            (Batch::Percent(100), u32::MAX, u32::MAX),
            (Batch::Desktops(5), 2, 5),
        ] {
            assert_eq!(batch.of(total), count, "{batch:?} of {total}");
        }
    }
}
