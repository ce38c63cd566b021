//! What a host tells of its desktops: enough to see who was asked
//! for what.

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use rolltop_proto::v1::{self, host_stats_server::HostStats};
use tonic::{Request, Response, Status, async_trait};

/// Answers with the number it was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Numbers;

/// The number as memory, in MiB.
fn stats(number: u32) -> v1::DesktopStats {
    v1::DesktopStats { memory_bytes: Some(i64::from(number) << 20), ..Default::default() }
}

#[async_trait]
impl HostStats for Numbers {
    type WatchDesktopStatsStream = BoxStream<'static, Result<v1::DesktopStats, Status>>;
    type ReadDesktopLogStream = BoxStream<'static, Result<v1::DesktopLogChunk, Status>>;

    async fn get_desktop_stats(
        &self,
        request: Request<v1::DesktopStatsRequest>,
    ) -> Result<Response<v1::DesktopStats>, Status> {
        let request = request.into_inner();
        if !request.desktop.is_empty() {
            return Err(Status::invalid_argument("desktop: the host knows numbers only"));
        }
        Ok(Response::new(stats(request.number)))
    }

    async fn watch_desktop_stats(
        &self,
        request: Request<v1::WatchDesktopStatsRequest>,
    ) -> Result<Response<Self::WatchDesktopStatsStream>, Status> {
        let request = request.into_inner();
        if request.interval.is_none_or(|every| every.seconds < 1) {
            return Err(Status::invalid_argument("too often"));
        }
        let three = (0..3).map(move |_| Ok(stats(request.number)));
        Ok(Response::new(stream::iter(three).boxed()))
    }

    async fn list_desktop_processes(
        &self,
        request: Request<v1::DesktopProcessesRequest>,
    ) -> Result<Response<v1::DesktopProcesses>, Status> {
        let request = request.into_inner();
        let process = v1::DesktopProcess {
            pid: i32::try_from(request.number).unwrap_or(i32::MAX),
            uid: request.max,
            ..Default::default()
        };
        Ok(Response::new(v1::DesktopProcesses { processes: vec![process], ..Default::default() }))
    }

    async fn read_desktop_log(
        &self,
        request: Request<v1::DesktopLogRequest>,
    ) -> Result<Response<Self::ReadDesktopLogStream>, Status> {
        let request = request.into_inner();
        let data = format!("{} {} {}", request.number, request.lines, request.follow).into_bytes();
        Ok(Response::new(stream::iter([Ok(v1::DesktopLogChunk { data })]).boxed()))
    }
}
