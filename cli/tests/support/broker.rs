//! A broker that plays a part: what it answers depends on the names used.

use std::{collections::HashMap, pin::Pin};

use prost_types::{Duration, Timestamp};
use rolltop_proto::v1::{
    self as api, broker_server::Broker, exec_request, exec_response, start_desktop_response,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

pub const PASSWORD: &str = "correct horse battery";
pub const TOKEN: &str = "token-of-ada";

pub type Answer<T> = Result<Response<T>, Status>;
type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The broker of the tests. "ada" is its user.
pub struct Scripted;

pub fn signed_in<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("authorization").map(|value| value.as_bytes()) {
        Some(value) if value == format!("Bearer {TOKEN}").as_bytes() => Ok(()),
        _ => Err(refusal(Code::Unauthenticated, "SESSION_OVER", "your session is over")),
    }
}

pub fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "rolltop", HashMap::new());
    Status::with_error_details(code, message, details)
}

fn ada() -> api::User {
    api::User {
        name: "ada".into(),
        full_name: "Ada Lovelace".into(),
        role: api::Role::Operator.into(),
        uid: 10_001,
        created_at: Some(Timestamp { seconds: 1_767_323_045, nanos: 0 }),
        groups: Vec::new(),
        second_factor: false,
        source: "local".into(),
    }
}

fn desktop(pool: &str, state: api::DesktopState) -> api::Desktop {
    api::Desktop {
        id: format!("{pool}/ada"),
        pool: pool.into(),
        user: "ada".into(),
        state: state.into(),
        host: "host-1".into(),
        number: 4,
        ip: "10.77.0.4".into(),
        ..api::Desktop::default()
    }
}

fn pool(name: &str) -> api::Pool {
    api::Pool {
        name: name.into(),
        image: "demo:stable".into(),
        overlay_size_mib: 1024,
        ..api::Pool::default()
    }
}

fn progress(phase: api::Phase, done: bool, ms: i32) -> Result<api::StartDesktopResponse, Status> {
    let elapsed = Some(Duration { seconds: 0, nanos: ms * 1_000_000 });
    let progress = api::Progress { phase: phase.into(), done, elapsed };
    Ok(api::StartDesktopResponse {
        message: Some(start_desktop_response::Message::Progress(progress)),
    })
}

fn came(desktop: api::Desktop) -> Result<api::StartDesktopResponse, Status> {
    Ok(api::StartDesktopResponse {
        message: Some(start_desktop_response::Message::Desktop(desktop)),
    })
}

fn start(pool: &str) -> Result<Out<api::StartDesktopResponse>, Status> {
    let placed = progress(api::Phase::Placement, true, 1);
    match pool {
        "demo" => Ok(Box::pin(tokio_stream::iter([
            progress(api::Phase::Placement, false, 0),
            placed,
            progress(api::Phase::Disk, false, 2),
            progress(api::Phase::Network, false, 3),
            progress(api::Phase::Network, true, 7),
            progress(api::Phase::Disk, true, 14),
            came(desktop(pool, api::DesktopState::Running)),
        ]))),
        "broken" => {
            let mut failed = desktop(pool, api::DesktopState::Failed);
            failed.failure = Some(api::Failure {
                phase: api::Phase::Session.into(),
                reason: "the session ended at once".into(),
                code: "SESSION_ENDED_EARLY".into(),
                output_tail: vec!["startwm: \x1b[31mno such file".into()],
            });
            Ok(Box::pin(tokio_stream::iter([placed, came(failed)])))
        }
        "never" => Ok(Box::pin(tokio_stream::iter([placed]).chain(tokio_stream::pending()))),
        "cut" => Ok(Box::pin(tokio_stream::iter([placed]))),
        "full" => {
            let mut details = ErrorDetails::with_error_info("NO_ROOM", "rolltop", HashMap::new());
            details.add_quota_failure_violation("host-1", "memory: 100 MiB free, 512 MiB needed");
            details.add_quota_failure_violation("host-2", "does not answer");
            Err(Status::with_error_details(Code::ResourceExhausted, "no host has room", details))
        }
        _ => Err(refusal(Code::NotFound, "POOL_NOT_FOUND", "there is no pool of that name")),
    }
}

