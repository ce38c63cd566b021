//! What a desktop is doing now: asked of its host, for its owner and for
//! operators. Whatever the caller sends, the host is asked for this desktop.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, stats_server::Stats};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Api, RpcError, attempt::On, desktops::own_or};
use crate::{auth::Act, hosts::HostError, state::DesktopRecord};

/// A host reads files for this, and gives up on them earlier.
const ANSWER: Duration = Duration::from_secs(15);

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[async_trait]
impl Stats for Api {
    type WatchDesktopStatsStream = Answers<v1::DesktopStats>;
    type ReadDesktopLogStream = Answers<v1::DesktopLogChunk>;

    async fn get_desktop_stats(
        &self,
        request: Request<v1::DesktopStatsRequest>,
    ) -> Answer<v1::DesktopStats> {
        let record = self.looked_at(&request, &request.get_ref().desktop).await?;
        let asked = v1::DesktopStatsRequest { number: record.number, desktop: String::new() };
        let mut host = self.hosts.stats(&record.host).map_err(RpcError::from)?;
        Ok(Response::new(answer(&record, host.get_desktop_stats(asked)).await?))
    }

    async fn watch_desktop_stats(
        &self,
        request: Request<v1::WatchDesktopStatsRequest>,
    ) -> Answer<Self::WatchDesktopStatsStream> {
        let record = self.looked_at(&request, &request.get_ref().desktop).await?;
        let asked = v1::WatchDesktopStatsRequest {
            number: record.number,
            desktop: String::new(),
            ..request.into_inner()
        };
        let mut host = self.hosts.stats(&record.host).map_err(RpcError::from)?;
        let stats = answer(&record, host.watch_desktop_stats(asked)).await?;
        Ok(Response::new(self.passed_on(stats).boxed()))
    }

    async fn list_desktop_processes(
        &self,
        request: Request<v1::DesktopProcessesRequest>,
    ) -> Answer<v1::DesktopProcesses> {
        let record = self.looked_at(&request, &request.get_ref().desktop).await?;
        let asked = v1::DesktopProcessesRequest {
            number: record.number,
            desktop: String::new(),
            ..request.into_inner()
        };
        let mut host = self.hosts.stats(&record.host).map_err(RpcError::from)?;
        Ok(Response::new(answer(&record, host.list_desktop_processes(asked)).await?))
    }

    async fn read_desktop_log(
        &self,
        request: Request<v1::DesktopLogRequest>,
    ) -> Answer<Self::ReadDesktopLogStream> {
        let record = self.looked_at(&request, &request.get_ref().desktop).await?;
        let asked = v1::DesktopLogRequest {
            number: record.number,
            desktop: String::new(),
            ..request.into_inner()
        };
        let mut host = self.hosts.dial_stats(&record.host).await.map_err(RpcError::from)?;
        let chunks = answer(&record, host.read_desktop_log(asked)).await?;
        Ok(Response::new(self.passed_on(chunks).boxed()))
    }
}

impl Api {
    /// The record of a running desktop that the caller may look into.
    async fn looked_at<T>(
        &self,
        request: &Request<T>,
        desktop: &str,
    ) -> Result<DesktopRecord, Status> {
        let attempt = self.attempt(request, Act::LookInto, On::Own("desktop", desktop)).await?;
        let record = match own_or(Act::LookInto, attempt.caller(), desktop) {
            Ok(id) => self.desktops.running(&id).await.map_err(RpcError::from),
            Err(error) => Err(error),
        };
        let foreign = |record: &DesktopRecord| record.id.user != *attempt.caller().name();
        match record {
            Ok(record) if foreign(&record) => {
                attempt
                    .detail("what", std::any::type_name::<T>().rsplit("::").next().unwrap_or(""))
                    .succeeded();
                Ok(record)
            }
            Ok(record) => {
                attempt.unnoted();
                Ok(record)
            }
            Err(error) => Err(attempt.refused(error)),
        }
    }

    fn passed_on<T: Send + 'static>(
        &self,
        answers: Streaming<T>,
    ) -> impl Stream<Item = Result<T, Status>> + Send + use<T> {
        let answers =
            answers.map(|answer| answer.map_err(|status| RpcError::Relayed(status).into()));
        answers.take_until(self.shutdown.clone().cancelled_owned())
    }
}

async fn answer<T>(
    record: &DesktopRecord,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RpcError> {
    match timeout(ANSWER, call).await {
        Ok(answer) => Ok(answer.map_err(RpcError::Relayed)?.into_inner()),
        Err(_elapsed) => Err(HostError::Unreachable {
            host: record.host.clone(),
            problem: format!("it did not answer within {} s", ANSWER.as_secs()),
        }
        .into()),
    }
}
