//! The agent may die at any instant.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rolltop_proto::v1::{ListHostDesktopsRequest, StartHostDesktopRequest};
use rolltop_tests::{agent::Agent, client, display};

use crate::stage::{Stage, attempt, demo, eventually, get, gone, kept, log_out, shell};

/// `kill -9`; its desktops run on.
pub(crate) async fn murder(agent: Agent) -> anyhow::Result<()> {
    let pid = i32::try_from(agent.pid()?)?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    drop(agent);
    eventually("the agent is dead", async || Ok(kill(Pid::from_raw(pid), None).is_err())).await
}

pub(crate) async fn desktops_outlive_a_killed_agent(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let before = client::start(&mut api, demo(1)).await?.desktop;
    client::start(&mut api, kept(2, 1, "alice")).await?;
    shell(&mut api, 2, "echo precious > ~/file").await?;
    murder(agent).await?;

    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let after = get(&mut api, 1).await.context("a living desktop was not adopted")?;
    ensure!(after.init_pid == before.init_pid && after.epoch == before.epoch, "{after:?}");
    ensure!(after.mac == before.mac && after.ip == before.ip, "{after:?}");
    ensure!(shell(&mut api, 2, "cat ~/file").await? == "precious\n");
    // The one watches for its logout, the other can be stopped.
    log_out(&mut api, 1).await?;
    gone(&mut api, 1).await?;
    client::stop(&mut api, 2, 1).await?;
    agent.purge().await
}

/// As a package's upgrade does: the old one is asked to end while people work,
/// and the new one starts.
pub(crate) async fn an_upgrade_under_fifty_desktops_ends_no_session(
    stage: &Stage,
) -> anyhow::Result<()> {
    const MANY: u32 = 50;
    let session = "exec Xvnc :1 -rfbport -1 -rfbunixpath $ROLLTOP_DISPLAY_SOCKET \
                   -SecurityTypes None -geometry 640x480";
    let image = stage.session("light", session)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut inits = Vec::new();
    let mut viewers = Vec::new();
    for number in 1..=MANY {
        let request = StartHostDesktopRequest { image: image.clone(), ..demo(number) };
        let desktop = client::start(&mut api, request).await?.desktop;
        inits.push((number, desktop.init_pid));
        viewers.push(display::connect(&mut api, number, 1).await?);
    }
    // Who looks on keeps it waiting for a while, and not for ever.
    let settings = agent.end().await?;
    drop(viewers);
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    for (number, init_pid) in inits {
        let after = get(&mut api, number).await?;
        ensure!(after.init_pid == init_pid, "desktop {number} was replaced");
        // Its display is there for the next viewer.
        drop(display::connect(&mut api, number, 1).await?);
    }
    for number in 1..=MANY {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await
}

pub(crate) async fn half_made_desktops_are_taken_away(stage: &Stage) -> anyhow::Result<()> {
    for moment_ms in [2, 6, 10, 15, 20, 30, 45, 60] {
        let agent = stage.agent().await?;
        let mut api = agent.api().await?;
        let starting = tokio::spawn(async move { attempt(&mut api, demo(1)).await });
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        murder(agent).await?;
        // Its connection broke.
        let _either = starting.await?;
        let agent = stage.agent().await?;
        let mut api = agent.api().await?;
        let there = api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner().desktops;
        // Killed late enough, the desktop was up.
        for desktop in &there {
            client::stop(&mut api, desktop.number, desktop.epoch).await?;
        }
        // The number is free again, and the machine fit for use.
        client::start(&mut api, kept(1, 9, "after")).await?;
        client::stop(&mut api, 1, 9).await?;
        agent.purge().await.with_context(|| format!("killed after {moment_ms} ms"))?;
    }
    Ok(())
}

pub(crate) async fn a_second_agent_does_not_disturb_the_first(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let second = Agent::start(stage.settings()?).await.err().context("a second agent serves")?;
    ensure!(format!("{second:#}").contains("another agent answers"), "{second:#}");
    let settings = agent.settings();
    let mut purge = Command::new(&settings.programs.agent);
    let purged = purge.arg("--config").arg(settings.config()).arg("purge").output()?;
    ensure!(!purged.status.success(), "a purge took a running agent's desktops away");
    shell(&mut api, 1, "true").await?;
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}
