//! The line to one host: connected as long as it can be, with a heartbeat;
//! what the host says about its desktops goes to the observer.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt as _;
use rolltop_proto::v1::{
    DesktopState, GetHostRequest, HostDesktop, HostDesktopEvent, HostInfo, ImageVersion,
    ListImagesRequest, StopHostDesktopRequest, WatchHostDesktopsRequest, host_desktop_event::Event,
};
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{Agent, Happening, Heard, Host, Hosts, Observer, Renewer, describe, lock};
use crate::{config, names::DesktopId, store::Revision};

/// For a host that has something to end before it is given anything.
const END_DEADLINE: Duration = Duration::from_secs(15);
/// Desktops it is asked to end at once.
const ENDS_AT_ONCE: usize = 16;
/// After a renewal that failed: there are weeks to do it in.
const RENEW_PAUSE: Duration = Duration::from_secs(10 * 60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Desktops one host may list; its network has no more numbers.
const MOST_DESKTOPS: usize = 1 << 16;

/// What had been claimed before a host was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Horizon {
    /// The last epoch given.
    pub epoch: u64,
    /// The transaction that gave it.
    pub revision: Revision,
    /// Starts on the host that were under way.
    pub starting: BTreeSet<DesktopId>,
}

/// What came of looking at all that a host has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Numbers of desktops the store does not know.
    pub strays: BTreeSet<u32>,
    /// Number and epoch of those that are not the host's any more.
    pub to_end: Vec<(u32, u64)>,
    /// The store failed: the host has to tell all this again.
    pub missed: bool,
}

/// How closely hosts are watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    /// How often a host is asked for its facts.
    heartbeat: Duration,
    /// How long it may take to answer.
    answer: Duration,
    /// How long it may be silent before it is lost.
    lost: Duration,
}

impl Rhythm {
    /// A silent host is suspected after heartbeat and answer, at most.
    pub(super) fn new(config: config::Hosts) -> Self {
        let heartbeat = config.suspect * 3 / 8;
        Self { heartbeat, answer: config.suspect - heartbeat, lost: config.lost }
    }
}

#[derive(Debug, Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Connect(String),
    #[error("no answer to {call} within {} s", within.as_secs_f32())]
    Silent { call: &'static str, within: Duration },
    #[error("{call} failed: {message}")]
    Call { call: &'static str, message: String },
    #[error("its agent ended the line")]
    Ended,
    #[error("it lists more than {MOST_DESKTOPS} desktops")]
    TooMany,
}

/// What lines are kept with.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) hosts: Hosts,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) renewer: Renewer,
    pub(super) rhythm: Rhythm,
}

