//! A host agent that does as it is told by the test. It runs in a runtime of
//! its own, so that it can be cut off in an instant.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{StreamExt as _, stream, stream::BoxStream};

use super::{keys::Keys, stats::Numbers, storage::Disks};
use rolltop_broker::config::Config;
use rolltop_proto::v1::{
    self, DesktopState, Failure, HostDesktop, HostDesktopEvent, Phase, Progress,
    StartHostDesktopRequest, exec_request, exec_response,
    host_agent_server::{HostAgent, HostAgentServer},
    host_desktop_event::Event,
    host_keys_server::HostKeysServer,
    host_stats_server::HostStatsServer,
    host_storage_server::HostStorageServer,
    start_host_desktop_response::Message,
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Semaphore, broadcast, mpsc},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming, async_trait,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

/// What the agent does with the next starts.
#[derive(Clone)]
pub(crate) enum Behaviour {
    Run,
    /// Ends with a desktop that FAILED.
    Fail(Failure),
    /// Answers with an error.
    Refuse(Status),
    /// Runs once the semaphore lets it.
    Hold(Arc<Semaphore>),
}

pub(crate) struct Agent {
    pub script: Arc<Script>,
    credentials: PathBuf,
    keys: Keys,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// What the agent has and does; outlives its process.
pub(crate) struct Script {
    pub desktops: Mutex<BTreeMap<u32, HostDesktop>>,
    pub behaviour: Mutex<Behaviour>,
    pub starts: AtomicUsize,
    pub requests: Mutex<Vec<StartHostDesktopRequest>>,
    pub assignments: Mutex<Vec<v1::AssignHostDesktopRequest>>,
    pub storage: Disks,
    pub images: Mutex<Vec<v1::ImageVersion>>,
    displays: Mutex<BTreeMap<u32, CancellationToken>>,
    events: broadcast::Sender<HostDesktopEvent>,
}

impl Agent {
    /// Enrols the host and starts its agent.
    pub(crate) async fn new(config: &Config, dir: &Path, name: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let credentials = dir.join(format!("{name}-credentials"));
        let endpoint = format!("https://{address}");
        let out = credentials.to_str().unwrap();
        let words = [
            "rolltop-broker",
            "host",
            "add",
            name,
            "--endpoint",
            &endpoint,
            "--credentials-out",
            out,
        ];
        super::offline(config, &words, "").await;
        let demo = v1::ImageVersion {
            image: "demo".into(),
            version: "1".into(),
            tags: vec!["stable".into()],
            ..Default::default()
        };
        let script = Script {
            desktops: Mutex::default(),
            behaviour: Mutex::new(Behaviour::Run),
            starts: AtomicUsize::new(0),
            requests: Mutex::default(),
            assignments: Mutex::default(),
            storage: Disks::default(),
            images: Mutex::new(vec![demo]),
            displays: Mutex::default(),
            events: broadcast::channel(64).0,
        };
        let keys = Keys::new(credentials.clone());
        let script = Arc::new(script);
        let mut agent = Self { script, credentials, keys, address, runtime: None };
        agent.come_up();
        agent
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys.clone()
    }

    pub(crate) fn credential(&self, name: &str) -> String {
        super::read(&self.credentials, name)
    }

