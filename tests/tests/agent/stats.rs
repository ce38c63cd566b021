//! What a desktop is doing, told while it does it.

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    DesktopLogRequest, DesktopProcess, DesktopProcessesRequest, DesktopStats, DesktopStatsRequest,
    Limits, StartHostDesktopRequest, WatchDesktopStatsRequest,
};
use rolltop_tests::{
    agent::Agent,
    client::{self, Stats},
};
use tonic::Code;

use crate::stage::{Stage, demo, eventually, exec, get as get_desktop, host, shell};

/// A name and a command line that try to be something else, from a process of
/// the user; it sleeps for as long as the desktop lives.
const HOSTILE: &str = r#"cp /bin/sleep "/tmp/x) R 1 1"; cd /tmp
  (exec -a "$(printf 'evil\nroot 1 \033[2J\377')" "/tmp/x) R 1 1" 1000) > /dev/null 2>&1 < /dev/null &"#;

/// A session that says what it is told to, one line each time, or counts.
const SPEAKING: &str = r#"mkfifo /tmp/say
  (while :; do
    read -r line < /tmp/say && case "$line" in count*) seq ${line#count };; *) echo "$line";; esac
  done) & exec /usr/local/bin/rolltop-session"#;

pub(crate) async fn what_a_desktop_uses_is_told(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    let unknown = stats.get_desktop_stats(of(9)).await;
    ensure!(unknown.err().map(|status| status.code()) == Some(Code::NotFound));
    let limits = Limits { memory_mib: 1024, pids: 500, ..Limits::default() };
    client::start(&mut api, StartHostDesktopRequest { limits: Some(limits), ..demo(1) }).await?;

    let first = get(&mut stats).await?;
    ensure!(first.limits == Some(limits) && first.at.is_some(), "{first:?}");
    ensure!(first.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{first:?}");
    ensure!(first.memory_peak_bytes >= first.memory_bytes.map(|bytes| bytes / 2), "{first:?}");
    ensure!(first.pids.is_some_and(|pids| pids > 2), "{first:?}");
    ensure!(first.disk_size_bytes.is_some_and(|bytes| bytes >= 200 << 20), "{first:?}");
    ensure!(first.disk_used_bytes.is_some_and(|bytes| bytes > 0), "{first:?}");

    // Each thing it does shows in the number for it.
    let ping = "for i in $(seq 5); do echo x > /dev/udp/10.77.255.254/9; done";
    let (said, code) = exec(&mut api, 1, false, &format!("bash -c '{ping}'")).await?;
    ensure!(code == 0, "{said}");
    shell(&mut api, 1, "head -c 20M /dev/urandom > ~/file && sync ~/file").await?;
    shell(&mut api, 1, "head -c 200M /dev/zero > /dev/shm/x && rm /dev/shm/x").await?;
    let then = get(&mut stats).await?;
    ensure!(then.network_sent_bytes > first.network_sent_bytes, "{first:?} {then:?}");
    ensure!(then.network_received_bytes.is_some());
    let more = then.disk_used_bytes.zip(first.disk_used_bytes).map(|(then, first)| then - first);
    ensure!(more.is_some_and(|bytes| bytes >= 20 << 20), "{more:?}");
    ensure!(then.memory_peak_bytes.is_some_and(|bytes| bytes >= 200 << 20), "{then:?}");
    ensure!(nanos(&then) > nanos(&first), "{then:?}");

    // A stream goes on as asked for and ends with the desktop.
    let hasty = WatchDesktopStatsRequest {
        number: 1,
        interval: Some(Duration::from_millis(10).try_into()?),
        ..Default::default()
    };
    let refused = stats.watch_desktop_stats(hasty.clone()).await;
    ensure!(refused.err().map(|status| status.code()) == Some(Code::InvalidArgument));
    let every = Some(Duration::from_secs(1).try_into()?);
    let watch = WatchDesktopStatsRequest { interval: every, ..hasty };
    let mut told = stats.watch_desktop_stats(watch).await?.into_inner();
    for _ in 0..2 {
        told.message().await?.context("it ends too early")?;
    }
    client::stop(&mut api, 1, 1).await?;
    while told.message().await?.is_some() {}
    let over = stats.get_desktop_stats(of(1)).await;
    ensure!(over.err().map(|status| status.code()) == Some(Code::NotFound));
    agent.purge().await
}

pub(crate) async fn hostile_processes_are_listed_as_they_are(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    client::start(&mut api, demo(1)).await?;
    client::start(&mut api, demo(2)).await?;
    shell(&mut api, 1, &format!("bash -c '{}'", HOSTILE.replace('\'', r"'\''"))).await?;
    let mut evil = None;
    eventually("the hostile one is there", async || {
        let list = processes(&mut stats, 1).await?;
        // It sleeps, whatever its name says; at first it runs.
        evil = list.into_iter().find(|process| process.name == "x) R 1 1" && process.state == "S");
        Ok(evil.is_some())
    })
    .await?;
    let evil = evil.context("it is there")?;
    ensure!(evil.uid == 1000 && evil.pid > 1, "{evil:?}");
    ensure!(evil.command[0].starts_with("evil\nroot 1 \u{1b}[2J"), "{evil:?}");
    ensure!(evil.command[1] == "1000", "{evil:?}");

    let list = processes(&mut stats, 1).await?;
    let init = list.first().context("none")?;
    ensure!(init.pid == 1 && init.parent_pid == 0 && init.uid == 0, "{init:?}");
    ensure!(list.iter().any(|process| process.name.contains("vnc")), "no display server: {list:?}");
    // As the desktop itself has them.
    let own = shell(&mut api, 1, "ps -e -o pid= -o uid= -o comm= | sort -n").await?;
    for line in own.lines().filter(|line| line.contains("jwm")) {
        let mut words = line.split_whitespace();
        let (pid, uid) = (words.next().context("pid")?, words.next().context("uid")?);
        let there = |process: &&DesktopProcess| process.pid.to_string() == pid;
        let told = list.iter().find(there).with_context(|| format!("{line} is missing"))?;
        ensure!(told.uid.to_string() == uid && told.name == "jwm", "{told:?}, not {line}");
    }
    // Those of the neighbour are not among them.
    let other = processes(&mut stats, 2).await?;
    ensure!(!other.iter().any(|process| process.name == "x) R 1 1"), "{other:?}");

    let most = DesktopProcessesRequest { number: 1, max: 2, ..Default::default() };
    let few = stats.list_desktop_processes(most).await?.into_inner();
    ensure!(few.processes.len() == 2 && few.more, "{few:?}");
    agent.purge().await
}

pub(crate) async fn a_sessions_output_is_kept_and_followed(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut stats) = (agent.api().await?, agent.stats().await?);
    let image = stage.session("speaks", SPEAKING)?;
    client::start(&mut api, StartHostDesktopRequest { image, ..demo(1) }).await?;
    let say = |text: &str| format!("echo '{text}' > /tmp/say");
    let last = DesktopLogRequest { number: 1, lines: 1, ..Default::default() };
    // One after the other: what comes before it has closed the pipe is lost.
    for words in ["first words", "second words"] {
        shell(&mut api, 1, &say(words)).await?;
        let said = format!("{words}\n");
        eventually("it was said", async || Ok(read(&mut stats, last.clone()).await? == said))
            .await?;
    }
    let all = DesktopLogRequest { lines: 0, ..last.clone() };
    ensure!(read(&mut stats, all.clone()).await?.contains("first words\nsecond words\n"));

    let follow = DesktopLogRequest { follow: true, ..last };
    let mut chunks = stats.read_desktop_log(follow).await?.into_inner();
    let mut heard = String::new();
    while !heard.contains("second words\n") {
        let chunk = chunks.message().await?.context("it ends too early")?;
        heard.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    shell(&mut api, 1, &say("third words")).await?;
    while !heard.contains("third words\n") {
        let chunk = chunks.message().await?.context("it ends too early")?;
        heard.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    // Much at once: followers hear the end of it, who comes later only that.
    shell(&mut api, 1, &say("count 800000")).await?;
    while !heard.ends_with("\n800000\n") {
        let chunk = chunks.message().await?.context("it ends too early")?;
        heard.push_str(&String::from_utf8_lossy(&chunk.data));
    }
    let log = agent.settings().desktops().join("1/shared/session.log");
    let held = || anyhow::Ok(log.metadata()?.blocks() * 512);
    eventually("little is held", async || Ok(held()? <= 1 << 20)).await?;
    let kept = read(&mut stats, all.clone()).await?;
    ensure!(kept.ends_with("\n799999\n800000\n") && kept.len() > 500_000, "{}", kept.len());
    ensure!(!kept.contains("words") && kept.lines().all(|line| line.len() == 6), "holes or pieces");
    // It ends with the desktop.
    client::stop(&mut api, 1, 1).await?;
    while chunks.message().await?.is_some() {}
    agent.purge().await
}

pub(crate) async fn a_session_can_write_while_there_is_no_agent(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let image = stage.session("speaks", SPEAKING)?;
    client::start(&mut api, StartHostDesktopRequest { image, ..demo(1) }).await?;
    shell(&mut api, 1, "until [ -p /tmp/say ]; do sleep 0.05; done").await?;
    let pipe = format!("/proc/{}/root/tmp/say", get_desktop(&mut api, 1).await?.init_pid);
    let settings = agent.end().await?;
    // More than there is room for; it goes on all the same.
    let log = settings.desktops().join("1/shared/session.log");
    for words in ["count 5000000", "still here"] {
        host("sh", &["-c", &format!("echo '{words}' > {pipe}")])?;
    }
    ensure!(log.metadata()?.blocks() * 512 <= 16 << 20, "the host's memory can be filled");
    let agent = Agent::start(settings).await?;
    let mut stats = agent.stats().await?;
    eventually("the next agent has made room", async || {
        Ok(log.metadata()?.blocks() * 512 <= 1 << 20)
    })
    .await?;
    host("sh", &["-c", &format!("echo 'heard again' > {pipe}")])?;
    let last = DesktopLogRequest { number: 1, lines: 1, ..Default::default() };
    // In the line, perhaps, in the midst of which there was no room any more.
    eventually("it is heard again", async || {
        Ok(read(&mut stats, last.clone()).await?.ends_with("heard again\n"))
    })
    .await?;
    agent.purge().await
}

fn of(number: u32) -> DesktopStatsRequest {
    DesktopStatsRequest { number, ..Default::default() }
}

async fn get(stats: &mut Stats) -> anyhow::Result<DesktopStats> {
    Ok(stats.get_desktop_stats(of(1)).await?.into_inner())
}

async fn processes(stats: &mut Stats, number: u32) -> anyhow::Result<Vec<DesktopProcess>> {
    let request = DesktopProcessesRequest { number, ..Default::default() };
    Ok(stats.list_desktop_processes(request).await?.into_inner().processes)
}

async fn read(stats: &mut Stats, request: DesktopLogRequest) -> anyhow::Result<String> {
    let mut chunks = stats.read_desktop_log(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        bytes.extend(chunk.data);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn nanos(stats: &DesktopStats) -> Option<i64> {
    let time = stats.cpu_time.as_ref()?;
    Some(time.seconds * 1_000_000_000 + i64::from(time.nanos))
}
