//! A client of a host agent's API, over its Unix socket.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hyper_util::rt::TokioIo;
use rolltop_proto::v1::{
    Account, AssignHostDesktopRequest, ExecRequest, ExecStart, HostDesktop, OverlaySpec, Phase,
    StartHostDesktopRequest, StartHostDesktopResponse, StopHostDesktopRequest, exec_request,
    exec_response, host_agent_client::HostAgentClient, host_stats_client::HostStatsClient,
    host_storage_client::HostStorageClient, start_host_desktop_response::Message,
};
use tokio::net::UnixStream;
use tonic::{
    Streaming,
    transport::{Channel, Endpoint, Uri},
};

/// Bytes of a stream that may be on their way: a whole picture.
const WINDOW: u32 = 8 << 20;
const OVERLAY_MIB: i64 = 5 * 1024;

/// The API of one agent; cheap to clone.
pub type Api = HostAgentClient<Channel>;

/// What one agent keeps on disk; cheap to clone.
pub type Storage = HostStorageClient<Channel>;

/// What one agent tells of its desktops; cheap to clone.
pub type Stats = HostStatsClient<Channel>;

/// A desktop that came up.
#[derive(Clone, Debug)]
pub struct Started {
    /// As the agent told it last.
    pub desktop: HostDesktop,
    /// From the call to that answer.
    pub elapsed: Duration,
}

/// Connects to the agent at `socket`.
///
/// # Errors
/// Nobody answers there.
pub async fn connect(socket: &Path) -> anyhow::Result<Api> {
    let channel = channel(socket).await?;
    Ok(HostAgentClient::new(channel).max_decoding_message_size(WINDOW as usize))
}

/// Connects to what the agent at `socket` keeps on disk.
///
/// # Errors
/// Nobody answers there.
pub async fn connect_storage(socket: &Path) -> anyhow::Result<Storage> {
    Ok(HostStorageClient::new(channel(socket).await?))
}

/// Connects to what the agent at `socket` tells of its desktops.
///
/// # Errors
/// Nobody answers there.
pub async fn connect_stats(socket: &Path) -> anyhow::Result<Stats> {
    Ok(HostStatsClient::new(channel(socket).await?))
}

async fn channel(socket: &Path) -> anyhow::Result<Channel> {
    let path: PathBuf = socket.into();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is not used; HTTP/2 wants one.
    Endpoint::from_static("http://agent")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .connect_with_connector(connector)
        .await
        .with_context(|| format!("no agent at {}", socket.display()))
}

/// A request for a volatile desktop of `image` under `number`, with a new
/// request id.
pub fn volatile(number: u32, epoch: u64, image: &str) -> StartHostDesktopRequest {
    StartHostDesktopRequest {
        request_id: format!("{number}-{epoch}"),
        number,
        epoch,
        label: format!("test/user{number}"),
        account: Some(Account { name: "user".into(), uid: 1000, full_name: "A User".into() }),
        image: image.into(),
        overlay: Some(OverlaySpec { size_mib: OVERLAY_MIB, ..Default::default() }),
        ..Default::default()
    }
}

/// The same made ahead of its user.
pub fn warm(request: StartHostDesktopRequest) -> StartHostDesktopRequest {
    StartHostDesktopRequest { warm: true, account: None, label: "test".into(), ..request }
}

/// Gives a warm desktop, which was started with the epoch before, to a user.
pub fn assignment(number: u32, epoch: u64) -> AssignHostDesktopRequest {
    AssignHostDesktopRequest {
        request_id: format!("{number}-{epoch}"),
        number,
        epoch,
        warm_epoch: epoch.saturating_sub(1),
        label: format!("test/user{number}"),
        account: Some(Account { name: "user".into(), uid: 1000, full_name: "A User".into() }),
        ..Default::default()
    }
}

