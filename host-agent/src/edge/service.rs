//! The gRPC service, call by call.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use rolltop_proto::v1::{self, host_agent_server::HostAgent};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream, errors::BroadcastStreamRecvError};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    convert::{self, Measured},
    error::{self, internal, invalid_field},
};
use crate::{
    address::Number,
    desktop::{Desktop, StopOrder, begin},
    host::Host,
    registry::Admission,
    request::StartRequest,
    view::View,
    work::blocking,
};

/// Longest grace a caller may ask for.
const MAX_GRACE: Duration = Duration::from_secs(600);
/// Progress messages that wait for a slow reader.
const PROGRESS_QUEUE: usize = 32;

/// The service; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) host: Arc<Host>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl HostAgent for Service {
    type StartDesktopStream = Answers<v1::StartHostDesktopResponse>;
    type WatchDesktopsStream = Answers<v1::HostDesktopEvent>;
    type ExecStream = Answers<v1::ExecResponse>;
    type ConnectDisplayStream = Answers<v1::DisplayChunk>;

    async fn get_host(
        &self,
        _request: Request<v1::GetHostRequest>,
    ) -> Result<Response<v1::HostInfo>, Status> {
        let host = Arc::clone(&self.host);
        let info = blocking(move || crate::facts::host_info(&host)).await;
        info.map(Response::new).map_err(|error| internal(&error))
    }

    async fn list_images(
        &self,
        _request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let host = Arc::clone(&self.host);
        let listing =
            blocking(move || host.storage.list()).await.map_err(|error| error::storage(&error))?;
        for (path, error) in &listing.broken {
            tracing::warn!(path = %path.display(), error, "an image version cannot be used");
        }
        let images =
            listing.versions.iter().filter(|l| l.retired.is_none()).map(convert::image).collect();
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    async fn start_desktop(
        &self,
        request: Request<v1::StartHostDesktopRequest>,
    ) -> Result<Response<Self::StartDesktopStream>, Status> {
        let request =
            StartRequest::parse(request.into_inner()).map_err(|faults| error::invalid(&faults))?;
        let (plan, view) = self.host.plan(request).await?;
        let desktop = match self.host.registry.admit(view)? {
            Admission::Joined(desktop) => desktop,
            Admission::New(desktop) => {
                begin(&self.host, Arc::clone(&desktop), plan);
                desktop
            }
        };
        Ok(Response::new(self.follow(desktop)))
    }

    async fn stop_desktop(
        &self,
        request: Request<v1::StopHostDesktopRequest>,
    ) -> Result<Response<v1::StopHostDesktopResponse>, Status> {
        let request = request.into_inner();
        let grace = request.grace.map(grace).transpose()?;
        let desktop = self.host.registry.get_fenced(number(request.number)?, request.epoch)?;
        desktop.stop(StopOrder { grace });
        let view = desktop.ended().await;
        let desktop = Some(convert::desktop(&view, Measured::default()));
        Ok(Response::new(v1::StopHostDesktopResponse { desktop }))
    }

    async fn get_desktop(
        &self,
        request: Request<v1::GetHostDesktopRequest>,
    ) -> Result<Response<v1::HostDesktop>, Status> {
        let desktop = self.host.registry.get(number(request.into_inner().number)?)?;
        Ok(Response::new(self.measure(desktop.view()).await))
    }

    async fn list_desktops(
        &self,
        _request: Request<v1::ListHostDesktopsRequest>,
    ) -> Result<Response<v1::ListHostDesktopsResponse>, Status> {
        let views =
            self.host.registry.all().into_iter().map(|desktop| self.measure(desktop.view()));
        let desktops = stream::iter(views).buffered(8).collect().await;
        Ok(Response::new(v1::ListHostDesktopsResponse { desktops }))
    }

    async fn watch_desktops(
        &self,
        _request: Request<v1::WatchHostDesktopsRequest>,
    ) -> Result<Response<Self::WatchDesktopsStream>, Status> {
        let (now, events) = self.host.registry.watch();
        let service = self.clone();
        let tell = move |view: Result<Arc<View>, Status>| {
            let service = service.clone();
            async move { Ok(desktop_event(service.measure(view?.as_ref().clone()).await)) }
        };
        let synced =
            v1::HostDesktopEvent { event: Some(v1::host_desktop_event::Event::Synced(true)) };
        let answers = stream::iter(now.into_iter().map(Ok))
            .then(tell.clone())
            .chain(stream::once(async { Ok(synced) }))
            .chain(changes(events).then(tell));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn exec(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        super::exec::exec(&self.host, request.into_inner()).await
    }

    async fn connect_display(
        &self,
        request: Request<Streaming<v1::DisplayChunk>>,
    ) -> Result<Response<Self::ConnectDisplayStream>, Status> {
        super::relay::connect(&self.host, request.into_inner()).await
    }
}

impl Service {
    /// Progress as it comes, and the desktop when it is up or has ended.
    fn follow(&self, desktop: Arc<Desktop>) -> Answers<v1::StartHostDesktopResponse> {
        use v1::start_host_desktop_response::Message;
        let (answers, stream) = mpsc::channel(PROGRESS_QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let mut views = desktop.subscribe();
            let mut told = 0;
            loop {
                let view = views.borrow_and_update().clone();
                for mark in view.marks.iter().skip(told) {
                    let message = Some(Message::Progress(convert::progress(mark)));
                    if answers.send(Ok(v1::StartHostDesktopResponse { message })).await.is_err() {
                        return;
                    }
                }
                told = view.marks.len();
                let state = view.state();
                if state.is_final() || state == crate::lifecycle::State::Running {
                    let message = Some(Message::Desktop(service.measure(view).await));
                    // A caller that has gone away needs no answer.
                    let _gone = answers.send(Ok(v1::StartHostDesktopResponse { message })).await;
                    return;
                }
                if views.changed().await.is_err() {
                    return;
                }
            }
        });
        Box::pin(ReceiverStream::new(stream))
    }

    async fn measure(&self, view: View) -> v1::HostDesktop {
        if view.state().is_final() {
            return convert::desktop(&view, Measured::default());
        }
        let host = Arc::clone(&self.host);
        blocking(move || {
            let group = host.cgroup(view.record.number);
            let measured = Measured {
                // Gone in the meantime: then there is nothing to tell.
                usage: group.and_then(|group| group.usage()).ok(),
                overlay: host.overlays.usage(&view.overlay).ok(),
            };
            convert::desktop(&view, measured)
        })
        .await
    }
}

