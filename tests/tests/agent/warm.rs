//! Desktops made ahead of their users.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    AssignHostDesktopRequest, DesktopState, FreezeHostDesktopRequest, HomeDirectorySpec, HomeSpec,
    HomeVolumeSpec, HostDesktop, Limits, SetHostDesktopLimitsRequest, StartHostDesktopRequest,
    home_spec, start_host_desktop_response::Message,
};
use rolltop_tests::{
    agent::Agent,
    client::{self, Api, assignment, warm},
    display,
    rfb::Viewer,
};
use tonic::Code;

use crate::{
    crashes::murder,
    orders::is_refused,
    stage::{Stage, demo, exec, get, gone, host, last_word, log_out, shell},
};

/// Who and where a desktop says it is.
const NAMES: &str = "id; pwd; hostname; cat /etc/hostname /etc/hosts /etc/machine-id; \
                     stat -c '%n %U:%G:%a' ~ ~/.[a-z]* /home /tmp /run /run/rolltop /run/user/*; \
                     getent passwd user; cut -d' ' -f2,3 /proc/mounts | sort";

pub(crate) async fn it_becomes_what_a_cold_start_makes(stage: &Stage) -> anyhow::Result<()> {
    let runtimes = stage.settings()?.runtimes;
    for runtime in ["builtin"].into_iter().chain(runtimes.keys().map(String::as_str)) {
        becomes_the_same(stage, StartHostDesktopRequest { runtime: runtime.into(), ..demo(1) })
            .await
            .with_context(|| format!("with runtime {runtime}"))?;
    }
    Ok(())
}

async fn becomes_the_same(stage: &Stage, request: StartHostDesktopRequest) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, request.clone()).await?;
    let cold = shell(&mut api, 1, NAMES).await?;
    client::stop(&mut api, 1, 1).await?;

    let request = StartHostDesktopRequest { request_id: "ahead".into(), ..warm(request) };
    let ahead = client::start(&mut api, request.clone()).await?.desktop;
    ensure!(ahead.state() == DesktopState::Warm && ahead.warm, "{ahead:?}");
    ensure!(ahead.account.is_none() && ahead.label == "test", "{ahead:?}");
    let again = client::start(&mut api, request).await?.desktop;
    ensure!(again.init_pid == ahead.init_pid, "a repeated request makes another");
    let usage = get(&mut api, 1).await?.usage.context("no usage")?;
    ensure!(usage.pids == 1, "init alone is in it: {usage:?}");
    // A whole life passes, to a logout that is found out.
    client::start(&mut api, demo(2)).await?;
    last_word(&mut api, 2, async |api| log_out(api, 2).await).await?;
    ensure!(get(&mut api, 1).await?.state() == DesktopState::Warm, "it is taken for logged out");
    let refused = exec(&mut api, 1, true, "true").await;
    ensure!(format!("{:?}", refused.err()).contains("is warm"), "a command may begin");
    let refused = display::connect(&mut api, 1, 1).await;
    ensure!(format!("{:?}", refused.err()).contains("is warm"), "a viewer is let in");

    let given = client::assign(&mut api, assignment(1, 2)).await?.desktop;
    ensure!(given.state() == DesktopState::Running && !given.warm && given.epoch == 2, "{given:?}");
    ensure!(given.init_pid == ahead.init_pid && given.label == "test/user1", "{given:?}");
    let names = shell(&mut api, 1, NAMES).await?;
    ensure!(names == cold, "warm: {names}\ncold: {cold}");
    Viewer::greet(display::connect(&mut api, 1, 2).await?).await?;
    let last = last_word(&mut api, 1, async |api| log_out(api, 1).await).await?;
    ensure!(last.end_reason == "LOGOUT", "{last:?}");
    agent.purge().await
}