impl Keeper {
    /// Keeps the line until dropped.
    pub(super) async fn keep(self, host: Arc<Host>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            let held = tokio::select! {
                held = self.hold(&host) => held,
                never = self.give_up(&host) => match never {},
            };
            let error = match held {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if silent(&host, &error) {
                tracing::warn!(host.name = %host.name, problem = %error, "a host is not heard");
            }
            self.hosts.news.notify_waiters();
            // A line that held for a while is tried again at once.
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let wait = sleep(pause.mul_f64(rand::random_range(0.75..1.25)));
            tokio::select! {
                () = wait => {}
                never = self.give_up(&host) => match never {},
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Gives the host up when it has been silent for too long, and not if it is
    /// heard meanwhile.
    async fn give_up(&self, host: &Host) -> std::convert::Infallible {
        let silent_since = host.seen.borrow().silent_since;
        if let Some(since) = silent_since {
            sleep_until(since + self.rhythm.lost).await;
            let lost = host
                .note_if(|seen| seen.silent_since == silent_since && seen.happen(Happening::Lapse));
            if lost {
                tracing::warn!(host.name = %host.name, "a host is lost; its volatile desktops are given out elsewhere");
                self.hosts.news.notify_waiters();
            }
        }
        std::future::pending().await
    }

    async fn hold(&self, host: &Host) -> Result<std::convert::Infallible, LinkError> {
        let connect = |error: tonic::transport::Error| LinkError::Connect(describe(&error));
        let channel = host.way.connect(|dialer| dialer).await.map_err(connect)?;
        let mut agent = Agent::new(channel.clone());
        loop {
            let mut events = self.take_in(host, &channel, &mut agent).await?;
            self.follow(host, &channel, &mut agent, &mut events).await?;
        }
    }

    /// All that the host has, or what has changed since it was last heard.
    async fn take_in(
        &self,
        host: &Host,
        channel: &Channel,
        agent: &mut Agent,
    ) -> Result<Streaming<HostDesktopEvent>, LinkError> {
        let observer = self.observer.as_ref();
        host.telling.store(true, Ordering::SeqCst);
        let horizon = observer.horizon(&host.name).await;
        let after = lock(&host.position).clone();
        let call = agent.watch_desktops(WatchHostDesktopsRequest { after });
        let mut events = self.answer("WatchDesktops", call).await?.into_inner();
        let known = host.seen.borrow().desktops.clone();
        let (mut desktops, position) =
            self.answer_in("WatchDesktops", first(&mut events, known)).await??;
        let (info, images) = (self.facts(agent).await?, self.images(agent).await?);
        *lock(&host.channel) = Some(channel.clone());
        let Verdicts { mut strays, to_end, missed } =
            observer.all(&host.name, &horizon, &desktops).await;
        // Those that are over were listed for their last word.
        desktops.retain(|_, desktop| !is_over(desktop));
        strays.retain(|number| desktops.contains_key(number));
        report_strays(host, &strays);
        self.end_all(host, agent, to_end).await;
        if !missed {
            *lock(&host.position) = position;
        }

        let mut back = false;
        host.note(|seen| {
            back = seen.happen(Happening::Heard);
            seen.silent_since = None;
            seen.problem = String::new();
            seen.info = Some(info);
            seen.images = images;
            seen.desktops = desktops;
            seen.strays = strays;
        });
        host.telling.store(false, Ordering::SeqCst);
        if back {
            tracing::info!(host.name = %host.name, "a host is heard");
            self.hosts.news.notify_waiters();
        }
        Ok(events)
    }

    /// Until the host is to tell all it has again.
    async fn follow(
        &self,
        host: &Host,
        channel: &Channel,
        agent: &mut Agent,
        events: &mut Streaming<HostDesktopEvent>,
    ) -> Result<(), LinkError> {
        let observer = self.observer.as_ref();
        // From the first change that was missed on, all are told again.
        let mut missed = false;
        let mut renew_at = Instant::now();
        let mut heartbeat = interval(self.rhythm.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                event = events.message() => {
                    let event = event.map_err(|status| call_failed("WatchDesktops", &status))?.ok_or(LinkError::Ended)?;
                    if let Some(Event::Desktop(desktop)) = event.event {
                        missed |= apply(host, observer, desktop).await == Heard::Missed;
                        if !missed {
                            *lock(&host.position) = event.position;
                        }
                    }
                }
                () = host.again.notified() => return Ok(()),
                _ = heartbeat.tick() => {
                    let (info, images) = (self.facts(agent).await?, self.images(agent).await?);
                    host.note(|seen| {
                        seen.info = Some(info);
                        seen.images = images;
                    });
                    if Instant::now() >= renew_at {
                        renew_at = self.renew_if_due(host, channel.clone()).await;
                    }
                }
            }
        }
    }

    /// The host ends what is no longer its own before anything is given to it.
    /// What takes longer goes on there; that it ended is told like any end.
    async fn end_all(&self, host: &Host, agent: &Agent, to_end: Vec<(u32, u64)>) {
        if to_end.is_empty() {
            return;
        }
        tracing::info!(host.name = %host.name, count = to_end.len(), "a host has desktops that should have ended");
        let ends = futures_util::stream::iter(to_end).map(|(number, epoch)| {
            let mut agent = agent.clone();
            async move {
                let request = StopHostDesktopRequest { number, epoch, grace: None };
                (number, agent.stop_desktop(request).await)
            }
        });
        let all =
            ends.buffer_unordered(ENDS_AT_ONCE).for_each(async |(number, ended)| match ended {
                Ok(_) => {}
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => {
                    tracing::warn!(host.name = %host.name, number, problem = status.message(),
                    "a desktop that should have ended was not stopped")
                }
            });
        if timeout(END_DEADLINE, all).await.is_err() {
            tracing::warn!(host.name = %host.name, "desktops that should have ended take long to");
        }
    }

    async fn facts(&self, agent: &mut Agent) -> Result<HostInfo, LinkError> {
        Ok(self.answer("GetHost", agent.get_host(GetHostRequest {})).await?.into_inner())
    }

    async fn images(&self, agent: &mut Agent) -> Result<Vec<ImageVersion>, LinkError> {
        self.answer_in("ListImages", images(agent)).await?
    }

    async fn answer<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, LinkError> {
        self.answer_in(call, answer).await?.map_err(|status| call_failed(call, &status))
    }

    async fn answer_in<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = T>,
    ) -> Result<T, LinkError> {
        let within = self.rhythm.answer;
        timeout(within, answer).await.map_err(|_| LinkError::Silent { call, within })
    }

    /// Answers when to look again.
    async fn renew_if_due(&self, host: &Host, channel: Channel) -> Instant {
        let now = Instant::now();
        let credential = lock(&host.credential).clone();
        if !self.renewer.is_due(&credential) {
            return now;
        }
        match self.renewer.renew(&host.name, channel).await {
            Ok(()) => now,
            Err(error) => {
                tracing::warn!(host.name = %host.name, error = &error as &dyn std::error::Error,
                    "the certificate of a host was not renewed; the present one counts still");
                now + RENEW_PAUSE
            }
        }
    }
}

/// Marks the host; true if it was heard until now, or has a new problem.
fn silent(host: &Host, error: &LinkError) -> bool {
    *lock(&host.channel) = None;
    let problem = error.to_string();
    host.note_if(|seen| {
        let news = seen.happen(Happening::Silent) || seen.problem != problem;
        seen.silent_since.get_or_insert_with(Instant::now);
        seen.problem = problem;
        news
    })
}

async fn apply(host: &Host, observer: &dyn Observer, desktop: HostDesktop) -> Heard {
    let number = desktop.number;
    // Seen before it is judged: a start that is left out of that looks here when it
    // is over.
    host.note(|seen| {
        seen.strays.remove(&number);
        if is_over(&desktop) {
            seen.desktops.remove(&number);
        } else if seen.desktops.len() < MOST_DESKTOPS {
            seen.desktops.insert(number, desktop.clone());
        }
    });
    let heard = observer.changed(&host.name, &desktop).await;
    if heard == Heard::Stray {
        host.note(|seen| {
            if seen.desktops.contains_key(&number) {
                seen.strays.insert(number);
            }
        });
    }
    heard
}

fn is_over(desktop: &HostDesktop) -> bool {
    matches!(desktop.state(), DesktopState::Gone | DesktopState::Failed)
}

/// Everything up to `synced`, and the place to go on from. What is `known` from
/// an earlier line still holds if this one goes on where that broke off.
async fn first(
    events: &mut Streaming<HostDesktopEvent>,
    known: BTreeMap<u32, HostDesktop>,
) -> Result<(BTreeMap<u32, HostDesktop>, String), LinkError> {
    let mut desktops = BTreeMap::new();
    loop {
        let event =
            events.message().await.map_err(|status| call_failed("WatchDesktops", &status))?;
        let HostDesktopEvent { event, position } = event.ok_or(LinkError::Ended)?;
        match event {
            Some(Event::Resumed(_)) => desktops.clone_from(&known),
            Some(Event::Desktop(desktop)) => {
                desktops.insert(desktop.number, desktop);
                if desktops.len() > MOST_DESKTOPS {
                    return Err(LinkError::TooMany);
                }
            }
            Some(Event::Synced(_)) => return Ok((desktops, position)),
            None => {}
        }
    }
}

fn report_strays(host: &Host, strays: &BTreeSet<u32>) {
    if !strays.is_empty() {
        tracing::warn!(host.name = %host.name, numbers = ?strays, "a host runs desktops this cluster does not know");
    }
}

/// Versions a host can start.
pub(super) async fn images(agent: &mut Agent) -> Result<Vec<ImageVersion>, LinkError> {
    const WITHIN: Duration = Duration::from_secs(5);
    let call = agent.list_images(ListImagesRequest {});
    let answer = timeout(WITHIN, call).await;
    let answer = answer.map_err(|_| LinkError::Silent { call: "ListImages", within: WITHIN })?;
    answer
        .map(|response| response.into_inner().images)
        .map_err(|status| call_failed("ListImages", &status))
}

fn call_failed(call: &'static str, status: &Status) -> LinkError {
    LinkError::Call { call, message: describe(status) }
}
