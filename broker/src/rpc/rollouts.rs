//! Image roll-outs, for operators.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt as _, stream, stream::BoxStream};
use rolltop_proto::v1::{self, rollout_settings, rollouts_server::Rollouts};
use tokio::time::sleep;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, RpcError, attempt::On, convert::stamp};
use crate::{
    auth::{Act, Caller},
    names::{BadField, PoolName},
    rollout::Shown,
    state::{Batch, RolloutEvent, RolloutRecord, RolloutSettings, RolloutState},
};

/// Longest time to a deadline.
const MONTH: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Most desktops at a time.
const MOST_AT_ONCE: u32 = 100;
/// Most starts that may fail.
const MOST_FAILURES: u32 = 100;
/// Failures that are told.
const TOLD_FAILURES: usize = 20;
/// How often a watcher hears of roll-outs, at most.
const PACE: Duration = Duration::from_secs(1);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Rollouts for Api {
    type WatchRolloutsStream = BoxStream<'static, Result<v1::Rollout, Status>>;

    async fn start_rollout(
        &self,
        request: Request<v1::StartRolloutRequest>,
    ) -> Answer<v1::Rollout> {
        let on = On::Named("pool", &request.get_ref().pool);
        let attempt = self.attempt(&request, Act::StartRollout, on).await?;
        let done = self.start_rollout_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::PauseRolloutRequest>,
    ) -> Answer<v1::Rollout> {
        let pool = &request.get_ref().pool;
        let attempt = self.attempt(&request, Act::PauseRollout, On::Named("pool", pool)).await?;
        let done = self.rollout_event_call(pool, RolloutEvent::Pause).await;
        attempt.answer(done)
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Answer<v1::Rollout> {
        let pool = &request.get_ref().pool;
        let attempt = self.attempt(&request, Act::ResumeRollout, On::Named("pool", pool)).await?;
        let done = self.rollout_event_call(pool, RolloutEvent::Resume).await;
        attempt.answer(done)
    }

    async fn cancel_rollout(
        &self,
        request: Request<v1::CancelRolloutRequest>,
    ) -> Answer<v1::Rollout> {
        let pool = &request.get_ref().pool;
        let attempt = self.attempt(&request, Act::CancelRollout, On::Named("pool", pool)).await?;
        let done = self.rollout_event_call(pool, RolloutEvent::Cancel).await;
        attempt.answer(done)
    }

    async fn roll_back(&self, request: Request<v1::RollBackRequest>) -> Answer<v1::Rollout> {
        let on = On::Named("pool", &request.get_ref().pool);
        let mut attempt = self.attempt(&request, Act::RollBackImage, on).await?;
        let done = self.roll_back_call(attempt.caller(), request.into_inner()).await;
        if let Ok(rollout) = &done {
            attempt = attempt.detail("image", &rollout.image);
        }
        attempt.answer(done)
    }

    async fn list_rollouts(
        &self,
        request: Request<v1::ListRolloutsRequest>,
    ) -> Answer<v1::ListRolloutsResponse> {
        self.may_all(&request, Act::ReadPools, true).await?;
        let only = only(&request.get_ref().pool).map_err(RpcError::from)?;
        let rollouts = self.rollouts_now(only.as_ref()).await?;
        Ok(Response::new(v1::ListRolloutsResponse { rollouts }))
    }

    async fn watch_rollouts(
        &self,
        request: Request<v1::WatchRolloutsRequest>,
    ) -> Answer<Self::WatchRolloutsStream> {
        let caller = self.may_all(&request, Act::ReadPools, true).await?;
        let only = only(&request.get_ref().pool).map_err(RpcError::from)?;
        let told = self.watch_rollouts_call(only);
        Ok(Response::new(self.while_signed_in(caller, told)))
    }
}

impl Api {
    async fn start_rollout_call(
        &self,
        caller: &Caller,
        request: v1::StartRolloutRequest,
    ) -> Result<v1::Rollout, RpcError> {
        let pool = PoolName::parse("pool", &request.pool)?;
        let settings = settings(&request.settings.unwrap_or_default())?;
        let record = self.rollouts.start(&pool, settings, caller.name()).await?;
        self.rollout_now(record).await
    }

    async fn roll_back_call(
        &self,
        caller: &Caller,
        request: v1::RollBackRequest,
    ) -> Result<v1::Rollout, RpcError> {
        let pool = PoolName::parse("pool", &request.pool)?;
        let settings = request.settings.as_ref().map(settings).transpose()?;
        let version = Some(request.version.as_str()).filter(|version| !version.is_empty());
        let record = self.rollouts.roll_back(&pool, version, settings, caller.name()).await?;
        self.rollout_now(record).await
    }

    async fn rollout_event_call(
        &self,
        pool: &str,
        event: RolloutEvent,
    ) -> Result<v1::Rollout, RpcError> {
        let record = self.rollouts.happen(&PoolName::parse("pool", pool)?, event).await?;
        self.rollout_now(record).await
    }

    async fn rollout_now(&self, record: RolloutRecord) -> Result<v1::Rollout, RpcError> {
        Ok(convert(self.rollouts.show(record).await?))
    }

    async fn rollouts_now(&self, only: Option<&PoolName>) -> Result<Vec<v1::Rollout>, RpcError> {
        let shown = self.rollouts.list(only).await?;
        Ok(shown.into_iter().map(convert).collect())
    }

    /// Looks once a second for as long as somebody watches: what is behind changes
    /// with desktops, viewers, hosts and tags.
    fn watch_rollouts_call(
        &self,
        only: Option<PoolName>,
    ) -> impl Stream<Item = Result<v1::Rollout, Status>> + Send + use<> {
        let told: BTreeMap<String, v1::Rollout> = BTreeMap::new();
        let next: Option<std::vec::IntoIter<v1::Rollout>> = None;
        let state = (self.clone(), only, told, next);
        stream::try_unfold(state, |(api, only, mut told, mut next)| async move {
            loop {
                while let Some(rollout) = next.as_mut().and_then(Iterator::next) {
                    if told.get(&rollout.pool) != Some(&rollout) {
                        told.insert(rollout.pool.clone(), rollout.clone());
                        return Ok::<_, Status>(Some((rollout, (api, only, told, next))));
                    }
                }
                if next.is_some() {
                    sleep(PACE).await;
                }
                next = Some(api.rollouts_now(only.as_ref()).await?.into_iter());
            }
        })
        .boxed()
    }
}

fn only(pool: &str) -> Result<Option<PoolName>, BadField> {
    (!pool.is_empty()).then(|| PoolName::parse("pool", pool)).transpose()
}

fn settings(given: &v1::RolloutSettings) -> Result<RolloutSettings, BadField> {
    let default = RolloutSettings::default();
    let deadline_ms = span("settings.deadline", given.deadline)?;
    let warning_ms = match span("settings.warning", given.warning)? {
        Some(warning) if deadline_ms.is_some_and(|deadline| warning > deadline) => {
            let given = format!("{} s", warning / 1000);
            return Err(BadField::new("settings.warning", &given, "not longer than the deadline"));
        }
        Some(warning) => warning,
        None => deadline_ms.map_or(default.warning_ms, |ms| ms.min(default.warning_ms)),
    };
    let count = |field, count: u32, most| match count {
        1.. if count <= most => Ok(count),
        _ => Err(BadField::new(field, &count.to_string(), format!("1 to {most}"))),
    };
    use rollout_settings::Batch as Given;
    let batch = match given.batch {
        None => default.batch,
        Some(Given::Desktops(desktops)) => {
            Batch::Desktops(count("settings.desktops", desktops, MOST_AT_ONCE)?)
        }
        Some(Given::Percent(percent)) => Batch::Percent(count("settings.percent", percent, 100)?),
    };
    let max_failures = match given.max_failures {
        0 => default.max_failures,
        most => count("settings.max_failures", most, MOST_FAILURES)?,
    };
    Ok(RolloutSettings { deadline_ms, batch, max_failures, warning_ms })
}

/// Milliseconds.
fn span(
    field: &'static str,
    given: Option<prost_types::Duration>,
) -> Result<Option<u64>, BadField> {
    let Some(given) = given else { return Ok(None) };
    let bad = || BadField::new(field, &format!("{} s", given.seconds), "0 s to 31 days");
    let span = Duration::try_from(given).ok().filter(|span| *span <= MONTH).ok_or_else(bad)?;
    Ok(Some(u64::try_from(span.as_millis()).map_err(|_| bad())?))
}

fn convert(shown: Shown) -> v1::Rollout {
    let Shown { record, behind, connected, unreachable, unplaceable, because } = shown;
    let deadline = record.deadline().and_then(stamp);
    let reference = |image: &Option<_>| image.as_ref().map(ToString::to_string).unwrap_or_default();
    let skip = record.failures.len().saturating_sub(TOLD_FAILURES);
    let failures = record.failures.iter().skip(skip).map(|failure| v1::FailedRestart {
        desktop: failure.desktop.to_string(),
        host: failure.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        code: failure.code.clone(),
        reason: failure.reason.clone(),
        at: stamp(failure.at),
    });
    let restarting = record.restarting.iter().map(|restart| v1::RestartingDesktop {
        desktop: restart.desktop.to_string(),
        since: stamp(restart.since),
        again: restart.again.is_some(),
    });
    v1::Rollout {
        pool: record.pool.to_string(),
        id: record.id.clone(),
        state: state(record.state).into(),
        back: record.replaced.is_some(),
        image: record.image.to_string(),
        version: reference(&record.version),
        before: reference(&record.before),
        replaced: reference(&record.replaced),
        by: record.by.to_string(),
        started_at: stamp(record.started_at),
        ended_at: record.ended_at.and_then(stamp),
        settings: Some(told_settings(record.settings)),
        deadline,
        batch: record.batch,
        total: record.total,
        restarted: record.restarted,
        ended: record.ended,
        failed: record.failed,
        behind,
        connected,
        unreachable,
        unplaceable,
        because,
        restarting: restarting.collect(),
        failures: failures.collect(),
    }
}

fn told_settings(settings: RolloutSettings) -> v1::RolloutSettings {
    let span = |ms: u64| prost_types::Duration::try_from(Duration::from_millis(ms)).ok();
    v1::RolloutSettings {
        deadline: settings.deadline_ms.and_then(span),
        batch: Some(match settings.batch {
            Batch::Desktops(desktops) => rollout_settings::Batch::Desktops(desktops),
            Batch::Percent(percent) => rollout_settings::Batch::Percent(percent),
        }),
        max_failures: settings.max_failures,
        warning: span(settings.warning_ms),
    }
}

fn state(state: RolloutState) -> v1::RolloutState {
    match state {
        RolloutState::Running => v1::RolloutState::Running,
        RolloutState::Paused => v1::RolloutState::Paused,
        RolloutState::Halted => v1::RolloutState::Halted,
        RolloutState::Done => v1::RolloutState::Done,
        RolloutState::Cancelled => v1::RolloutState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn settings_are_checked_and_what_is_left_out_is_as_documented() {
        let read = settings(&v1::RolloutSettings::default()).unwrap();
        assert_eq!(read, RolloutSettings::default());
        assert_eq!(settings(&told_settings(read)).unwrap(), read);
        let short = v1::RolloutSettings { deadline: seconds(60), ..Default::default() };
        assert_eq!(settings(&short).unwrap().warning_ms, 60_000);
        let bad = |change: fn(&mut v1::RolloutSettings)| {
            let mut given = v1::RolloutSettings::default();
            change(&mut given);
            settings(&given).unwrap_err().field
        };
        assert_eq!(bad(|given| given.deadline = seconds(-1)), "settings.deadline");
        assert_eq!(bad(|given| given.deadline = seconds(32 * 86_400)), "settings.deadline");
        assert_eq!(bad(|given| given.max_failures = 101), "settings.max_failures");
        use rollout_settings::Batch as Given;
        assert_eq!(bad(|given| given.batch = Some(Given::Desktops(0))), "settings.desktops");
        assert_eq!(bad(|given| given.batch = Some(Given::Desktops(101))), "settings.desktops");
        assert_eq!(bad(|given| given.batch = Some(Given::Percent(101))), "settings.percent");
        let late = v1::RolloutSettings { warning: seconds(61), ..short };
        assert_eq!(settings(&late).unwrap_err().field, "settings.warning");
    }
}