type Responses = mpsc::Sender<Result<api::ExecResponse, Status>>;

/// Whether somebody still listens does not matter to the script.
async fn say(to: &Responses, message: exec_response::Message) {
    to.send(Ok(api::ExecResponse { message: Some(message) })).await.ok();
}

async fn tell(to: &Responses, text: String) {
    say(to, exec_response::Message::Stdout(text.into_bytes())).await;
}

/// The command's words say what it does; no words: a shell.
async fn act(start: api::ExecStart, mut input: Streaming<api::ExecRequest>, to: Responses) {
    use exec_response::Message::{Exit, Stderr, Stdout};

    let words: Vec<&str> = start.command.iter().map(String::as_str).collect();
    let exit = match words.as_slice() {
        ["exit", code] => api::ExecExit { code: code.parse().unwrap(), signal: 0 },
        ["die", signal] => api::ExecExit { code: 0, signal: signal.parse().unwrap() },
        ["vanish"] => return,
        ["both"] => {
            say(&to, Stdout(b"out\xff\n".into())).await;
            say(&to, Stderr(b"err\n".into())).await;
            api::ExecExit::default()
        }
        ["cat"] => cat(&mut input, &to).await,
        ["/bin/sh", ..] | ["tar", ..] | ["cat", ..] => super::local::run(&words, input, &to).await,
        [] => shell(&start, &mut input, &to).await,
        other => panic!("{other:?}"),
    };
    say(&to, Exit(exit)).await;
}

