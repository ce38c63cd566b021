//! The gRPC service, call by call.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use rolltop_proto::v1::{self, host_agent_server::HostAgent, host_desktop_event::Event};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    convert::{self, Measured},
    error::{self, internal, invalid_field},
};
use crate::{
    address::Number,
    desktop::{Desktop, Order, StopOrder, begin},
    events::{Change, Missed, Position, Reader},
    host::Host,
    lifecycle::State,
    registry::Admission,
    request::{Assignment, StartRequest},
    view::View,
    work::blocking,
};

/// Longest grace a caller may ask for.
const MAX_GRACE: Duration = Duration::from_secs(600);
/// For what desktops use to be measured. A disk whose server is silent holds up
/// nobody who asks what there is: brokers would take the host for lost.
const MEASURE: Duration = Duration::from_millis(500);
/// Threads that may wait for such a disk.
static MEASURING: Semaphore = Semaphore::const_new(16);
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
    type AssignDesktopStream = Answers<v1::StartHostDesktopResponse>;
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

    async fn assign_desktop(
        &self,
        request: Request<v1::AssignHostDesktopRequest>,
    ) -> Result<Response<Self::StartDesktopStream>, Status> {
        let assignment =
            Assignment::parse(request.into_inner()).map_err(|faults| error::invalid(&faults))?;
        Ok(Response::new(self.follow(self.host.registry.assign(assignment)?)))
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

    async fn freeze_desktop(
        &self,
        request: Request<v1::FreezeHostDesktopRequest>,
    ) -> Result<Response<v1::HostDesktop>, Status> {
        let request = request.into_inner();
        self.order(request.number, request.epoch, Order::Freeze).await
    }

    async fn thaw_desktop(
        &self,
        request: Request<v1::ThawHostDesktopRequest>,
    ) -> Result<Response<v1::HostDesktop>, Status> {
        let request = request.into_inner();
        self.order(request.number, request.epoch, Order::Thaw).await
    }

    async fn set_desktop_limits(
        &self,
        request: Request<v1::SetHostDesktopLimitsRequest>,
    ) -> Result<Response<v1::HostDesktop>, Status> {
        let request = request.into_inner();
        let order = super::orders::limits(request.limits)?;
        self.order(request.number, request.epoch, order).await
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
        let until = Instant::now() + MEASURE;
        let desktops = self.host.registry.all().into_iter();
        let views = desktops.map(|desktop| self.measure_until(desktop.view(), until));
        let desktops = stream::iter(views).buffered(8).collect().await;
        Ok(Response::new(v1::ListHostDesktopsResponse { desktops }))
    }

    async fn watch_desktops(
        &self,
        request: Request<v1::WatchHostDesktopsRequest>,
    ) -> Result<Response<Self::WatchDesktopsStream>, Status> {
        let after = request.into_inner().after;
        let resumed = after.parse().and_then(|place| self.host.registry.watch_after(place));
        let (first, changes) = match resumed {
            Ok(changes) => (vec![event(Event::Resumed(true), Some(changes.position()))], changes),
            Err(Missed) => self.snapshot().await,
        };
        let service = self.clone();
        let answers = stream::iter(first.into_iter().map(Ok)).chain(stream::unfold(
            Some((changes, false)),
            move |state| {
                let service = service.clone();
                async move { service.next_event(state?).await }
            },
        ));
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
            let epoch = views.borrow().record.epoch;
            let mut told = 0;
            loop {
                let view = views.borrow_and_update().clone();
                // Warm, and given to somebody meanwhile: that is another's story.
                let over = view.record.epoch != epoch;
                for mark in view.marks.iter().skip(told) {
                    let message = Some(Message::Progress(convert::progress(mark)));
                    if answers.send(Ok(v1::StartHostDesktopResponse { message })).await.is_err() {
                        return;
                    }
                }
                told = view.marks.len();
                let state = view.state();
                if over || state.is_final() || matches!(state, State::Warm | State::Running) {
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

    /// Everything there is.
    async fn snapshot(&self) -> (Vec<v1::HostDesktopEvent>, Reader) {
        let (now, changes) = self.host.registry.watch();
        let until = Instant::now() + MEASURE;
        let measured = now.into_iter().map(|view| self.measure_until(view, until));
        // Who breaks off before the end of it has no place to go on from.
        let desktops = stream::iter(measured).buffered(8);
        (desktops.map(|desktop| event(Event::Desktop(desktop), None)).collect().await, changes)
    }

    /// The next thing to tell a watcher: a change, or once, when it has heard
    /// all there was, that this is so. A watcher that falls too far behind is
    /// told to begin anew.
    async fn next_event(
        &self,
        (mut changes, synced): (Reader, bool),
    ) -> Option<(Result<v1::HostDesktopEvent, Status>, Option<(Reader, bool)>)> {
        let change = if synced { changes.next().await.map(Some) } else { changes.next_known() };
        let told = match change {
            Ok(Some(Change { position, view })) => {
                event(Event::Desktop(self.measure(view.as_ref().clone()).await), Some(position))
            }
            Ok(None) => {
                let told = event(Event::Synced(true), Some(changes.position()));
                return Some((Ok(told), Some((changes, true))));
            }
            Err(missed) => {
                let status = error::status(Code::Aborted, "WATCH_LAGGED", missed.to_string());
                return Some((Err(status), None));
            }
        };
        Some((Ok(told), Some((changes, synced))))
    }

    pub(super) async fn measure(&self, view: View) -> v1::HostDesktop {
        self.measure_until(view, Instant::now() + MEASURE).await
    }

    /// With what it uses, if that is known by then; of what is on its way up or
    /// down there is nothing to tell.
    async fn measure_until(&self, view: View, until: Instant) -> v1::HostDesktop {
        if !matches!(view.state(), State::Warm | State::Running | State::Frozen) {
            return convert::desktop(&view, Measured::default());
        }
        let (host, number, overlay) =
            (Arc::clone(&self.host), view.record.number, view.overlay.clone());
        let measure = async {
            let overlays = host.keep.of(&overlay).await.ok();
            // Never closed.
            let thread = MEASURING.acquire().await.ok();
            blocking(move || {
                let open = host.paths.desktop(number).mounts();
                let measured = Measured {
                    // Gone in the meantime: then there is nothing to tell.
                    usage: host.cgroup(number).and_then(|group| group.usage()).ok(),
                    overlay: overlays.and_then(|overlays| overlays.usage_in(&overlay, &open).ok()),
                };
                drop(thread);
                measured
            })
            .await
        };
        convert::desktop(&view, timeout_at(until, measure).await.unwrap_or_default())
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

fn event(event: Event, position: Option<Position>) -> v1::HostDesktopEvent {
    let position = position.map(|position| position.to_string()).unwrap_or_default();
    v1::HostDesktopEvent { event: Some(event), position }
}