pub(crate) async fn its_users_home_comes_with_the_user(stage: &Stage) -> anyhow::Result<()> {
    let homes = stage.dir().join("homes");
    fs::create_dir_all(homes.join("anna"))?;
    chown(homes.join("anna"), Some(1000), Some(1000))?;
    fs::set_permissions(homes.join("anna"), fs::Permissions::from_mode(0o700))?;
    let mut settings = stage.settings()?;
    settings.home_parents = vec![homes.clone()];
    let runtimes: Vec<String> = settings.runtimes.keys().cloned().collect();
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let volume = HomeVolumeSpec { name: "anna".into(), size_mib: 64 };
    let directory = HomeDirectorySpec { parent: homes.display().to_string(), name: "anna".into() };
    let mut epoch = 1;
    for runtime in ["builtin"].into_iter().chain(runtimes.iter().map(String::as_str)) {
        for kind in
            [home_spec::Kind::Volume(volume.clone()), home_spec::Kind::Directory(directory.clone())]
        {
            let what = format!("{runtime}, {kind:?}");
            let request = StartHostDesktopRequest { runtime: runtime.into(), ..demo(1) };
            begin(&mut api, request, epoch).await?;
            let home = Some(HomeSpec { kind: Some(kind) });
            let given = AssignHostDesktopRequest { home, ..assignment(1, epoch + 1) };
            client::assign(&mut api, given).await.with_context(|| what.clone())?;
            let script = format!("touch ~/{epoch} && ls ~; stat -c %U:%a ~; grep ~ /proc/mounts");
            let said = shell(&mut api, 1, &script).await?;
            ensure!(said.contains("user:700") && said.contains("nosuid"), "{what}: {said}");
            let earlier = epoch.checked_sub(4).filter(|_| epoch > 4);
            if let Some(earlier) = earlier {
                ensure!(said.lines().any(|line| line == earlier.to_string()), "{what}: {said}");
            }
            let (_, refused) = exec(&mut api, 1, true, "umount /home/user").await?;
            ensure!(refused != 0, "{what}: a desktop may take its home away");
            client::stop(&mut api, 1, epoch + 1).await?;
            epoch += 2;
        }
    }
    ensure!(homes.join("anna/3").exists(), "written elsewhere");

    // One that has no home ends: it had a user, if only for a moment.
    begin(&mut api, demo(1), epoch).await?;
    let kind = home_spec::Kind::Directory(HomeDirectorySpec { name: "bob".into(), ..directory });
    let home = Some(HomeSpec { kind: Some(kind) });
    let given = AssignHostDesktopRequest { home, ..assignment(1, epoch + 1) };
    let error = client::assign(&mut api, given).await.err().context("it has a home")?;
    ensure!(format!("{error:#}").contains("HOME_MISSING"), "{error:#}");
    gone(&mut api, 1).await?;
    agent.purge().await
}

pub(crate) async fn it_is_given_to_one_user(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let none = api.assign_desktop(assignment(1, 6)).await;
    is_refused(none, Code::NotFound, "DESKTOP_UNKNOWN")?;
    let kept = crate::stage::kept(1, 5, "alice");
    let refused = api.start_desktop(warm(kept)).await;
    ensure!(format!("{:?}", refused.as_ref().err()).contains("a kept overlay is its user's"));
    is_refused(refused, Code::InvalidArgument, "INVALID_ARGUMENT")?;
    begin(&mut api, demo(1), 5).await?;
    let old = api.assign_desktop(assignment(1, 5)).await;
    is_refused(old, Code::FailedPrecondition, "STALE_EPOCH")?;
    let other = AssignHostDesktopRequest { warm_epoch: 4, ..assignment(1, 6) };
    is_refused(api.assign_desktop(other).await, Code::FailedPrecondition, "NOT_WARM")?;

    // Two at once, and each twice: one gets it.
    let of = |name: &str, epoch| {
        let mut request = AssignHostDesktopRequest { request_id: name.into(), ..assignment(1, 6) };
        request.epoch = epoch;
        if let Some(account) = &mut request.account {
            account.name = name.into();
        }
        request
    };
    let try_to = |request: AssignHostDesktopRequest| {
        let mut api = api.clone();
        async move { client::assign(&mut api, request).await }
    };
    let (anna, again, bob) =
        tokio::join!(try_to(of("anna", 6)), try_to(of("anna", 6)), try_to(of("bob", 7)));
    let (winner, epoch) = if bob.is_ok() { ("bob", 7) } else { ("anna", 6) };
    ensure!(anna.is_ok() != bob.is_ok() && anna.is_ok() == again.is_ok(), "{anna:?} {bob:?}");
    ensure!(shell(&mut api, 1, "id -un").await?.trim() == winner);
    // Whoever knows it as it was when it was warm has no say any more.
    let warm_epoch = client::stop(&mut api, 1, 5).await;
    ensure!(format!("{:?}", warm_epoch.err()).contains("is over"), "an old epoch ends it");
    client::stop(&mut api, 1, epoch).await?;
    agent.purge().await
}

