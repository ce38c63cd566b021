//! Roll-outs of the scripted broker: one of pool "demo" halts while it is watched.

use rolltop_proto::v1::{self as api, RolloutState, rollouts_server::Rollouts};
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

use super::broker::{Answer, Scripted, refusal, signed_in};

fn rollout(pool: &str, state: RolloutState) -> api::Rollout {
    let restarting =
        api::RestartingDesktop { desktop: format!("{pool}/ada"), again: true, since: None };
    api::Rollout {
        pool: pool.into(),
        id: "1".into(),
        state: state.into(),
        image: "demo:stable".into(),
        version: "demo@2".into(),
        total: 10,
        behind: 9,
        restarting: vec![restarting],
        ..api::Rollout::default()
    }
}

#[tonic::async_trait]
impl Rollouts for Scripted {
    type WatchRolloutsStream = Iter<std::vec::IntoIter<Result<api::Rollout, Status>>>;

    async fn start_rollout(
        &self,
        request: Request<api::StartRolloutRequest>,
    ) -> Answer<api::Rollout> {
        signed_in(&request)?;
        let request = request.into_inner();
        let settings = request.settings.unwrap();
        assert_eq!(settings.deadline.unwrap().seconds, 7200);
        assert_eq!(settings.batch, Some(api::rollout_settings::Batch::Percent(5)));
        Ok(Response::new(rollout(&request.pool, RolloutState::Running)))
    }

    async fn pause_rollout(
        &self,
        request: Request<api::PauseRolloutRequest>,
    ) -> Answer<api::Rollout> {
        signed_in(&request)?;
        Ok(Response::new(rollout(&request.get_ref().pool, RolloutState::Paused)))
    }

    async fn resume_rollout(
        &self,
        request: Request<api::ResumeRolloutRequest>,
    ) -> Answer<api::Rollout> {
        signed_in(&request)?;
        Ok(Response::new(rollout(&request.get_ref().pool, RolloutState::Running)))
    }

    async fn cancel_rollout(
        &self,
        request: Request<api::CancelRolloutRequest>,
    ) -> Answer<api::Rollout> {
        signed_in(&request)?;
        Err(refusal(tonic::Code::NotFound, "UNKNOWN_ROLLOUT", "pool demo has had no roll-out"))
    }

    async fn roll_back(&self, request: Request<api::RollBackRequest>) -> Answer<api::Rollout> {
        signed_in(&request)?;
        let request = request.into_inner();
        let version = format!("demo@{}", request.version);
        let back = rollout(&request.pool, RolloutState::Running);
        Ok(Response::new(api::Rollout { back: true, version, ..back }))
    }

    async fn list_rollouts(
        &self,
        request: Request<api::ListRolloutsRequest>,
    ) -> Answer<api::ListRolloutsResponse> {
        signed_in(&request)?;
        let rollouts = match request.get_ref().pool.as_str() {
            "" | "demo" => vec![rollout("demo", RolloutState::Running)],
            _ => Vec::new(),
        };
        Ok(Response::new(api::ListRolloutsResponse { rollouts }))
    }

    async fn watch_rollouts(
        &self,
        request: Request<api::WatchRolloutsRequest>,
    ) -> Answer<Self::WatchRolloutsStream> {
        signed_in(&request)?;
        let halted = api::Rollout {
            because: "a start failed".into(),
            ..rollout("demo", RolloutState::Halted)
        };
        let told = vec![Ok(rollout("demo", RolloutState::Running)), Ok(halted)];
        Ok(Response::new(tokio_stream::iter(told)))
    }
}
