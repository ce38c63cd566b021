//! Streams of changes.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    DesktopState, HostDesktop, HostDesktopEvent, WatchHostDesktopsRequest,
    host_desktop_event::Event,
};
use rolltop_tests::client::{self, Api};
use tonic::Streaming;

use crate::{
    crashes::murder,
    stage::{Stage, attempt, demo},
};

pub(crate) async fn a_watcher_misses_nothing(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let mut events = api.watch_desktops(WatchHostDesktopsRequest::default()).await?.into_inner();
    let mut next = async || events.message().await?.and_then(|e| e.event).context("no event");
    ensure!(matches!(next().await?, Event::Desktop(d) if d.number == 1), "the present comes first");
    ensure!(matches!(next().await?, Event::Synced(true)), "then the word that it is complete");
    let mut starter = api.clone();
    let (started, seen) = tokio::join!(async { attempt(&mut starter, demo(2)).await }, async {
        let mut states = Vec::new();
        while states.last() != Some(&DesktopState::Running) {
            if let Event::Desktop(desktop) = next().await?
                && desktop.number == 2
            {
                states.push(desktop.state());
            }
        }
        anyhow::Ok(states)
    });
    started?;
    let mut states = seen?;
    states.dedup();
    let expected = [DesktopState::Preparing, DesktopState::Starting, DesktopState::Running];
    ensure!(states.ends_with(&expected), "{states:?}");
    for number in [1, 2] {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await
}

pub(crate) async fn a_stream_goes_on_where_one_broke_off(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let mut events = watch(&mut api, "").await?;
    let first = next(&mut events).await?;
    ensure!(first.position.is_empty(), "the present is not all told yet: {first:?}");
    let synced = next(&mut events).await?;
    ensure!(matches!(synced.event, Some(Event::Synced(true))), "{synced:?}");
    drop(events);

    // Nobody watches a whole life, and the beginning of an end.
    client::start(&mut api, demo(2)).await?;
    client::stop(&mut api, 2, 1).await?;
    let mut events = watch(&mut api, &synced.position).await?;
    let resumed = next(&mut events).await?;
    ensure!(matches!(resumed.event, Some(Event::Resumed(true))), "{resumed:?}");
    let (mut states, mut place) = (Vec::new(), String::new());
    loop {
        let event = next(&mut events).await?;
        place.clone_from(&event.position);
        match event.event {
            Some(Event::Desktop(HostDesktop { number: 2, state, .. })) => {
                states.push(DesktopState::try_from(state)?);
            }
            Some(Event::Synced(true)) => break,
            other => anyhow::bail!("nothing of this was missed: {other:?}"),
        }
    }
    states.dedup();
    let life = [
        DesktopState::Preparing,
        DesktopState::Starting,
        DesktopState::Running,
        DesktopState::Stopping,
        DesktopState::Gone,
    ];
    ensure!(states.ends_with(&life), "{states:?}");
    drop(events);

    // No other agent knows the place, nor does any know nonsense: both begin anew.
    murder(agent).await?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    for place in [place.as_str(), "nonsense", "-1"] {
        let mut events = watch(&mut api, place).await?;
        let first = next(&mut events).await?.event;
        ensure!(
            matches!(&first, Some(Event::Desktop(desktop)) if desktop.number == 1),
            "after {place:?} came {first:?}"
        );
    }
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

async fn watch(api: &mut Api, after: &str) -> anyhow::Result<Streaming<HostDesktopEvent>> {
    let request = WatchHostDesktopsRequest { after: after.into() };
    Ok(api.watch_desktops(request).await?.into_inner())
}

async fn next(events: &mut Streaming<HostDesktopEvent>) -> anyhow::Result<HostDesktopEvent> {
    events.message().await?.context("the agent hung up")
}