pub(crate) async fn it_outlives_a_killed_agent(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    begin(&mut api, demo(1), 1).await?;
    let frozen = api.freeze_desktop(FreezeHostDesktopRequest { number: 1, epoch: 1 }).await;
    is_refused(frozen, Code::FailedPrecondition, "NOT_RUNNING")?;
    let limits = Limits { pids: 400, ..Limits::default() };
    let change = SetHostDesktopLimitsRequest { number: 1, epoch: 1, limits: Some(limits) };
    ensure!(api.set_desktop_limits(change).await?.into_inner().state() == DesktopState::Warm);
    murder(agent).await?;

    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let adopted = get(&mut api, 1).await?;
    ensure!(adopted.state() == DesktopState::Warm && adopted.warm, "{adopted:?}");
    ensure!(adopted.limits == Some(limits), "{adopted:?}");
    let given = client::assign(&mut api, assignment(1, 2)).await?.desktop;
    ensure!(given.init_pid == adopted.init_pid && given.limits == Some(limits), "{given:?}");
    let many =
        "for i in $(seq 500); do sleep 1000 >/dev/null 2>&1 & p=\"$p $!\"; done; kill $p; wait";
    let (said, _) = exec(&mut api, 1, false, many).await?;
    ensure!(said.contains("fork"), "the limit does not hold: {said}");
    murder(agent).await?;

    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let adopted = get(&mut api, 1).await?;
    ensure!(adopted.state() == DesktopState::Running && adopted.epoch == 2, "{adopted:?}");
    client::stop(&mut api, 1, 2).await?;

    // Its end without a user: asked for, and by itself.
    begin(&mut api, demo(1), 3).await?;
    let last = last_word(&mut api, 1, async |api| client::stop(api, 1, 3).await.map(drop)).await?;
    ensure!(last.end_reason == "STOPPED" && last.warm, "{last:?}");
    let ahead = begin(&mut api, demo(1), 5).await?;
    let pid = ahead.init_pid.to_string();
    let last = last_word(&mut api, 1, async |_| host("kill", &["-9", &pid])).await?;
    ensure!(last.end_reason == "INIT_EXITED", "{last:?}");
    // And with the agent's whole state.
    begin(&mut api, demo(1), 7).await?;
    agent.purge().await
}

pub(crate) async fn a_user_who_leaves_at_once_takes_it_along(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    begin(&mut api, demo(1), 1).await?;
    let mut answers = api.assign_desktop(assignment(1, 2)).await?.into_inner();
    client::stop(&mut api, 1, 2).await?;
    let mut last = None;
    while let Some(answer) = answers.message().await? {
        if let Some(Message::Desktop(desktop)) = answer.message {
            last = Some(desktop);
        }
    }
    let last = last.context("no last word")?;
    ensure!(last.state() == DesktopState::Gone && !last.warm, "{last:?}");
    gone(&mut api, 1).await?;
    agent.purge().await
}

/// Makes a warm desktop.
async fn begin(
    api: &mut Api,
    request: StartHostDesktopRequest,
    epoch: u64,
) -> anyhow::Result<HostDesktop> {
    let request_id = format!("{}-{epoch}", request.number);
    let request = StartHostDesktopRequest { epoch, request_id, ..warm(request) };
    let desktop = client::start(api, request).await?.desktop;
    ensure!(desktop.state() == DesktopState::Warm, "{desktop:?}");
    Ok(desktop)
}