pub(super) fn number(given: u32) -> Result<Number, Status> {
    Number::new(given)
        .ok_or_else(|| invalid_field("number", "0 is no desktop's number: use 1 and up"))
}

fn grace(given: prost_types::Duration) -> Result<Duration, Status> {
    Duration::try_from(given)
        .ok()
        .filter(|grace| *grace <= MAX_GRACE)
        .ok_or_else(|| invalid_field("grace", format!("use 0 to {} seconds", MAX_GRACE.as_secs())))
}

fn desktop_event(desktop: v1::HostDesktop) -> v1::HostDesktopEvent {
    v1::HostDesktopEvent { event: Some(v1::host_desktop_event::Event::Desktop(desktop)) }
}

/// Changes as they come. A watcher that falls too far behind is told to begin
/// anew: a change it missed would otherwise be missed for good.
fn changes(
    events: broadcast::Receiver<Arc<View>>,
) -> impl Stream<Item = Result<Arc<View>, Status>> + Send {
    BroadcastStream::new(events).map(|received| match received {
        Ok(view) => Ok(view),
        Err(BroadcastStreamRecvError::Lagged(missed)) => Err(error::status(
            Code::Aborted,
            "WATCH_LAGGED",
            format!("{missed} changes were missed; watch again to get the present state"),
        )),
    })
}