async fn cat(input: &mut Streaming<api::ExecRequest>, to: &Responses) -> api::ExecExit {
    loop {
        match input.next().await.map(|request| request.unwrap().message) {
            Some(Some(exec_request::Message::Stdin(bytes))) => {
                say(to, exec_response::Message::Stdout(bytes)).await;
            }
            Some(Some(exec_request::Message::StdinClosed(true))) => {
                return api::ExecExit::default();
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Tells what arrives; ends at Ctrl-D with code 0, at "q" with code 7.
async fn shell(
    start: &api::ExecStart,
    input: &mut Streaming<api::ExecRequest>,
    to: &Responses,
) -> api::ExecExit {
    let size = start.terminal.expect("a shell has a terminal");
    let kind = start.environment.get("TERM").cloned().unwrap_or_default();
    let root = start.as_root;
    tell(to, format!("{}x{} on {kind}, root: {root}\r\n", size.columns, size.rows)).await;
    loop {
        match input.next().await.map(|request| request.map(|request| request.message)) {
            Some(Ok(Some(exec_request::Message::Resize(size)))) => {
                tell(to, format!("now {}x{}\r\n", size.columns, size.rows)).await;
            }
            Some(Ok(Some(exec_request::Message::Stdin(bytes)))) => match bytes.as_slice() {
                b"\x04" => return api::ExecExit::default(),
                b"q" => return api::ExecExit { code: 7, signal: 0 },
                bytes => tell(to, format!("got {bytes:?}\r\n")).await,
            },
            // The client has gone.
            _ => return api::ExecExit { code: 0, signal: 1 },
        }
    }
}

/// Calls that no test makes.
macro_rules! unused {
    ($($name:ident: $request:ident -> $answer:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl Broker for Scripted {
            type WatchDesktopsStream = Out<api::Desktop>;
            type StartDesktopStream = Out<api::StartDesktopResponse>;
            type ExecStream = Out<api::ExecResponse>;

            $(async fn $name(&self, _: Request<api::$request>) -> Answer<api::$answer> {
                Err(Status::unimplemented(stringify!($name)))
            })*

            async fn watch_desktops(
                &self,
                _: Request<api::WatchDesktopsRequest>,
            ) -> Answer<Self::WatchDesktopsStream> {
                Err(Status::unimplemented("watch_desktops"))
            }

            async fn sign_in(&self, request: Request<api::SignInRequest>) -> Answer<api::SignInResponse> {
                let request = request.into_inner();
                if (request.name.as_str(), request.password.as_str()) != ("ada", PASSWORD) {
                    return Err(refusal(Code::Unauthenticated, "WRONG_PASSWORD", "wrong name or password"));
                }
                Ok(Response::new(api::SignInResponse {
                    token: TOKEN.into(),
                    expires_at: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
                    user: Some(ada()),
                }))
            }

            async fn sign_out(&self, request: Request<api::SignOutRequest>) -> Answer<api::SignOutResponse> {
                signed_in(&request)?;
                Ok(Response::new(api::SignOutResponse::default()))
            }

            async fn who_am_i(&self, request: Request<api::WhoAmIRequest>) -> Answer<api::User> {
                signed_in(&request)?;
                Ok(Response::new(ada()))
            }

            async fn list_desktops(
                &self,
                request: Request<api::ListDesktopsRequest>,
            ) -> Answer<api::ListDesktopsResponse> {
                signed_in(&request)?;
                let desktops = vec![desktop("demo", api::DesktopState::Running)];
                Ok(Response::new(api::ListDesktopsResponse { desktops }))
            }

            async fn get_desktop(&self, request: Request<api::GetDesktopRequest>) -> Answer<api::Desktop> {
                signed_in(&request)?;
                match request.into_inner().desktop.as_str() {
                    "demo" | "demo/ada" => {
                        Ok(Response::new(desktop("demo", api::DesktopState::Running)))
                    }
                    "demo/bob" => {
                        let mut bobs = desktop("demo", api::DesktopState::Running);
                        bobs.id = "demo/bob".into();
                        bobs.user = "bob".into();
                        Ok(Response::new(bobs))
                    }
                    _ => Err(refusal(Code::NotFound, "UNKNOWN_DESKTOP", "there is no such desktop")),
                }
            }

            async fn start_desktop(
                &self,
                request: Request<api::StartDesktopRequest>,
            ) -> Answer<Self::StartDesktopStream> {
                signed_in(&request)?;
                start(&request.into_inner().pool).map(Response::new)
            }

            async fn exec(
                &self,
                request: Request<Streaming<api::ExecRequest>>,
            ) -> Answer<Self::ExecStream> {
                signed_in(&request)?;
                let mut input = request.into_inner();
                let first = input.next().await.unwrap()?;
                let Some(exec_request::Message::Start(start)) = first.message else {
                    return Err(Status::invalid_argument("the first message must be start"));
                };
                if start.desktop != "demo" {
                    return Err(refusal(Code::NotFound, "UNKNOWN_DESKTOP", "there is no such desktop"));
                }
                let (to, from) = mpsc::channel(16);
                tokio::spawn(act(start, input, to));
                Ok(Response::new(Box::pin(ReceiverStream::new(from))))
            }

            async fn list_pools(
                &self,
                request: Request<api::ListPoolsRequest>,
            ) -> Answer<api::ListPoolsResponse> {
                signed_in(&request)?;
                let mut pools = vec![pool("demo")];
                if request.into_inner().all {
                    pools.push(pool("lab"));
                }
                Ok(Response::new(api::ListPoolsResponse { pools }))
            }

            async fn put_pool(&self, request: Request<api::PutPoolRequest>) -> Answer<api::Pool> {
                signed_in(&request)?;
                Ok(Response::new(request.into_inner().pool.unwrap()))
            }

            async fn stop_desktop(
                &self,
                request: Request<api::StopDesktopRequest>,
            ) -> Answer<api::StopDesktopResponse> {
                signed_in(&request)?;
                let id = request.into_inner().desktop;
                if id == "broken" {
                    return Err(refusal(Code::NotFound, "UNKNOWN_DESKTOP", "there is no such desktop"));
                }
                let desktop = Some(desktop(&id, api::DesktopState::Gone));
                Ok(Response::new(api::StopDesktopResponse { desktop }))
            }

            async fn freeze_desktop(
                &self,
                request: Request<api::FreezeDesktopRequest>,
            ) -> Answer<api::Desktop> {
                signed_in(&request)?;
                let id = request.into_inner().desktop;
                Ok(Response::new(desktop(&id, api::DesktopState::Frozen)))
            }

            async fn set_desktop_limits(
                &self,
                request: Request<api::SetDesktopLimitsRequest>,
            ) -> Answer<api::Desktop> {
                signed_in(&request)?;
                let request = request.into_inner();
                let limits = api::Limits {
                    memory_mib: request.memory_mib.unwrap_or(512),
                    cpu_millis: request.cpu_millis.unwrap_or(1000),
                    pids: request.pids.unwrap_or(100),
                    network_down_bits: request.network_down_bits.unwrap_or_default(),
                    network_up_bits: request.network_up_bits.unwrap_or_default(),
                    disk_read_bytes: request.disk_read_bytes.unwrap_or_default(),
                    disk_write_bytes: request.disk_write_bytes.unwrap_or_default(),
                    disk_ops: request.disk_ops.unwrap_or_default(),
                };
                let desktop = desktop(&request.desktop, api::DesktopState::Running);
                Ok(Response::new(api::Desktop { limits: Some(limits), ..desktop }))
            }

            async fn thaw_desktop(
                &self,
                request: Request<api::ThawDesktopRequest>,
            ) -> Answer<api::Desktop> {
                signed_in(&request)?;
                Err(refusal(Code::PermissionDenied, "OPERATORS_ONLY", "only operators may"))
            }

            async fn change_password(
                &self,
                request: Request<api::ChangePasswordRequest>,
            ) -> Answer<api::ChangePasswordResponse> {
                signed_in(&request)?;
                let request = request.into_inner();
                assert_eq!(request.current_password, PASSWORD);
                assert_eq!(request.new_password, "another horse");
                Ok(Response::new(api::ChangePasswordResponse {}))
            }

            async fn list_hosts(
                &self,
                request: Request<api::ListHostsRequest>,
            ) -> Answer<api::ListHostsResponse> {
                signed_in(&request)?;
                Err(refusal(Code::PermissionDenied, "OPERATORS_ONLY", "hosts are for operators"))
            }

            async fn put_host(&self, request: Request<api::PutHostRequest>) -> Answer<api::Host> {
                signed_in(&request)?;
                let request = request.into_inner();
                let state = api::HostState::Unknown.into();
                let (name, endpoint) = (request.name, request.endpoint);
                Ok(Response::new(api::Host { name, endpoint, state, ..api::Host::default() }))
            }

            async fn list_images(
                &self,
                request: Request<api::ListClusterImagesRequest>,
            ) -> Answer<api::ListClusterImagesResponse> {
                signed_in(&request)?;
                let version = api::ImageVersion {
                    image: "demo".into(),
                    version: "v1".into(),
                    tags: vec!["stable".into()],
                    ..api::ImageVersion::default()
                };
                let images =
                    vec![api::ClusterImage { host: "host-1".into(), version: Some(version) }];
                Ok(Response::new(api::ListClusterImagesResponse { images }))
            }

            async fn create_user(&self, request: Request<api::CreateUserRequest>) -> Answer<api::User> {
                signed_in(&request)?;
                let request = request.into_inner();
                if request.name.contains('/') {
                    let mut details = ErrorDetails::with_error_info("BAD_NAME", "rolltop", HashMap::new());
                    details.add_bad_request_violation("name", format!("{:?} has a '/'", request.name));
                    return Err(Status::with_error_details(
                        Code::InvalidArgument,
                        "the user is not valid",
                        details,
                    ));
                }
                assert!(request.password.len() >= 12, "{}", request.password);
                Ok(Response::new(api::User { name: request.name, role: request.role, ..ada() }))
            }
        }
    };
}

unused! {
    open_connection: OpenConnectionRequest -> OpenConnectionResponse,
    delete_host: DeleteHostRequest -> DeleteHostResponse,
    list_users: ListUsersRequest -> ListUsersResponse,
    delete_user: DeleteUserRequest -> DeleteUserResponse,
    delete_pool: DeletePoolRequest -> DeletePoolResponse,
}
