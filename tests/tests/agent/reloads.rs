//! A changed configuration is taken up while desktops run, as far as it can be.

use std::fs;

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rolltop_proto::v1::{DesktopState, GetHostRequest};
use rolltop_tests::{
    agent::{Agent, Settings},
    client::{self, Api},
    exposition::Exposition,
    http,
};

use crate::stage::{Stage, demo, eventually, get};

pub(crate) async fn what_can_change_changes_and_the_rest_is_named(
    stage: &Stage,
) -> anyhow::Result<()> {
    let mut settings = stage.settings()?;
    settings.more = toml::toml! {
        max_desktops = 5
        start_lanes = 4

        [metrics]
        listen = "127.0.0.1:9743"

        [log]
        json = true
    };
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;

    // Both kinds at once: one holds, the other is named.
    change(
        &agent,
        &[("max_desktops = 5", "max_desktops = 1"), ("start_lanes = 4", "start_lanes = 2")],
    )?;
    change(&agent, &[("listen = \"127.0.0.1:9743\"", "listen = \"127.0.0.1:9744\"")])?;
    hang_up(&agent)?;
    reloaded("partly", 1.0).await?;
    ensure!(most(&mut api).await? == 1, "max_desktops does not hold");
    let now = read().await?;
    ensure!(now.value("rolltop_agent_lanes", &[])? == 2.0);
    ensure!(now.value("rolltop_agent_lanes_free", &[])? == 2.0);
    ensure!(logged(agent.settings(), "WARN")?.contains("metrics.listen"), "the key is not named");
    let refused = client::start(&mut api, demo(2)).await;
    ensure!(format!("{refused:?}").contains("max_desktops"), "{refused:?}");

    // A fault: nothing changes, not even what is right.
    change(&agent, &[("max_desktops = 1", "max_desktops = 3\nno_such_key = 1")])?;
    hang_up(&agent)?;
    reloaded("refused", 1.0).await?;
    ensure!(most(&mut api).await? == 1, "a faulty file was taken up");
    ensure!(read().await?.value("rolltop_agent_config_refused", &[])? == 1.0);
    ensure!(logged(agent.settings(), "ERROR")?.contains("no_such_key"), "the fault is not named");

    // All is well again; and the desktop has seen nothing of it.
    change(&agent, &[("\nno_such_key = 1", ""), ("127.0.0.1:9744", "127.0.0.1:9743")])?;
    hang_up(&agent)?;
    reloaded("taken", 1.0).await?;
    ensure!(most(&mut api).await? == 3);
    ensure!(read().await?.value("rolltop_agent_config_refused", &[])? == 0.0);
    ensure!(get(&mut api, 1).await?.state() == DesktopState::Running);
    client::start(&mut api, demo(2)).await?;

    // Each line of a desktop names it.
    let lines = fs::read_to_string(agent.settings().log())?;
    let line = lines.lines().find(|line| line.contains("\"running\"")).context("no such line")?;
    ensure!(line.starts_with('{') && line.contains("\"label\":\"test/user1\""), "{line}");
    ensure!(line.contains("\"number\":\"1\"") && line.contains("\"epoch\":1"), "{line}");
    agent.purge().await
}

fn change(agent: &Agent, parts: &[(&str, &str)]) -> anyhow::Result<()> {
    let path = agent.settings().config();
    let mut text = fs::read_to_string(&path)?;
    for (part, instead) in parts {
        ensure!(text.contains(part), "{part} is not in {text}");
        text = text.replacen(part, instead, 1);
    }
    Ok(fs::write(&path, text)?)
}

fn hang_up(agent: &Agent) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(agent.pid()?)?), Signal::SIGHUP)?)
}

async fn reloaded(outcome: &str, times: f64) -> anyhow::Result<()> {
    eventually(&format!("the configuration is {outcome}"), async || {
        Ok(read().await?.value("rolltop_agent_config_reloads_total", &[("outcome", outcome)])?
            == times)
    })
    .await
}

async fn read() -> anyhow::Result<Exposition> {
    Exposition::parse(&http::get("127.0.0.1:9743", "/metrics").await?)
}

async fn most(api: &mut Api) -> anyhow::Result<i64> {
    Ok(api.get_host(GetHostRequest {}).await?.into_inner().max_desktops)
}

/// The last line of this level.
fn logged(settings: &Settings, level: &str) -> anyhow::Result<String> {
    let lines = fs::read_to_string(settings.log())?;
    let mark = format!("\"level\":\"{level}\"");
    lines.lines().rfind(|line| line.contains(&mark)).map(str::to_owned).context("no such line")
}
