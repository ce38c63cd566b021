//! The line to one host: connected as long as it can be, with a heartbeat;
//! what the host says about its desktops goes to the observer.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use rolltop_proto::v1::{
    DesktopState, GetHostRequest, HostDesktop, HostDesktopEvent, HostInfo, ImageVersion,
    ListImagesRequest, WatchHostDesktopsRequest, host_desktop_event::Event,
};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Status, Streaming};

use super::{Agent, Health, Host, Hosts, Observer, describe, lock};
use crate::names::DesktopId;

/// How often a host is asked for its facts.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long it may take to answer. A silent host is suspected after at most
/// the two together, which is less than ten seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Desktops one host may list; its network has no more numbers.
const MOST_DESKTOPS: usize = 1 << 16;

/// What had been claimed before a host was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Horizon {
    /// The last epoch given.
    pub epoch: u64,
    /// Starts that were under way.
    pub starting: BTreeSet<DesktopId>,
}

#[derive(Debug, Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Connect(String),
    #[error("no answer to {call} within {} s", ANSWER_DEADLINE.as_secs())]
    Silent { call: &'static str },
    #[error("{call} failed: {message}")]
    Call { call: &'static str, message: String },
    #[error("its agent ended the line")]
    Ended,
    #[error("it lists more than {MOST_DESKTOPS} desktops")]
    TooMany,
}

/// Keeps the line until dropped.
pub(super) async fn keep(hosts: Hosts, host: Arc<Host>, observer: Arc<dyn Observer>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let error = match hold(&hosts, &host, observer.as_ref()).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if lost(&host, &error) {
            tracing::warn!(host.name = %host.name, problem = %error, "a host is lost");
        }
        // A line that held for a while is tried again at once.
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Marks the host; true if it was ready until now, or has a new problem.
fn lost(host: &Host, error: &LinkError) -> bool {
    *lock(&host.channel) = None;
    let problem = error.to_string();
    host.seen.send_if_modified(|seen| {
        let news = seen.health == Health::Ready || seen.problem != problem;
        if seen.health == Health::Ready {
            seen.health = Health::Suspect;
        }
        seen.problem = problem;
        news
    })
}

async fn hold(
    hosts: &Hosts,
    host: &Host,
    observer: &dyn Observer,
) -> Result<std::convert::Infallible, LinkError> {
    let connect = |error: tonic::transport::Error| LinkError::Connect(describe(&error));
    let channel = hosts.dialer(host).map_err(connect)?.connect().await.map_err(connect)?;
    let mut agent = Agent::new(channel.clone());

    let horizon = observer.horizon().await;
    let call = agent.watch_desktops(WatchHostDesktopsRequest {});
    let mut events = answer("WatchDesktops", call).await?.into_inner();
    let mut desktops = answer_in("WatchDesktops", first(&mut events)).await??;
    let (info, images) = (facts(&mut agent).await?, images(&mut agent).await?);
    *lock(&host.channel) = Some(channel);
    let mut strays = observer.all(&host.name, &horizon, &desktops).await;
    // Those that are over were listed for their last word.
    desktops.retain(|_, desktop| !is_over(desktop));
    strays.retain(|number| desktops.contains_key(number));
    report_strays(host, &strays);

    let back = host.seen.send_replace(super::Seen {
        health: Health::Ready,
        problem: String::new(),
        info: Some(info),
        images,
        desktops,
        strays,
    });
    if back.health != Health::Ready {
        tracing::info!(host.name = %host.name, "a host is ready");
    }
    follow(host, observer, &mut agent, &mut events).await
}

async fn follow(
    host: &Host,
    observer: &dyn Observer,
    agent: &mut Agent,
    events: &mut Streaming<HostDesktopEvent>,
) -> Result<std::convert::Infallible, LinkError> {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.tick().await;
    loop {
        tokio::select! {
            event = events.message() => {
                let event = event.map_err(|status| call_failed("WatchDesktops", &status))?.ok_or(LinkError::Ended)?;
                if let Some(Event::Desktop(desktop)) = event.event {
                    apply(host, observer, desktop).await;
                }
            }
            _ = heartbeat.tick() => {
                let (info, images) = (facts(agent).await?, images(agent).await?);
                host.seen.send_modify(|seen| {
                    seen.info = Some(info);
                    seen.images = images;
                });
            }
        }
    }
}

async fn apply(host: &Host, observer: &dyn Observer, desktop: HostDesktop) {
    let known = observer.changed(&host.name, &desktop).await;
    let number = desktop.number;
    let over = is_over(&desktop);
    host.seen.send_modify(|seen| {
        seen.strays.remove(&number);
        if over {
            seen.desktops.remove(&number);
        } else if seen.desktops.len() < MOST_DESKTOPS {
            seen.desktops.insert(number, desktop);
            if !known {
                seen.strays.insert(number);
            }
        }
    });
}

fn is_over(desktop: &HostDesktop) -> bool {
    matches!(desktop.state(), DesktopState::Gone | DesktopState::Failed)
}

/// Everything up to `synced`.
async fn first(
    events: &mut Streaming<HostDesktopEvent>,
) -> Result<BTreeMap<u32, HostDesktop>, LinkError> {
    let mut desktops = BTreeMap::new();
    loop {
        let event =
            events.message().await.map_err(|status| call_failed("WatchDesktops", &status))?;
        match event.ok_or(LinkError::Ended)?.event {
            Some(Event::Desktop(desktop)) => {
                desktops.insert(desktop.number, desktop);
                if desktops.len() > MOST_DESKTOPS {
                    return Err(LinkError::TooMany);
                }
            }
            Some(Event::Synced(_)) => return Ok(desktops),
            None => {}
        }
    }
}

fn report_strays(host: &Host, strays: &BTreeSet<u32>) {
    if !strays.is_empty() {
        tracing::warn!(host.name = %host.name, numbers = ?strays, "a host runs desktops this cluster does not know");
    }
}

async fn facts(agent: &mut Agent) -> Result<HostInfo, LinkError> {
    Ok(answer("GetHost", agent.get_host(GetHostRequest {})).await?.into_inner())
}

pub(super) async fn images(agent: &mut Agent) -> Result<Vec<ImageVersion>, LinkError> {
    let images = answer("ListImages", agent.list_images(ListImagesRequest {})).await;
    images.map(|response| response.into_inner().images)
}

async fn answer<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, LinkError> {
    answer_in(call, answer).await?.map_err(|status| call_failed(call, &status))
}

async fn answer_in<T>(call: &'static str, answer: impl Future<Output = T>) -> Result<T, LinkError> {
    timeout(ANSWER_DEADLINE, answer).await.map_err(|_| LinkError::Silent { call })
}

fn call_failed(call: &'static str, status: &Status) -> LinkError {
    LinkError::Call { call, message: describe(status) }
}
