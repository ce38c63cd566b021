//! Why a desktop has ended is told truthfully.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{DesktopState, HostDesktop, Limits, StartHostDesktopRequest};
use rolltop_tests::{client, client::Api};

use crate::stage::{Stage, attempt, demo, exec, gone, last_word};

const MEMORY_MIB: i64 = 200;
/// Takes all the memory there is: tail keeps what it reads until a line ends,
/// which zeros never do.
const HOG: &str = "tail /dev/zero";

/// What the menu's entry does, as soon as the window manager heeds it.
const LOG_OUT: &str = "export XAUTHORITY=$XDG_RUNTIME_DIR/Xauthority; until pidof jwm; do sleep 0.05; done; \
                       while pidof jwm; do jwm -display :1 -exit; sleep 0.05; done";
const BREAK: &str = "until pkill -KILL jwm; do sleep 0.05; done";

fn small() -> StartHostDesktopRequest {
    let limits = Limits { memory_mib: MEMORY_MIB, ..Limits::default() };
    StartHostDesktopRequest { limits: Some(limits), ..demo(1) }
}

fn ran_out_of_memory(last: &HostDesktop) -> anyhow::Result<()> {
    ensure!(last.end_reason == "OUT_OF_MEMORY", "{last:?}");
    let failure = last.failure.as_ref().context("no word about it")?;
    ensure!(failure.code == "OUT_OF_MEMORY", "{failure:?}");
    ensure!(failure.reason.contains("its limit is 200 MiB"), "{failure:?}");
    Ok(())
}

/// Runs a command of the user that may well be ended itself.
async fn provoke(api: &mut Api, command: &str) -> anyhow::Result<()> {
    exec(api, 1, false, command).await.map(|_| ())
}

pub(crate) async fn a_session_beyond_its_memory_is_told_so(stage: &Stage) -> anyhow::Result<()> {
    // Its first program takes too much once it is told to.
    let image = stage.session(
        "greedy",
        &format!(
            "Xvnc :1 -rfbport -1 -rfbunixpath $ROLLTOP_DISPLAY_SOCKET -SecurityTypes None & \
             until [ -e /tmp/go ]; do sleep 0.05; done; {HOG}; code=$?; kill $!; wait; exit $code"
        ),
    )?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, StartHostDesktopRequest { image, ..small() }).await?;
    let last = last_word(&mut api, 1, async |api| provoke(api, "touch /tmp/go").await).await?;
    ran_out_of_memory(&last)?;
    agent.purge().await
}

pub(crate) async fn a_display_killed_for_memory_is_told_so(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, small()).await?;
    // The kernel is made to choose it.
    let hog = format!("echo 1000 >/proc/$(pidof Xvnc)/oom_score_adj; exec {HOG}");
    let last = last_word(&mut api, 1, async |api| provoke(api, &hog).await).await?;
    ran_out_of_memory(&last)?;
    agent.purge().await
}

pub(crate) async fn a_kill_long_ago_is_no_reason(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, small()).await?;
    let (_, code) = exec(&mut api, 1, false, HOG).await?;
    ensure!(code == 128 + 9, "the limit did not hold: exit code {code}");
    let last = last_word(&mut api, 1, async |api| provoke(api, LOG_OUT).await).await?;
    ensure!(last.end_reason == "LOGOUT" && last.failure.is_none(), "{last:?}");
    agent.purge().await
}

pub(crate) async fn a_display_that_crashes_is_no_logout(stage: &Stage) -> anyhow::Result<()> {
    let image = demo_of_this_tree(stage)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, StartHostDesktopRequest { image, ..demo(1) }).await?;
    let last = last_word(&mut api, 1, async |api| provoke(api, "pkill -KILL Xvnc").await).await?;
    ensure!(last.end_reason == "SESSION_FAILED", "{last:?}");
    let failure = last.failure.context("no word about it")?;
    ensure!(failure.reason.starts_with("the session broke: its "), "{failure:?}");
    let said = failure.output_tail.iter().any(|line| line.contains("has broken"));
    ensure!(said, "the session's own words are missing: {failure:?}");
    agent.purge().await
}

/// On older kernels the agent depends on the session's word.
pub(crate) async fn the_demo_tells_of_its_end_itself(stage: &Stage) -> anyhow::Result<()> {
    let image = demo_of_this_tree(stage)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let cases = [(LOG_OUT, "LOGOUT"), (BREAK, "SESSION_FAILED")];
    for (epoch, (command, reason)) in (1..).zip(cases) {
        let request_id = format!("life {epoch}");
        let image = image.clone();
        client::start(&mut api, StartHostDesktopRequest { epoch, request_id, image, ..demo(1) })
            .await?;
        let last = last_word(&mut api, 1, async |api| provoke(api, command).await).await?;
        ensure!(last.end_reason == reason, "after `{command}`: {last:?}");
    }
    agent.purge().await
}

pub(crate) async fn too_little_memory_to_start_is_told(stage: &Stage) -> anyhow::Result<()> {
    let image = stage.session("gluttonous", HOG)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let desktop = attempt(&mut api, StartHostDesktopRequest { image, ..small() }).await?;
    ensure!(desktop.state() == DesktopState::Failed, "{desktop:?}");
    let failure = desktop.failure.context("a failure without a reason")?;
    ensure!(failure.code == "OUT_OF_MEMORY", "{failure:?}");
    ensure!(failure.reason.contains("its limit is 200 MiB"), "{failure:?}");
    gone(&mut api, 1).await?;
    agent.purge().await
}

/// The demo image with the session script as it is now, not as it was when the
/// image was built.
fn demo_of_this_tree(stage: &Stage) -> anyhow::Result<String> {
    let script = include_str!("../../../deploy/images/demo/files/usr/local/bin/rolltop-session");
    let run = "printf %s \"$0\" >/tmp/session && chmod +x /tmp/session && exec /tmp/session";
    stage.image("present", |manifest| {
        manifest.desktop.session.command = ["/bin/sh", "-c", run, script].map(str::to_owned).into();
    })
}
