//! What sessions do: slow ones, those that leave programs behind, those that
//! stand still, and those that want everything.

use anyhow::ensure;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rolltop_proto::v1::{Limits, StartHostDesktopRequest, StopHostDesktopRequest};
use rolltop_tests::client;

use crate::stage::{Stage, demo, eventually, exec, get, gone, last_word, shell};

/// A display server whose end the session's first program waits for.
const DISPLAY: &str =
    "Xvnc :1 -rfbport -1 -rfbunixpath $ROLLTOP_DISPLAY_SOCKET -SecurityTypes None";
const PIDS: i64 = 80;

pub(crate) async fn a_slow_boot_is_no_logout(stage: &Stage) -> anyhow::Result<()> {
    // Longer than the linger after which a lone init means a logout, with no
    // process of the session but a waiting one, which is replaced now and then.
    let slow = format!("for i in 1 2 3; do sh -c 'sleep 1'; done; exec {DISPLAY}");
    let image = stage.session("slow", &slow)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, StartHostDesktopRequest { image, ..demo(1) }).await?;
    shell(&mut api, 1, "pidof Xvnc").await?;
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

pub(crate) async fn what_a_session_leaves_running_keeps_its_desktop(
    stage: &Stage,
) -> anyhow::Result<()> {
    // One in a session of its own, one whose parents are gone: both are init's
    // children once the session's first program has ended.
    let left = "while [ ! -e /tmp/end ]; do sleep 0.05; done";
    let session = format!(
        "setsid sh -c '{left}' & sh -c \"(sh -c '{left}') & exit\"; echo $$ >/tmp/first; {DISPLAY}"
    );
    let image = stage.session("leaver", &session)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, StartHostDesktopRequest { image, ..demo(1) }).await?;
    shell(&mut api, 1, "pkill Xvnc").await?;
    eventually("the session's first program has ended", async || {
        Ok(exec(&mut api, 1, true, "kill -0 $(cat /tmp/first)").await?.1 != 0)
    })
    .await?;
    let children = shell(&mut api, 1, "pgrep -P 1 -c sh").await?;
    ensure!(children.trim() == "2", "init has {children} of what was left");
    ensure!(get(&mut api, 1).await?.end_reason.is_empty(), "it ends under what runs");
    let last =
        last_word(&mut api, 1, async |api| exec(api, 1, false, "touch /tmp/end").await.map(|_| ()))
            .await?;
    ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    agent.purge().await
}

pub(crate) async fn an_init_that_ends_is_told(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let init = Pid::from_raw(get(&mut api, 1).await?.init_pid);
    // Nothing inside can do it; on the host it takes root.
    let (_, code) = exec(&mut api, 1, true, "kill -KILL 1; kill -0 1").await?;
    ensure!(code == 0, "init is gone");
    let last = last_word(&mut api, 1, async |_| Ok(kill(init, Signal::SIGKILL)?)).await?;
    ensure!(last.end_reason == "INIT_EXITED", "{last:?}");
    agent.purge().await
}

pub(crate) async fn a_stopped_session_can_be_ended(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    // All of the user's, but for the shell that says so.
    exec(&mut api, 1, false, "kill -STOP -1").await?;
    let states = shell(&mut api, 1, "cut -d' ' -f3 /proc/$(pidof Xvnc)/stat").await?;
    ensure!(states == "T\n", "the display server is not stopped: {states}");
    ensure!(get(&mut api, 1).await?.end_reason.is_empty(), "standing still is no logout");
    // It cannot be asked: it is not asked for long, and killed.
    let grace = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    api.stop_desktop(StopHostDesktopRequest { number: 1, epoch: 1, grace }).await?;
    gone(&mut api, 1).await?;
    agent.purge().await
}

pub(crate) async fn a_fork_bomb_hurts_only_itself(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let limits = Some(Limits { memory_mib: 400, cpu_millis: 500, pids: PIDS, ..Limits::default() });
    client::start(&mut api, StartHostDesktopRequest { limits, ..demo(1) }).await?;
    client::start(&mut api, demo(2)).await?;
    let init = get(&mut api, 1).await?.init_pid;
    // One of a shell burns out: its shells end where they cannot fork.
    let bomb = "while (1) { defined fork or select undef, undef, undef, 0.01 }";
    shell(&mut api, 1, &format!("perl -e '{bomb}' >/dev/null 2>&1 </dev/null & exit 0")).await?;
    let group = format!("/{}/1", agent.settings().name);
    eventually("the bomb has reached the limit", async || Ok(processes(init, &group)? >= PIDS - 5))
        .await?;
    ensure!(processes(init, &group)? <= PIDS, "the limit does not hold");
    // The neighbour works, others can come, and the bomb can be taken away.
    ensure!(shell(&mut api, 2, "echo fine").await? == "fine\n");
    client::start(&mut api, demo(3)).await?;
    for number in [1, 2, 3] {
        client::stop(&mut api, number, 1).await?;
    }
    agent.purge().await
}

/// How many there are in the process namespace of `init`.
fn processes(init: i32, group: &str) -> anyhow::Result<i64> {
    let mut count = 0;
    let space = std::fs::read_link(format!("/proc/{init}/ns/pid"))?;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // Each may end any moment.
        let same = std::fs::read_link(path.join("ns/pid")).is_ok_and(|theirs| theirs == space);
        let grouped = std::fs::read_to_string(path.join("cgroup"))
            .is_ok_and(|text| text.lines().any(|line| line.contains(group)));
        if same && grouped {
            count += 1;
        }
    }
    Ok(count)
}
