//! Up, work, down.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    ExecRequest, ExecStart, Phase, StopHostDesktopRequest, TerminalSize, exec_request,
    exec_response,
};
use rolltop_tests::{client, display, rfb::Viewer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::stage::{Stage, demo, eventually, exec, get, gone, host, last_word, log_out, shell};

pub(crate) async fn comes_up_is_worked_in_and_goes(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let desktop = client::start(&mut api, demo(300)).await?.desktop;
    ensure!(desktop.mac == "54:52:00:00:01:2c", "the MAC follows from the number: {}", desktop.mac);
    ensure!(desktop.ip == "10.77.1.44", "so does the IP: {}", desktop.ip);
    for phase in [Phase::Disk, Phase::Network, Phase::Container, Phase::Session, Phase::Display] {
        ensure!(client::phase(&desktop, phase).is_some(), "{phase:?} has no timing");
    }
    // The display draws.
    let stream = display::connect(&mut api, 300, 1).await?;
    Viewer::greet(stream).await?;

    let status = shell(&mut api, 300, "id -un; pwd; cat /proc/self/status; ip -o -4 addr").await?;
    for expected in [
        "user\n/home/user\n",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "10.77.1.44/16",
    ] {
        ensure!(status.contains(expected), "`{expected}` is not in: {status}");
    }
    let (output, code) = exec(&mut api, 300, false, "echo out; echo err >&2; exit 7").await?;
    ensure!(code == 7 && output.contains("out") && output.contains("err"), "{code}: {output}");
    let usage = get(&mut api, 300).await?.usage.context("no usage")?;
    ensure!(usage.memory_bytes > 0 && usage.pids > 1, "{usage:?}");

    client::stop(&mut api, 300, 1).await?;
    gone(&mut api, 300).await?;
    agent.purge().await
}

pub(crate) async fn a_logout_ends_it(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let last = last_word(&mut api, 1, async |api| log_out(api, 1).await).await?;
    ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    agent.purge().await
}

pub(crate) async fn a_stopped_session_is_asked_before_it_is_killed(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = crate::stage::kept(1, 1, "polite");
    client::start(&mut api, request.clone()).await?;
    let polite = "(trap 'echo saved > ~/work; exit' TERM; echo ready > ~/ready; while :; do sleep 0.1; done) \
                  > /dev/null 2>&1 < /dev/null &";
    shell(&mut api, 1, polite).await?;
    eventually("the program waits", async || {
        Ok(exec(&mut api, 1, false, "test -e ~/ready").await?.1 == 0)
    })
    .await?;
    let grace = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    api.stop_desktop(StopHostDesktopRequest { number: 1, epoch: 1, grace }).await?;
    request.epoch = 2;
    request.request_id = "again".into();
    client::start(&mut api, request).await?;
    let work = shell(&mut api, 1, "cat ~/work").await?;
    ensure!(work == "saved\n", "the program was not asked to end: {work}");
    client::stop(&mut api, 1, 2).await?;
    agent.purge().await
}

pub(crate) async fn ten_at_once_come_up(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let api = agent.api().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=10 {
        let mut api = api.clone();
        tasks.spawn(async move {
            client::start(&mut api, demo(number)).await?;
            client::stop(&mut api, number, 1).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    agent.purge().await
}

pub(crate) async fn any_oci_runtime_will_do(stage: &Stage) -> anyhow::Result<()> {
    let settings = stage.settings()?;
    if settings.runtimes.is_empty() {
        println!("skipped: runc is not installed");
        return Ok(());
    }
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.runtime = "runc".into();
    let desktop = client::start(&mut api, request).await?.desktop;
    ensure!(desktop.runtime == "runc", "{}", desktop.runtime);
    let status = shell(&mut api, 1, "id -un; cat /proc/self/status").await?;
    ensure!(status.starts_with("user\n") && status.contains("Seccomp:\t2"), "{status}");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

pub(crate) async fn a_directory_is_a_base_root_too(stage: &Stage) -> anyhow::Result<()> {
    // A published directory, whose files come from the demo's EROFS file.
    let root = stage.original().root.path().to_owned();
    let image = stage.image("tree", |manifest| {
        manifest.root = rolltop_image::RootKind::Directory;
    });
    ensure!(image.is_err(), "a manifest that does not fit its root must be refused");
    let versions = stage.dir().join("images/tree/versions");
    let version = std::fs::read_dir(&versions)?.next().context("no version")??.path();
    std::fs::remove_file(version.join("root.erofs"))?;
    std::fs::create_dir(version.join("root"))?;
    let (root, target) = (root.display().to_string(), version.join("root").display().to_string());
    host("mount", &["-t", "erofs", "-o", "ro,loop", &root, &target])?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.image = "tree:stable".into();
    let started = client::start(&mut api, request).await;
    let stopped = match &started {
        Ok(_) => client::stop(&mut api, 1, 1).await.map(|_| ()),
        Err(_) => Ok(()),
    };
    agent.purge().await?;
    host("umount", &[&target])?;
    started?;
    stopped
}

pub(crate) async fn a_terminal_is_real(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let (sender, requests) = mpsc::channel(8);
    let send = async |message| {
        sender.send(ExecRequest { message: Some(message) }).await.context("the agent hung up")
    };
    send(exec_request::Message::Start(ExecStart {
        number: 1,
        terminal: Some(TerminalSize { columns: 90, rows: 30 }),
        ..Default::default()
    }))
    .await?;
    let mut answers = api.exec(ReceiverStream::new(requests)).await?.into_inner();
    let mut seen = String::new();
    let mut until = async |word: &str| {
        while !seen.contains(word) {
            match answers.message().await?.and_then(|answer| answer.message) {
                Some(exec_response::Message::Stdout(bytes)) => {
                    seen.push_str(&String::from_utf8_lossy(&bytes));
                }
                Some(exec_response::Message::Exit(exit)) => {
                    seen.push_str(&format!("exit={}", exit.code))
                }
                _ => anyhow::bail!("the shell ended; it had said: {seen}"),
            }
        }
        anyhow::Ok(())
    };
    send(exec_request::Message::Stdin(b"tty; stty size\n".to_vec())).await?;
    until("/dev/pts/").await?;
    until("30 90").await?;
    send(exec_request::Message::Resize(TerminalSize { columns: 121, rows: 41 })).await?;
    send(exec_request::Message::Stdin(b"stty size\n".to_vec())).await?;
    until("41 121").await?;
    send(exec_request::Message::Stdin(b"exit 5\n".to_vec())).await?;
    until("exit=5").await?;
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}
