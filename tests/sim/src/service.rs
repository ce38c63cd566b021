//! The host agent's calls.

use std::sync::{Arc, atomic::Ordering};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use rolltop_proto::v1::{
    self, DesktopState, HostDesktop, HostDesktopEvent, exec_request, exec_response,
    host_agent_server::HostAgent, host_desktop_event::Event, start_host_desktop_response::Message,
};
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use crate::{
    displays,
    host::Host,
    lock,
    start::{follow, last_word},
    table::refuse,
};

type Boxed<T> = BoxStream<'static, Result<T, Status>>;

/// The API of one host.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Host>);

#[async_trait]
impl HostAgent for Service {
    type StartDesktopStream = Boxed<v1::StartHostDesktopResponse>;
    type AssignDesktopStream = Boxed<v1::StartHostDesktopResponse>;
    type WatchDesktopsStream = Boxed<HostDesktopEvent>;
    type ExecStream = Boxed<v1::ExecResponse>;
    type ConnectDisplayStream = Boxed<v1::DisplayChunk>;

    async fn get_host(
        &self,
        _: Request<v1::GetHostRequest>,
    ) -> Result<Response<v1::HostInfo>, Status> {
        let desktops = self.0.table().len() as i64;
        let (storage_id, storage_shared) = lock(&self.0.storage.on).clone();
        let facts = lock(&self.0.facts).clone();
        Ok(Response::new(v1::HostInfo { desktops, storage_id, storage_shared, ..facts }))
    }

    async fn list_images(
        &self,
        _: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        Ok(Response::new(v1::ListImagesResponse { images: lock(&self.0.images).clone() }))
    }

    async fn start_desktop(
        &self,
        request: Request<v1::StartHostDesktopRequest>,
    ) -> Result<Response<Self::StartDesktopStream>, Status> {
        let request = request.into_inner();
        self.0.note_request(&request);
        let host = Arc::clone(&self.0);
        // The answer begins at once, as a real agent's does.
        let answer = stream::once(async move {
            let late = host.lateness();
            match host.start(request).await {
                Ok(life) => match late {
                    Some(gate) => {
                        let told: Vec<_> = follow(&life).collect().await;
                        drop(gate.acquire().await);
                        stream::iter(told).boxed()
                    }
                    None => follow(&life).boxed(),
                },
                Err(status) => stream::iter([Err(status)]).boxed(),
            }
        });
        Ok(Response::new(answer.flatten().boxed()))
    }

    async fn assign_desktop(
        &self,
        request: Request<v1::AssignHostDesktopRequest>,
    ) -> Result<Response<Self::AssignDesktopStream>, Status> {
        let request = request.into_inner();
        lock(&self.0.assignments).push(request.clone());
        let to = HostDesktop {
            number: request.number,
            epoch: request.epoch,
            label: request.label,
            account: request.account,
            home: request.home,
            ..Default::default()
        };
        let given = self.0.table().assign(&request.request_id, request.warm_epoch, &to)?;
        let message = Some(Message::Desktop(given));
        Ok(Response::new(stream::iter([Ok(v1::StartHostDesktopResponse { message })]).boxed()))
    }

    async fn stop_desktop(
        &self,
        request: Request<v1::StopHostDesktopRequest>,
    ) -> Result<Response<v1::StopHostDesktopResponse>, Status> {
        let (number, asked) = (request.get_ref().number, request.get_ref().epoch);
        let told = {
            let mut table = self.0.table();
            let there = table.fenced(number, asked)?;
            let life = table.life(number).ok_or_else(|| Status::internal("it was there"))?;
            let stopping = there.state() == DesktopState::Stopping;
            if !stopping {
                table.change(number, there.epoch, |told| {
                    told.desktop.set_state(DesktopState::Stopping);
                });
                let host = Arc::clone(&self.0);
                let pace = lock(&host.pace).stop;
                // Goes on when the caller leaves.
                tokio::spawn(async move {
                    if !pace.is_zero() {
                        sleep(pace).await;
                    }
                    host.table().end(number, there.epoch, |desktop| {
                        desktop.set_state(DesktopState::Gone);
                        desktop.end_reason = "STOPPED".into();
                    });
                });
            }
            life.told.subscribe()
        };
        let text = "the agent is shutting down; ask again in a moment";
        let gone = || refuse(Code::Unavailable, "SHUTTING_DOWN", text);
        let desktop = last_word(told).await.ok_or_else(gone)?;
        Ok(Response::new(v1::StopHostDesktopResponse { desktop: Some(desktop) }))
    }

    async fn freeze_desktop(
        &self,
        _: Request<v1::FreezeHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        Err(no_processes())
    }

    async fn thaw_desktop(
        &self,
        _: Request<v1::ThawHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        Err(no_processes())
    }