    /// Cuts all connections; what the host has stays.
    pub(crate) fn vanish(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub(crate) fn come_up(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let identity =
            Identity::from_pem(self.credential("host.pem"), self.credential("host-key.pem"));
        let tls = ServerTlsConfig::new()
            .identity(identity)
            .client_ca_root(Certificate::from_pem(self.credential("ca.pem")));
        let (script, keys, address) = (Arc::clone(&self.script), self.keys(), self.address);
        runtime.spawn(async move {
            let listener = loop {
                // The last life's sockets may still be closing.
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            let server = Server::builder()
                .tls_config(tls)
                .unwrap()
                .add_service(HostStorageServer::new(script.storage.clone()))
                .add_service(HostStatsServer::new(Numbers))
                .add_service(HostKeysServer::new(keys))
                .add_service(HostAgentServer::from_arc(script));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Script {
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// The desktop ends by itself.
    pub(crate) fn end(&self, number: u32, reason: &str) {
        self.end_as(number, DesktopState::Gone, reason);
    }

    /// The desktop ends by itself, and badly.
    pub(crate) fn break_down(&self, number: u32, failure: Failure) {
        let code = failure.code.clone();
        if let Some(desktop) = self.desktops.lock().unwrap().get_mut(&number) {
            desktop.failure = Some(failure);
        }
        self.end(number, &code);
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.desktops.lock().unwrap().contains_key(&number)
    }

    fn end_as(&self, number: u32, state: DesktopState, reason: &str) -> Option<HostDesktop> {
        let mut desktop = self.desktops.lock().unwrap().remove(&number)?;
        desktop.set_state(state);
        desktop.end_reason = reason.into();
        self.tell(&desktop);
        if let Some(display) = self.displays.lock().unwrap().remove(&number) {
            display.cancel();
        }
        Some(desktop)
    }

    fn tell(&self, desktop: &HostDesktop) {
        // Nobody may be watching.
        self.events
            .send(HostDesktopEvent {
                event: Some(Event::Desktop(desktop.clone())),
                ..Default::default()
            })
            .unwrap_or_default();
    }

    fn bring_up(&self, request: &StartHostDesktopRequest) -> HostDesktop {
        let desktop = HostDesktop {
            number: request.number,
            epoch: request.epoch,
            label: request.label.clone(),
            state: if request.warm { DesktopState::Warm } else { DesktopState::Running }.into(),
            warm: request.warm,
            version: self.version(),
            mac: "54:52:00:00:00:01".into(),
            ip: "10.77.0.2".into(),
            ..Default::default()
        };
        self.desktops.lock().unwrap().insert(request.number, desktop.clone());
        self.storage.mount(request);
        self.tell(&desktop);
        desktop
    }

    /// Of its first image.
    fn version(&self) -> String {
        self.images.lock().unwrap().first().map(|image| image.version.clone()).unwrap_or_default()
    }

    /// Those that nobody has yet.
    pub(crate) fn warm(&self) -> Vec<HostDesktop> {
        let desktops = self.desktops.lock().unwrap();
        desktops.values().filter(|desktop| desktop.warm).cloned().collect()
    }

    async fn perform(&self, request: &StartHostDesktopRequest) -> Result<HostDesktop, Status> {
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Run => Ok(self.bring_up(request)),
            Behaviour::Refuse(status) => Err(status),
            Behaviour::Fail(failure) => Ok(HostDesktop {
                number: request.number,
                epoch: request.epoch,
                label: request.label.clone(),
                warm: request.warm,
                state: DesktopState::Failed.into(),
                failure: Some(failure),
                ..Default::default()
            }),
            Behaviour::Hold(gate) => {
                drop(gate.acquire().await.unwrap());
                Ok(self.bring_up(request))
            }
        }
    }
}

type Boxed<T> = BoxStream<'static, Result<T, Status>>;

/// What [`Script`] is asked through `Arc`.
#[async_trait]
impl HostAgent for Script {
    type StartDesktopStream = Boxed<v1::StartHostDesktopResponse>;
    type AssignDesktopStream = Boxed<v1::StartHostDesktopResponse>;
    type WatchDesktopsStream = Boxed<HostDesktopEvent>;
    type ExecStream = Boxed<v1::ExecResponse>;
    type ConnectDisplayStream = Boxed<v1::DisplayChunk>;

    async fn get_host(
        &self,
        _: Request<v1::GetHostRequest>,
    ) -> Result<Response<v1::HostInfo>, Status> {
        let (storage_id, storage_shared) = self.storage.on.lock().unwrap().clone();
        Ok(Response::new(v1::HostInfo {
            storage_id,
            storage_shared,
            name: "h1".into(),
            cpus: 4,
            memory_bytes: 16 << 30,
            memory_available_bytes: 8 << 30,
            overlay_free_bytes: 100 << 30,
            max_desktops: 20,
            network: "10.77.0.0/16".into(),
            ..Default::default()
        }))
    }

    async fn list_images(
        &self,
        _: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        Ok(Response::new(v1::ListImagesResponse { images: self.images.lock().unwrap().clone() }))
    }

    async fn start_desktop(
        &self,
        request: Request<StartHostDesktopRequest>,
    ) -> Result<Response<Self::StartDesktopStream>, Status> {
        let request = request.into_inner();
        self.starts.fetch_add(1, Ordering::SeqCst);
        self.requests.lock().unwrap().push(request.clone());
        let disk = |done| v1::StartHostDesktopResponse {
            message: Some(Message::Progress(Progress {
                phase: Phase::Disk.into(),
                done,
                elapsed: None,
            })),
        };
        let begin = stream::iter([Ok(disk(false)), Ok(disk(true))]);
        let known = self.desktops.lock().unwrap().get(&request.number).cloned();
        let known = known.filter(|known| known.epoch == request.epoch);
        let done = match known {
            Some(known) => Ok(known),
            None => self.perform(&request).await,
        };
        let end = done.map(|desktop| v1::StartHostDesktopResponse {
            message: Some(Message::Desktop(desktop)),
        });
        Ok(Response::new(begin.chain(stream::iter([end])).boxed()))
    }

    async fn assign_desktop(
        &self,
        request: Request<v1::AssignHostDesktopRequest>,
    ) -> Result<Response<Self::AssignDesktopStream>, Status> {
        let request = request.into_inner();
        self.assignments.lock().unwrap().push(request.clone());
        let given = {
            let mut desktops = self.desktops.lock().unwrap();
            let there = desktops.get_mut(&request.number);
            let there = there.ok_or_else(|| Status::not_found("no such desktop"))?;
            if there.epoch == request.warm_epoch {
                (there.epoch, there.warm) = (request.epoch, false);
                there.label.clone_from(&request.label);
                there.set_state(DesktopState::Running);
            }
            if there.epoch != request.epoch {
                return Err(Status::failed_precondition("another epoch"));
            }
            there.clone()
        };
        self.tell(&given);
        let message = Some(Message::Desktop(given));
        Ok(Response::new(stream::iter([Ok(v1::StartHostDesktopResponse { message })]).boxed()))
    }

    async fn stop_desktop(
        &self,
        request: Request<v1::StopHostDesktopRequest>,
    ) -> Result<Response<v1::StopHostDesktopResponse>, Status> {
        let desktop = self.end_as(request.get_ref().number, DesktopState::Gone, "STOPPED");
        let desktop = desktop.ok_or_else(|| Status::not_found("no such desktop"))?;
        Ok(Response::new(v1::StopHostDesktopResponse { desktop: Some(desktop) }))
    }

    async fn freeze_desktop(
        &self,
        _: Request<v1::FreezeHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        Err(Status::unimplemented("no processes here"))
    }

    async fn thaw_desktop(
        &self,
        _: Request<v1::ThawHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        Err(Status::unimplemented("no processes here"))
    }

    async fn set_desktop_limits(
        &self,
        _: Request<v1::SetHostDesktopLimitsRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        Err(Status::unimplemented("no processes here"))
    }

    async fn get_desktop(
        &self,
        request: Request<v1::GetHostDesktopRequest>,
    ) -> Result<Response<HostDesktop>, Status> {
        let found = self.desktops.lock().unwrap().get(&request.get_ref().number).cloned();
        found.map(Response::new).ok_or_else(|| Status::not_found("no such desktop"))
    }

    async fn list_desktops(
        &self,
        _: Request<v1::ListHostDesktopsRequest>,
    ) -> Result<Response<v1::ListHostDesktopsResponse>, Status> {
        let desktops = self.desktops.lock().unwrap().values().cloned().collect();
        Ok(Response::new(v1::ListHostDesktopsResponse { desktops }))
    }

    async fn watch_desktops(
        &self,
        _: Request<v1::WatchHostDesktopsRequest>,
    ) -> Result<Response<Self::WatchDesktopsStream>, Status> {
        let events = self.events.subscribe();
        let there: Vec<_> =
            self.desktops.lock().unwrap().values().cloned().map(Event::Desktop).collect();
        let first = there.into_iter().chain([Event::Synced(true)]);
        let first = stream::iter(
            first
                .map(|event| Ok(HostDesktopEvent { event: Some(event), ..Default::default() }))
                .collect::<Vec<_>>(),
        );
        let then = stream::unfold(events, |mut events| async {
            Some((Ok(events.recv().await.ok()?), events))
        });
        Ok(Response::new(first.chain(then).boxed()))
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
                _ => None,
            }
        });
        let answers = stream::iter([exec_response::Message::Stdout(head)]).chain(echo);
        Ok(Response::new(
            answers.map(|message| Ok(v1::ExecResponse { message: Some(message) })).boxed(),
        ))
    }

    /// A banner, then an echo.
    async fn connect_display(
        &self,
        request: Request<Streaming<v1::DisplayChunk>>,
    ) -> Result<Response<Self::ConnectDisplayStream>, Status> {
        let mut input = request.into_inner();
        let hello = input.message().await?.ok_or_else(|| Status::invalid_argument("hello"))?;
        if !self.has(hello.number) {
            return Err(Status::not_found("no such desktop"));
        }
        let over = self.displays.lock().unwrap().entry(hello.number).or_default().clone();
        let (out, answers) = mpsc::channel(1);
        tokio::spawn(over.run_until_cancelled_owned(async move {
            let chunk = |data| Ok(v1::DisplayChunk { data, ..Default::default() });
            let mut next = Some(b"RFB 003.008\n".to_vec());
            while let Some(data) = next {
                if out.send(chunk(data)).await.is_err() {
                    return;
                }
                next = input.message().await.ok().flatten().map(|chunk| chunk.data);
            }
        }));
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}
