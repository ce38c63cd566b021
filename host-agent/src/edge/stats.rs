//! Calls about what a desktop is doing now.

use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use rolltop_proto::v1::{self, host_stats_server::HostStats};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use super::{
    error::{chain, internal, invalid_field, status},
    service::{Service, number},
    stats_convert as convert,
};
use crate::{
    desktop::Desktop, lifecycle::State, session_log::SessionLog, stats, view::View, work::blocking,
};

const LEAST_INTERVAL: Duration = Duration::from_secs(1);
const MOST_INTERVAL: Duration = Duration::from_secs(3_600);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// Answers on the way to a slow reader; behind them nothing is measured.
const QUEUE: usize = 2;
const MOST_PROCESSES: u32 = 10_000;
const DEFAULT_PROCESSES: u32 = 1_000;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HostStats for Service {
    type WatchDesktopStatsStream = Answers<v1::DesktopStats>;
    type ReadDesktopLogStream = Answers<v1::DesktopLogChunk>;

    async fn get_desktop_stats(
        &self,
        request: Request<v1::DesktopStatsRequest>,
    ) -> Result<Response<v1::DesktopStats>, Status> {
        let desktop = self.host.registry.get(number(request.into_inner().number)?)?;
        Ok(Response::new(self.stats(&desktop.view()).await?))
    }

    async fn watch_desktop_stats(
        &self,
        request: Request<v1::WatchDesktopStatsRequest>,
    ) -> Result<Response<Self::WatchDesktopStatsStream>, Status> {
        let request = request.into_inner();
        let every = request.interval.map(every).transpose()?.unwrap_or(DEFAULT_INTERVAL);
        let desktop = self.host.registry.get(number(request.number)?)?;
        // What cannot be read at all is told as an error, not as an empty stream.
        let first = self.stats(&desktop.view()).await?;
        let (sender, answers) = mpsc::channel(QUEUE);
        let (service, span) = (self.clone(), desktop.span());
        let work = async move {
            if sender.send(Ok(first)).await.is_ok() {
                let until = ended(desktop.subscribe());
                tokio::select! {
                    () = until => {}
                    () = sender.closed() => {}
                    () = service.tell_stats(&desktop, every, &sender) => {}
                }
            }
        };
        tokio::spawn(work.instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn list_desktop_processes(
        &self,
        request: Request<v1::DesktopProcessesRequest>,
    ) -> Result<Response<v1::DesktopProcesses>, Status> {
        let request = request.into_inner();
        let most = match request.max {
            0 => DEFAULT_PROCESSES,
            most @ 1..=MOST_PROCESSES => most,
            _ => return Err(invalid_field("max", format!("use 1 to {MOST_PROCESSES}, or 0"))),
        };
        let desktop = self.host.registry.get(number(request.number)?)?;
        let record = desktop.view().record;
        let init = record.init.ok_or_else(|| not_up(&desktop.view()))?;
        let group = self.host.cgroup(record.number).map_err(|error| internal(&error))?;
        match stats::list(group, init, most as usize).await {
            Ok(processes) => Ok(Response::new(convert::processes(processes))),
            Err(error) => Err(gone_or_internal(&desktop, &error)),
        }
    }

    async fn read_desktop_log(
        &self,
        request: Request<v1::DesktopLogRequest>,
    ) -> Result<Response<Self::ReadDesktopLogStream>, Status> {
        let request = request.into_inner();
        let desktop = self.host.registry.get(number(request.number)?)?;
        let path = self.host.paths.desktop(desktop.view().record.number).session_log();
        let lines = (request.lines > 0).then_some(request.lines as usize);
        let log = blocking(move || SessionLog::open(&path, lines)).await.map_err(|error| {
            status(
                Code::FailedPrecondition,
                "NO_SESSION",
                format!("{}: the session has not begun, or has ended", chain(&error)),
            )
        })?;
        let (sender, answers) = mpsc::channel(QUEUE);
        let work = tell_log(log, request.follow, desktop.subscribe(), sender);
        tokio::spawn(work.instrument(desktop.span()));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl Service {
    async fn stats(&self, view: &View) -> Result<v1::DesktopStats, Status> {
        if view.state().is_final() || view.record.init.is_none() {
            return Err(not_up(view));
        }
        let stats = stats::measure(&self.host, view).await.map_err(|error| internal(&error))?;
        Ok(convert::stats(&stats, view.record.limits))
    }

    async fn tell_stats(
        &self,
        desktop: &Desktop,
        every: Duration,
        sender: &mpsc::Sender<Result<v1::DesktopStats, Status>>,
    ) {
        let mut ticks = interval(every);
        // After a slow reader: not all that was missed at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let stats = self.stats(&desktop.view()).await;
            let over = stats.is_err();
            if sender.send(stats).await.is_err() || over {
                return;
            }
        }
    }
}

async fn tell_log(
    mut log: SessionLog,
    follow: bool,
    views: watch::Receiver<View>,
    sender: mpsc::Sender<Result<v1::DesktopLogChunk, Status>>,
) {
    let mut until = Box::pin(ended(views));
    let mut over = !follow;
    loop {
        match log.next_known() {
            Ok(data) if data.is_empty() && over => return,
            Ok(data) if data.is_empty() => tokio::select! {
                // Then once more: what it wrote last.
                () = &mut until => over = true,
                () = sender.closed() => return,
                changed = log.changed() => if let Err(error) = changed {
                    // Whoever reads has gone, if this cannot be sent.
                    let _gone = sender.send(Err(internal(&error))).await;
                    return;
                }
            },
            Ok(data) => {
                if sender.send(Ok(v1::DesktopLogChunk { data })).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // As above.
                let _gone = sender.send(Err(internal(&error))).await;
                return;
            }
        }
    }
}

/// Waits until the desktop is being taken down, or is no more.
async fn ended(mut views: watch::Receiver<View>) {
    let over = |view: &View| view.state() == State::Stopping || view.state().is_final();
    // An error: it is gone altogether.
    drop(views.wait_for(over).await);
}

fn every(given: prost_types::Duration) -> Result<Duration, Status> {
    let fits = |every: &Duration| (LEAST_INTERVAL..=MOST_INTERVAL).contains(every);
    Duration::try_from(given).ok().filter(fits).ok_or_else(|| {
        let (least, most) = (LEAST_INTERVAL.as_secs(), MOST_INTERVAL.as_secs());
        invalid_field("interval", format!("use {least} to {most} seconds"))
    })
}

fn not_up(view: &View) -> Status {
    let text = format!("desktop {} is {}: it has no processes", view.record.number, view.state());
    status(Code::FailedPrecondition, "NOT_RUNNING", text)
}

/// What fails because the desktop has just ended is no fault of this host.
fn gone_or_internal(desktop: &Desktop, error: &stats::ProcessesError) -> Status {
    let view = desktop.view();
    match view.state() {
        State::Warm | State::Running | State::Frozen => internal(error),
        _ => not_up(&view),
    }
}