    async fn set_desktop_limits(
        &self,
        request: Request<v1::SetHostDesktopLimitsRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        let v1::SetHostDesktopLimitsRequest { number, epoch, limits } = request.into_inner();
        let limits = limits.unwrap_or_default();
        let in_use = self.0.memory_in_use_mib.load(Ordering::SeqCst);
        if (1..in_use).contains(&limits.memory_mib) {
            let text = format!("it uses {in_use} MiB, and no more can be taken back");
            return Err(refuse(Code::FailedPrecondition, "LIMIT_IN_USE", text));
        }
        let mut table = self.0.table();
        let there = table.fenced(number, epoch)?;
        table.change(number, there.epoch, |told| told.desktop.limits = Some(limits));
        table.fenced(number, epoch).map(Response::new)
    }

    async fn get_desktop(
        &self,
        request: Request<v1::GetHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        self.0.table().fenced(request.get_ref().number, u64::MAX).map(Response::new)
    }

    async fn list_desktops(
        &self,
        _: Request<v1::ListHostDesktopsRequest>,
    ) -> Result<Response<v1::ListHostDesktopsResponse>, Status> {
        let desktops = self.0.desktops();
        Ok(Response::new(v1::ListHostDesktopsResponse { desktops }))
    }

    async fn watch_desktops(
        &self,
        request: Request<v1::WatchHostDesktopsRequest>,
    ) -> Result<Response<Self::WatchDesktopsStream>, Status> {
        self.0.note_watch();
        let (first, seen, count) = {
            let table = self.0.table();
            let now = table.log.count();
            let (mut first, seen) = match table.log.seen(&request.get_ref().after) {
                Some(seen) => (vec![Event::Resumed(true)], seen),
                None => (table.all().into_iter().map(Event::Desktop).collect(), now),
            };
            // What was missed comes before `synced`, as all that was there does.
            let missed = (seen..now).filter_map(|seen| table.log.after(seen).ok().flatten());
            first.extend(missed.cloned().map(Event::Desktop));
            first.push(Event::Synced(true));
            let place = table.log.position(now);
            let first: Vec<_> = first
                .into_iter()
                .map(|event| {
                    let is_last = matches!(event, Event::Synced(_));
                    let position = if is_last { place.clone() } else { String::new() };
                    Ok(HostDesktopEvent { event: Some(event), position })
                })
                .collect();
            (first, now, table.count.subscribe())
        };
        let then = changes(Arc::clone(&self.0), seen, count);
        Ok(Response::new(stream::iter(first).chain(then).boxed()))
    }

    /// Prints the command, then what it is sent.
    async fn exec(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|first| first.message);
        let Some(exec_request::Message::Start(start)) = first else {
            return Err(Status::invalid_argument("start"));
        };
        let head = format!("{} {}\n", start.number, start.command.join(" ")).into_bytes();
        let echo = input.filter_map(|message| async {
            match message.ok()?.message? {
                exec_request::Message::Stdin(bytes) => Some(exec_response::Message::Stdout(bytes)),
                exec_request::Message::StdinClosed(_) => {
                    Some(exec_response::Message::Exit(v1::ExecExit { code: 7, signal: 0 }))
                }
                exec_request::Message::Start(_) | exec_request::Message::Resize(_) => None,
            }
        });
        let answers = stream::iter([exec_response::Message::Stdout(head)]).chain(echo);
        Ok(Response::new(
            answers.map(|message| Ok(v1::ExecResponse { message: Some(message) })).boxed(),
        ))
    }

    async fn connect_display(
        &self,
        request: Request<Streaming<v1::DisplayChunk>>,
    ) -> Result<Response<Self::ConnectDisplayStream>, Status> {
        displays::connect(&self.0, request.into_inner()).await
    }
}

fn no_processes() -> Status {
    Status::unimplemented("a simulated desktop has no processes")
}

/// Every change after `seen` of them. A reader that is too slow is told so, and
/// so is one whose agent has ended.
fn changes(
    host: Arc<Host>,
    seen: u64,
    count: watch::Receiver<u64>,
) -> impl stream::Stream<Item = Result<HostDesktopEvent, Status>> + Send {
    stream::unfold(Some((host, seen, count)), |state| async {
        let (host, seen, mut count) = state?;
        loop {
            count.borrow_and_update();
            let next = {
                let table = host.table();
                let next = table.log.after(seen).map(|next| next.cloned());
                next.map(|next| (next, table.log.position(seen + 1)))
            };
            match next {
                Ok((Some(desktop), position)) => {
                    let event = Some(Event::Desktop(desktop));
                    let event = HostDesktopEvent { event, position };
                    return Some((Ok(event), Some((host, seen + 1, count))));
                }
                Ok((None, _)) => {
                    // Never an error: the sender lives as long as the host.
                    count.changed().await.ok()?;
                }
                Err(()) => {
                    let text = "changes were missed; watch again to get the present state";
                    return Some((Err(refuse(Code::Aborted, "WATCH_LAGGED", text)), None));
                }
            }
        }
    })
}
