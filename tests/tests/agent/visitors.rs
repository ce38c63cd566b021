//! Commands from outside come and go; the desktop is its user's.

use anyhow::{Context as _, bail, ensure};
use rolltop_proto::v1::{
    ExecExit, ExecRequest, ExecStart, StartHostDesktopRequest, TerminalSize, exec_request,
    exec_response,
};
use rolltop_tests::{client, client::Api};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::stage::{self, Stage, demo, exec, kept, last_word, shell};

/// Leaves a program running that no terminal or pipe holds.
const LEAVE: &str = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &";
pub(crate) async fn what_a_command_leaves_keeps_no_desktop(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    exec(&mut api, 1, false, LEAVE).await?;
    exec(&mut api, 1, true, &format!("{LEAVE} sleep 1000 & exit 0")).await?;
    let left = shell(&mut api, 1, "pidof sleep").await?;
    ensure!(left.split_whitespace().count() == 3, "what should be left: {left}");
    let last = last_word(&mut api, 1, log_out).await?;
    ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    agent.purge().await
}

/// A runtime binary's command is moved once it runs, so it alone is promised.
pub(crate) async fn a_command_of_any_runtime_keeps_no_desktop(stage: &Stage) -> anyhow::Result<()> {
    let settings = stage.settings()?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let others = settings.runtimes.keys().cloned();
    for (epoch, runtime) in (1..).zip(std::iter::once("builtin".to_owned()).chain(others)) {
        let request_id = format!("with {runtime}");
        client::start(
            &mut api,
            StartHostDesktopRequest { epoch, request_id, runtime: runtime.clone(), ..demo(1) },
        )
        .await?;
        let command = ["sleep", "1000"].map(str::to_owned).into();
        let start = ExecStart { number: 1, as_root: true, command, ..Default::default() };
        let (sender, requests) = mpsc::channel(8);
        let message = Some(exec_request::Message::Start(start));
        sender.send(ExecRequest { message }).await?;
        // Answered when the command runs, in its place.
        let _answers = api.exec(ReceiverStream::new(requests)).await?;
        let last = last_word(&mut api, 1, log_out).await.with_context(|| runtime)?;
        ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    }
    agent.purge().await
}

pub(crate) async fn a_shell_is_hung_up_when_the_desktop_ends(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let (sender, requests) = mpsc::channel(8);
    let start = ExecStart {
        number: 1,
        // An operator's: the session's own end does not reach it.
        as_root: true,
        terminal: Some(TerminalSize { columns: 80, rows: 24 }),
        ..Default::default()
    };
    let message = Some(exec_request::Message::Start(start));
    sender.send(ExecRequest { message }).await?;
    let mut answers = api.exec(ReceiverStream::new(requests)).await?.into_inner();
    let prompt = answers.message().await?.context("no prompt")?;
    ensure!(matches!(prompt.message, Some(exec_response::Message::Stdout(_))), "{prompt:?}");
    let last = last_word(&mut api, 1, log_out).await?;
    ensure!(last.end_reason == "LOGOUT", "{last:?}");
    let exit = loop {
        match answers.message().await?.and_then(|answer| answer.message) {
            Some(exec_response::Message::Exit(exit)) => break exit,
            Some(_) => {}
            None => bail!("the answer ended without the shell's end"),
        }
    };
    // Killed it would have been with 9.
    ensure!(exit == ExecExit { code: 128 + 1, signal: 1 }, "{exit:?}");
    agent.purge().await
}

pub(crate) async fn a_command_may_finish_when_its_user_logs_out(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "backup")).await?;
    // Root's: the session's own end does not reach it.
    let polite = "(trap 'echo saved >/root/work; exit' TERM; echo >/root/ready; \
                  while :; do sleep 0.1; done) >/dev/null 2>&1 </dev/null & \
                  until [ -e /root/ready ]; do sleep 0.05; done";
    exec(&mut api, 1, true, polite).await?;
    last_word(&mut api, 1, log_out).await?;
    client::start(&mut api, kept(1, 2, "backup")).await?;
    let (work, _) = exec(&mut api, 1, true, "cat /root/work").await?;
    ensure!(work == "saved\n", "it was not asked to end: {work}");
    client::stop(&mut api, 1, 2).await?;
    agent.purge().await
}

async fn log_out(api: &mut Api) -> anyhow::Result<()> {
    stage::log_out(api, 1).await
}
