//! A tag that moves, and desktops that follow it: an operator at the command
//! line, people with desktops of the version before, one of them looking on.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail, ensure};
use futures_util::StreamExt as _;
use rolltop_image::Published;
use rolltop_proto::v1::{
    Desktop, DesktopState, HostDesktopEvent, WatchHostDesktopsRequest, host_desktop_event::Event,
};
use rolltop_tests::{
    broker::Caller,
    gateway::Socket,
    patience::{on_this_machine, slowness},
};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tonic::Streaming;

use crate::{
    broker::{House, desktops, start},
    stage::{Stage, eventually, shell},
};

const POOL: &str = "demo-keep";
/// A display that has closed, and all that leads there.
const SOON: Duration = Duration::from_secs(20);

/// An operator, and people who have desktops of [`POOL`].
struct Story<'a> {
    stage: &'a Stage,
    house: House,
    people: [Caller; 3],
}

impl<'a> Story<'a> {
    /// Everybody has a desktop, with something of theirs in it.
    async fn begin(stage: &'a Stage) -> anyhow::Result<Self> {
        let (house, people) = House::with_people(stage, ["ben", "cleo", "dora"]).await?;
        let mut story = Self { stage, house, people };
        for person in &mut story.people {
            let desktop = start(person, POOL).await?;
            ensure!(desktop.version == stage.original().version.as_str(), "{desktop:?}");
            let mut api = story.house.agent.api().await?;
            shell(&mut api, desktop.number, "id -un >~/mine").await?;
        }
        ensure!(story.pool().await? == (3, 0), "nothing is behind yet");
        Ok(story)
    }

    /// How many run, and how many of these are behind.
    async fn pool(&self) -> anyhow::Result<(u64, u64)> {
        let pool = self.json(&["pool", "show", POOL]).await?;
        Ok((
            pool["running"].as_u64().context("running")?,
            pool["behind"].as_u64().context("behind")?,
        ))
    }

    /// What the command line says for programs.
    async fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let said = self.house.told(&[words, &["--output", "json"]].concat()).await?;
        Ok(serde_json::from_str(&said)?)
    }

    async fn rollout(&self, words: &[&str]) -> anyhow::Result<Value> {
        self.json(&[&["pool", "rollout"], words].concat()).await
    }

    /// Moves the tag as an operator does, and waits until the pool knows of it.
    async fn tag(&self, version: &Published) -> anyhow::Result<()> {
        let reference = format!("{}@{}", version.name, version.version);
        let store = self.stage.dir().join("images");
        let store = store.to_str().context("a path that is no text")?;
        self.house.told(&["image", "tag", &reference, "stable", "--store", store]).await?;
        eventually("all desktops are behind", async || Ok(self.pool().await? == (3, 3))).await
    }

    /// What each has now, in the order of [`Story::people`].
    async fn desktops(&mut self) -> anyhow::Result<Vec<Desktop>> {
        let mut all = Vec::new();
        for person in &mut self.people {
            let mut own = desktops(person).await?;
            own.retain(|desktop| desktop.pool == POOL);
            all.push(own.pop().context("no desktop")?);
        }
        Ok(all)
    }

    /// Everybody runs that version, and has what was theirs before.
    async fn all_run(&mut self, version: &str) -> anyhow::Result<()> {
        let mut api = self.house.agent.api().await?;
        for desktop in self.desktops().await? {
            ensure!(desktop.state() == DesktopState::Running, "{desktop:?}");
            ensure!(desktop.version == version && !desktop.behind, "{desktop:?}");
            ensure!(desktop.ends_at.is_none(), "{desktop:?}");
            let own = shell(&mut api, desktop.number, "cat ~/mine").await?;
            ensure!(own.trim() == desktop.user, "{own} is of {}", desktop.user);
        }
        Ok(())
    }
}

/// Of the states the host told, those of each desktop in turn: never are more
/// than `batch` not running. How many came up.
async fn in_batches(
    mut told: Streaming<HostDesktopEvent>,
    batch: usize,
    until: usize,
) -> anyhow::Result<()> {
    let (mut states, mut came_up) = (BTreeMap::new(), 0);
    while came_up < until {
        let event =
            timeout(on_this_machine(SOON), told.message()).await??.context("the agent hung up")?;
        let Some(Event::Desktop(desktop)) = event.event else { continue };
        let state = desktop.state();
        let before = states.insert(desktop.label.clone(), state);
        if state == DesktopState::Running && before.is_some_and(|before| before != state) {
            came_up += 1;
        }
        let down = states.values().filter(|state| **state != DesktopState::Running).count();
        ensure!(down <= batch, "more than {batch} at a time: {states:?}");
    }
    Ok(())
}

/// The code and the reason that a display was closed with.
async fn closed(socket: &mut Socket) -> anyhow::Result<(u16, String)> {
    loop {
        match timeout(on_this_machine(SOON), socket.next()).await?.transpose()? {
            Some(Message::Close(Some(frame))) => {
                return Ok((frame.code.into(), frame.reason.to_string()));
            }
            Some(_) => {}
            None => bail!("it ended without a word"),
        }
    }
}

