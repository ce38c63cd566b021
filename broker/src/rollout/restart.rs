//! One desktop, from its end to its being up again. What it comes to is noted by
//! whoever sees it through; it may be seen through twice and is noted once.

use futures_util::StreamExt as _;
use tracing::Instrument as _;

use super::{Rollouts, keeper::failure_of, lock};
use crate::{
    desktops::{DesktopError, StartRequest, Step},
    names::{DesktopId, PoolName},
    state::{
        self, AgainRecord, DesktopState, FailedRecord, PoolRecord, RestartRecord, RolloutRecord,
        UserRecord, keys,
    },
    store::StoreError,
};

/// Lost races before giving up; the next look tries again.
const ATTEMPTS: u32 = 64;

/// What became of one.
enum Verdict {
    /// It is up.
    Restarted,
    /// It has ended, and is not to be started.
    Ended,
    /// It is not up.
    Failed(FailedRecord),
}

/// A desktop that this broker restarts, until this is dropped.
struct AtWork {
    rollouts: Rollouts,
    life: (DesktopId, u64),
}

impl Drop for AtWork {
    fn drop(&mut self) {
        lock(&self.rollouts.inner.at_work).remove(&self.life);
    }
}

impl Rollouts {
    /// Sees a restart through, unless that is being done.
    pub(super) fn see_through(&self, pool: &PoolName, restart: &RestartRecord) {
        let life = (restart.desktop.clone(), restart.epoch);
        if !lock(&self.inner.at_work).insert(life.clone()) {
            return;
        }
        let work = AtWork { rollouts: self.clone(), life };
        let (rollouts, pool, restart) = (self.clone(), pool.clone(), restart.clone());
        let span = tracing::info_span!("renewal", desktop.id = %restart.desktop, desktop.epoch = restart.epoch);
        let see = async move {
            let noted = match rollouts.restart(&restart).await {
                Ok(verdict) => rollouts.note(&pool, &restart, verdict).await,
                Err(error) => Err(error),
            };
            drop(work);
            match noted {
                Ok(()) => rollouts.inner.nudge.notify_one(),
                // The next look begins again where this broke off.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a desktop's restart is seen to again in a moment");
                }
            }
        };
        self.inner.parts.tasks.spawn(see.instrument(span));
    }

    /// # Errors
    /// Of the store, or of this broker: nothing is said about the desktop.
    async fn restart(&self, restart: &RestartRecord) -> Result<Verdict, StoreError> {
        let id = &restart.desktop;
        let desktops = &self.inner.parts.desktops;
        if let Err(error) = desktops.see_ended(id, restart.epoch).await {
            return self.judge(restart, error);
        }
        let Some(again) = &restart.again else { return Ok(Verdict::Ended) };
        // The broker that saw to it before may have got this far.
        let later = desktops.find(id).await?.map(|stored| stored.record);
        let later = later.filter(|record| record.epoch > restart.epoch);
        if let Some(failed) = later.filter(|record| record.state == DesktopState::Failed) {
            return Ok(Verdict::Failed(failure_of(&failed, self.inner.parts.clock.now())));
        }
        let Some(request) = self.request(id, again).await? else { return Ok(Verdict::Ended) };
        let mut steps = Box::pin(desktops.start(request).follow());
        while let Some(step) = steps.next().await {
            let Step::Done(outcome) = step else { continue };
            return match outcome.as_ref() {
                Ok(record) if record.state == DesktopState::Failed => {
                    Ok(Verdict::Failed(failure_of(record, self.inner.parts.clock.now())))
                }
                Ok(_) => Ok(Verdict::Restarted),
                // Its user, or an operator.
                Err(DesktopError::Stopped(_)) => Ok(Verdict::Ended),
                Err(error) => self.judge_shared(restart, error),
            };
        }
        Err(interrupted())
    }

    /// `None`: its user is gone, or may not have it any more.
    async fn request(
        &self,
        id: &DesktopId,
        again: &AgainRecord,
    ) -> Result<Option<StartRequest>, StoreError> {
        let store = self.store();
        let user = state::read::<UserRecord>(store, &keys::user(&id.user)).await?;
        let pool = state::read::<PoolRecord>(store, &keys::pool(&id.pool)).await?;
        let (Some(user), Some(pool)) = (user, pool) else { return Ok(None) };
        let groups = self.inner.parts.groups.of(&user.record).await?;
        let AgainRecord { width, height, time_zone } = again.clone();
        let pool_name = id.pool.clone();
        Ok(pool.record.admits(&id.user, &groups).then_some(StartRequest {
            user: user.record,
            pool: pool_name,
            width,
            height,
            time_zone,
        }))
    }

    fn judge(&self, restart: &RestartRecord, error: DesktopError) -> Result<Verdict, StoreError> {
        match error {
            DesktopError::Store(error) => Err(error),
            other => self.judge_shared(restart, &other),
        }
    }

    fn judge_shared(
        &self,
        restart: &RestartRecord,
        error: &DesktopError,
    ) -> Result<Verdict, StoreError> {
        let code = match error {
            DesktopError::Store(_) | DesktopError::Abandoned(_) => return Err(interrupted()),
            DesktopError::NoRoom(_) => "NO_ROOM",
            DesktopError::PoolFull { .. } => "POOL_FULL",
            DesktopError::PoolClosed { .. } => "POOL_CLOSED",
            DesktopError::SlowStop { .. } => "SLOW_STOP",
            _ => "NOT_STARTED",
        };
        Ok(Verdict::Failed(FailedRecord {
            desktop: restart.desktop.clone(),
            epoch: restart.epoch,
            host: None,
            code: code.to_owned(),
            reason: error.to_string(),
            at: self.inner.parts.clock.now(),
        }))
    }

    /// Nothing, if somebody else has noted it.
    async fn note(
        &self,
        pool: &PoolName,
        restart: &RestartRecord,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.find(pool).await? else { return Ok(()) };
            let mut record = stored.record.clone();
            let is_it = |known: &RestartRecord| {
                known.desktop == restart.desktop && known.epoch == restart.epoch
            };
            let Some(place) = record.restarting.iter().position(is_it) else { return Ok(()) };
            record.restarting.remove(place);
            count(&mut record, &verdict);
            if self.rewrite(&stored, record).await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Contended { what: "a roll-out", attempts: ATTEMPTS })
    }
}

fn count(record: &mut RolloutRecord, verdict: &Verdict) {
    match verdict {
        Verdict::Restarted => record.restarted = record.restarted.saturating_add(1),
        Verdict::Ended => record.ended = record.ended.saturating_add(1),
        Verdict::Failed(failure) => record.fail(failure.clone()),
    }
}

/// The broker's own trouble, not the desktop's.
fn interrupted() -> StoreError {
    StoreError::Contended { what: "a restart", attempts: 1 }
}
