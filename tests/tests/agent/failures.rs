//! What goes wrong inside a desktop is told to its user and harms nobody else.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{DesktopState, Failure, Limits, Phase};
use rolltop_tests::{
    agent::Agent,
    client::{self, Api},
};

use crate::stage::{Stage, attempt, demo, exec, shell};

async fn fails(api: &mut Api, image: String) -> anyhow::Result<Failure> {
    let mut request = demo(1);
    request.request_id = image.clone();
    request.image = image;
    let desktop = attempt(api, request).await?;
    ensure!(desktop.state() == DesktopState::Failed, "it came up");
    // The next one on the same host does.
    client::start(api, demo(2)).await?;
    client::stop(api, 2, 1).await?;
    desktop.failure.context("a failure without a reason")
}

pub(crate) async fn a_session_that_dies_tells_why(stage: &Stage) -> anyhow::Result<()> {
    let image = stage.session("dies", "echo one; echo no licence found >&2; exit 3")?;
    let agent = stage.agent().await?;
    let failure = fails(&mut agent.api().await?, image).await?;
    ensure!(failure.code == "SESSION_ENDED_EARLY", "{failure:?}");
    ensure!(failure.phase() == Phase::Display, "{failure:?}");
    ensure!(failure.reason.contains("exit code 3"), "{failure:?}");
    ensure!(failure.output_tail == ["one", "no licence found"], "{failure:?}");
    agent.purge().await
}

pub(crate) async fn an_image_without_its_session_command(stage: &Stage) -> anyhow::Result<()> {
    let image = stage.image("empty", |manifest| {
        manifest.desktop.session.command = vec!["/usr/bin/no-such-session".into()];
    })?;
    let agent = stage.agent().await?;
    let failure = fails(&mut agent.api().await?, image).await?;
    let said = format!("{} {}", failure.reason, failure.output_tail.join(" "));
    ensure!(
        said.contains("no-such-session") || failure.code == "SESSION_COMMAND_MISSING",
        "{failure:?}"
    );
    agent.purge().await
}

pub(crate) async fn a_display_that_never_answers(stage: &Stage) -> anyhow::Result<()> {
    let image = stage.session("silent", "echo waiting for nothing; exec sleep 1000")?;
    let mut settings = stage.settings()?;
    settings.display_ms = Some(700);
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.image = image;
    let failure = attempt(&mut api, request).await?.failure.context("it came up")?;
    ensure!(failure.code == "DISPLAY_TIMEOUT", "{failure:?}");
    ensure!(failure.output_tail == ["waiting for nothing"], "{failure:?}");
    agent.purge().await
}

pub(crate) async fn a_display_that_is_something_else(stage: &Stage) -> anyhow::Result<()> {
    // A link where the socket should be, aimed at a socket of the host.
    let image = stage.session(
        "liar",
        "ln -s /run/rolltop/agent.sock $ROLLTOP_DISPLAY_SOCKET; exec sleep 1000",
    )?;
    let agent = stage.agent().await?;
    let failure = fails(&mut agent.api().await?, image).await?;
    ensure!(failure.code == "DISPLAY_FAILED", "{failure:?}");
    ensure!(failure.reason.contains("no socket"), "{failure:?}");
    agent.purge().await
}

pub(crate) async fn a_memory_hog_hurts_only_itself(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.limits = Some(Limits { memory_mib: 200, pids: 60, ..Limits::default() });
    client::start(&mut api, request).await?;
    client::start(&mut api, demo(2)).await?;
    // tail keeps what it reads until a line ends: zeros never do.
    let (_, code) = exec(&mut api, 1, false, "tail /dev/zero").await?;
    ensure!(code == 128 + 9, "the limit did not hold: exit code {code}");
    let (_, code) = exec(&mut api, 1, false, "for i in $(seq 100); do sleep 5 & done").await?;
    ensure!(code != 0, "a hundred processes were begun where sixty are allowed");
    let busy = shell(&mut api, 2, "echo fine").await?;
    ensure!(busy == "fine\n", "the neighbour suffers");
    for number in [1, 2] {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await
}