pub(crate) async fn desktops_come_to_what_their_tag_means(stage: &Stage) -> anyhow::Result<()> {
    let mut story = Story::begin(stage).await?;
    let [ben, ..] = &mut story.people;
    let mut bens_screen = story.house.broker.look(ben, POOL).await?;
    let next = stage.version("next", |manifest| {
        let command = "echo next >~/version; exec /usr/local/bin/rolltop-session";
        manifest.desktop.session.command = ["/bin/sh", "-c", command].map(str::to_owned).into();
    })?;
    story.tag(&next).await?;
    // What is started now has it; what runs goes on.
    let fresh = start(&mut story.house.anna, "demo").await?;
    ensure!((fresh.version.as_str(), fresh.behind) == ("next", false), "{fresh:?}");
    for desktop in story.desktops().await? {
        ensure!(desktop.state() == DesktopState::Running && desktop.behind, "{desktop:?}");
    }

    let mut api = story.house.agent.api().await?;
    let told = api.watch_desktops(WatchHostDesktopsRequest::default()).await?.into_inner();
    let batches = tokio::spawn(in_batches(told, 1, 3));
    // Time to look at what ben is told, and no more.
    let deadline = format!("{}s", 4 + slowness());
    let settings = ["--deadline", &deadline, "--warning", "1s", "--batch", "1"];
    let began = story.rollout(&[&["start", POOL], &settings[..]].concat()).await?;
    ensure!(
        (&began["total"], &began["connected"], &began["batch"])
            == (&3.into(), &1.into(), &1.into()),
        "{began}"
    );
    ensure!((&began["version"], &began["state"]) == (&"demo@next".into(), &"running".into()));
    eventually("ben is told the deadline", async || {
        let ben = story.desktops().await?.swap_remove(0);
        Ok(ben.ends_at.is_some() && ben.ends_because.contains("a new version"))
    })
    .await?;
    let status = story.house.told(&["pool", "rollout", "status", POOL, "--watch"]);
    let (watched, closed) = tokio::join!(status, closed(&mut bens_screen));
    watched?;
    let (code, why) = closed?;
    ensure!(code == 4002 && why.contains("the desktop was"), "{code} {why}");
    batches.await??;

    let done = story.rollout(&["status", POOL]).await?;
    ensure!((&done["state"], &done["restarted"]) == (&"done".into(), &3.into()), "{done}");
    story.all_run("next").await?;
    for desktop in story.desktops().await? {
        ensure!(shell(&mut api, desktop.number, "cat ~/version").await? == "next\n");
    }
    story.house.close().await
}

pub(crate) async fn a_version_that_does_not_start_costs_one_desktop(
    stage: &Stage,
) -> anyhow::Result<()> {
    let mut story = Story::begin(stage).await?;
    let broken = stage.version("broken", |manifest| {
        manifest.desktop.session.command = vec!["/bin/false".into()];
    })?;
    story.tag(&broken).await?;
    let began = story.rollout(&["start", POOL, "--warning", "0s", "--batch", "3"]).await?;
    ensure!(began["total"] == 3, "{began}");
    let watched = story.house.rolltop(&["pool", "rollout", "status", POOL, "--watch"]).await?;
    let said = String::from_utf8_lossy(&watched.stderr).into_owned();
    ensure!(!watched.status.success() && said.contains("rolltop pool rollout back"), "{said}");
    let halted = story.rollout(&["status", POOL]).await?;
    ensure!(
        (&halted["state"], &halted["failed"], &halted["behind"])
            == (&"halted".into(), &1.into(), &2.into()),
        "{halted}"
    );
    let failure = &halted["failures"][0];
    ensure!(failure["host"] == "host1" && failure["reason"] != "", "{halted}");
    let states = story.desktops().await?;
    let running = states.iter().filter(|desktop| desktop.state() == DesktopState::Running);
    ensure!(running.count() == 2, "{states:?}");

    let original = stage.original().version.to_string();
    let back = story.rollout(&["back", POOL]).await?;
    ensure!(back["image"] == format!("demo@{original}"), "{back}");
    story.house.told(&["pool", "rollout", "status", POOL, "--watch"]).await?;
    // The one that failed has what it had before, at the next start.
    for person in &mut story.people {
        start(person, POOL).await?;
    }
    story.all_run(&original).await?;

    // Forth again with the version mended, and back once more: from what runs.
    let mended = stage.version("mended", |_| {})?;
    story.house.told(&["pool", "set", POOL, "--image", "demo:stable"]).await?;
    story.tag(&mended).await?;
    let watch = ["pool", "rollout", "status", POOL, "--watch"];
    story.rollout(&["start", POOL, "--warning", "0s", "--batch", "100%"]).await?;
    story.house.told(&watch).await?;
    story.all_run("mended").await?;
    story.rollout(&["back", POOL]).await?;
    story.house.told(&watch).await?;
    story.all_run(&original).await?;
    story.house.close().await
}