/// Starts a desktop and waits until its display answers, or until it is warm.
///
/// # Errors
/// It does not come up; the reason with the last lines of its session.
pub async fn start(api: &mut Api, request: StartHostDesktopRequest) -> anyhow::Result<Started> {
    let (begun, number) = (Instant::now(), request.number);
    let what = || format!("desktop {number} did not come up");
    let answers = api.start_desktop(request).await.with_context(what)?.into_inner();
    until_up(number, begun, answers).await
}

/// Gives a warm desktop to its user and waits until its display answers.
///
/// # Errors
/// As for [`start`].
pub async fn assign(api: &mut Api, request: AssignHostDesktopRequest) -> anyhow::Result<Started> {
    let (begun, number) = (Instant::now(), request.number);
    let what = || format!("desktop {number} was not given to its user");
    let answers = api.assign_desktop(request).await.with_context(what)?.into_inner();
    until_up(number, begun, answers).await
}

async fn until_up(
    number: u32,
    begun: Instant,
    mut answers: Streaming<StartHostDesktopResponse>,
) -> anyhow::Result<Started> {
    let what = || format!("desktop {number} did not come up");
    while let Some(answer) = answers.message().await.with_context(what)? {
        if let Some(Message::Desktop(desktop)) = answer.message {
            if let Some(failure) = &desktop.failure {
                let tail = failure.output_tail.join("\n  ");
                bail!("{}: {} ({})\n  {tail}", what(), failure.reason, failure.code);
            }
            return Ok(Started { desktop, elapsed: begun.elapsed() });
        }
    }
    bail!("{}: the agent's answer ended before its end", what())
}

/// Stops a desktop; returns how long it took until nothing of it was left.
///
/// # Errors
/// The agent refuses, or cannot take it away.
pub async fn stop(api: &mut Api, number: u32, epoch: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let request = StopHostDesktopRequest { number, epoch, grace: None };
    api.stop_desktop(request).await.with_context(|| format!("desktop {number} does not stop"))?;
    Ok(begun.elapsed())
}

/// What a command in a desktop wrote, and its exit code.
///
/// # Errors
/// It cannot be begun, or the agent ends meanwhile.
pub async fn exec(
    api: &mut Api,
    number: u32,
    as_root: bool,
    command: &str,
) -> anyhow::Result<(String, i32)> {
    let start = ExecStart {
        number,
        as_root,
        command: ["/bin/sh", "-c", command].map(str::to_owned).into(),
        ..Default::default()
    };
    let requests = [exec_request::Message::Start(start), exec_request::Message::StdinClosed(true)]
        .map(|message| ExecRequest { message: Some(message) });
    let mut answers = api.exec(tokio_stream::iter(requests)).await?.into_inner();
    let mut output = Vec::new();
    while let Some(answer) = answers.message().await? {
        match answer.message {
            Some(exec_response::Message::Stdout(bytes) | exec_response::Message::Stderr(bytes)) => {
                output.extend(bytes);
            }
            Some(exec_response::Message::Exit(exit)) => {
                return Ok((String::from_utf8_lossy(&output).into_owned(), exit.code));
            }
            None => {}
        }
    }
    bail!("the command's answer ended without its end")
}

/// When `phase` began and ended, since the request's arrival at the agent.
pub fn phase(desktop: &HostDesktop, phase: Phase) -> Option<(Duration, Duration)> {
    let timing = desktop.timings.iter().find(|timing| timing.phase() == phase)?;
    let time = |time: &Option<prost_types::Duration>| Duration::try_from((*time)?).ok();
    Some((time(&timing.begin)?, time(&timing.end)?))
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1::PhaseTiming;

    use super::*;

    #[test]
    fn a_phase_is_found_by_its_name() {
        let time = |ms| Duration::from_millis(ms).try_into().ok();
        let timing = PhaseTiming { phase: Phase::Disk.into(), begin: time(1), end: time(5) };
        let desktop = HostDesktop { timings: vec![timing], ..Default::default() };
        let found = phase(&desktop, Phase::Disk).unwrap();
        assert_eq!(found, (Duration::from_millis(1), Duration::from_millis(5)));
        assert_eq!(phase(&desktop, Phase::Display), None);
    }
}
