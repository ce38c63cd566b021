//! Orders to a desktop that is up: freeze, thaw, new limits.

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    DesktopState, FreezeHostDesktopRequest, HostDesktop, Limits, SetHostDesktopLimitsRequest,
    StartHostDesktopRequest, ThawHostDesktopRequest,
};
use rolltop_tests::{
    client::{self, Api},
    display,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    crashes::murder,
    stage::{Stage, demo, eventually, exec, get, gone, shell},
};

/// Counts as fast as it can, for as long as it lives.
const BUSY: &str =
    "(i=0; while :; do i=$((i+1)); echo $i > ~/count; done) > /dev/null 2>&1 < /dev/null &";

pub(crate) async fn a_frozen_desktop_stands_still(stage: &Stage) -> anyhow::Result<()> {
    let runtimes = stage.settings()?.runtimes;
    for runtime in ["builtin"].into_iter().chain(runtimes.keys().map(String::as_str)) {
        stands_still(stage, StartHostDesktopRequest { runtime: runtime.into(), ..demo(1) })
            .await
            .with_context(|| format!("with runtime {runtime}"))?;
    }
    Ok(())
}

async fn stands_still(stage: &Stage, request: StartHostDesktopRequest) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, request.clone()).await?;
    shell(&mut api, 1, BUSY).await?;
    eventually("it counts", async || Ok(exec(&mut api, 1, false, "test -s ~/count").await?.1 == 0))
        .await?;

    let frozen = freeze(&mut api).await?;
    ensure!(frozen.state() == DesktopState::Frozen, "{frozen:?}");
    // Twice is as good as once.
    ensure!(freeze(&mut api).await?.state() == DesktopState::Frozen);
    let at = processor_time(&mut api).await?;
    // Meanwhile another one lives a whole life.
    client::start(&mut api, demo(2)).await?;
    client::stop(&mut api, 2, 1).await?;
    ensure!(processor_time(&mut api).await? == at, "something in it runs");
    let refused = exec(&mut api, 1, false, "true").await;
    ensure!(format!("{:?}", refused.err()).contains("frozen"), "a command may begin");
    let refused = display::connect(&mut api, 1, 1).await;
    ensure!(format!("{:?}", refused.err()).contains("frozen"), "a viewer is let in");

    // It stays so when the agent dies.
    murder(agent).await?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    ensure!(get(&mut api, 1).await?.state() == DesktopState::Frozen, "forgotten");
    ensure!(processor_time(&mut api).await? == at, "something in it runs");

    let thawed = thaw(&mut api).await?;
    ensure!(thawed.state() == DesktopState::Running, "{thawed:?}");
    eventually("it goes on", async || Ok(processor_time(&mut api).await? > at)).await?;
    shell(&mut api, 1, "true").await?;

    // A frozen one can be stopped, and asked to end before it is killed.
    freeze(&mut api).await?;
    client::stop(&mut api, 1, 1).await?;
    gone(&mut api, 1).await?;

    // And taken away without being asked.
    client::start(&mut api, StartHostDesktopRequest { request_id: "again".into(), ..request })
        .await?;
    freeze(&mut api).await?;
    agent.purge().await
}

pub(crate) async fn only_what_is_up_takes_orders(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let unknown = api.freeze_desktop(FreezeHostDesktopRequest { number: 9, epoch: 1 }).await;
    is_refused(unknown, Code::NotFound, "DESKTOP_UNKNOWN")?;
    let request = StartHostDesktopRequest { epoch: 5, ..demo(1) };
    client::start(&mut api, request).await?;
    let old = api.thaw_desktop(ThawHostDesktopRequest { number: 1, epoch: 4 }).await;
    is_refused(old, Code::FailedPrecondition, "STALE_EPOCH")?;
    let limits = Limits { memory_mib: -1, cpu_millis: 1, ..Limits::default() };
    let bad = SetHostDesktopLimitsRequest { number: 1, epoch: 5, limits: Some(limits) };
    let bad = api.set_desktop_limits(bad).await;
    let text = format!("{:?}", bad.as_ref().err());
    is_refused(bad, Code::InvalidArgument, "INVALID_ARGUMENT")?;
    ensure!(text.contains("memory_mib") && text.contains("cpu_millis"), "{text}");
    client::stop(&mut api, 1, 5).await?;
    agent.purge().await
}

pub(crate) async fn limits_change_while_it_runs(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let first = Limits { memory_mib: 1024, ..Limits::default() };
    client::start(&mut api, StartHostDesktopRequest { limits: Some(first), ..demo(1) }).await?;

    // Processes.
    let many =
        "for i in $(seq 300); do sleep 1000 >/dev/null 2>&1 & p=\"$p $!\"; done; kill $p; wait";
    ensure!(exec(&mut api, 1, false, many).await?.1 == 0, "no limit was asked for");
    let threads = get(&mut api, 1).await?.usage.context("no usage")?.pids;
    set(&mut api, Limits { pids: threads + 100, ..first }).await?;
    let (said, _) = exec(&mut api, 1, false, many).await?;
    ensure!(said.contains("fork"), "the new limit does not hold: {said}");
    // What was begun is still there, and nobody else gets in. Not the number there
    // is now: on a slow machine some of those are about to end.
    set(&mut api, Limits { pids: threads + 50, ..first }).await?;
    let begun = get(&mut api, 1).await?.usage.context("no usage")?.pids;
    ensure!(begun > threads + 50, "{begun} processes are left of those begun");
    let full = exec(&mut api, 1, false, "true").await.err().context("there was room")?;
    ensure!(format!("{full:?}").contains("as many processes as it may"), "{full:?}");
    set(&mut api, first).await?;
    ensure!(exec(&mut api, 1, false, many).await?.1 == 0, "the limit was not lifted");

    // Memory in use cannot be taken away, and nothing is killed for it.
    shell(&mut api, 1, "head -c 150M /dev/zero > /dev/shm/filling").await?;
    let small = SetHostDesktopLimitsRequest {
        number: 1,
        epoch: 1,
        limits: Some(Limits { memory_mib: 100, ..first }),
    };
    is_refused(api.set_desktop_limits(small).await, Code::FailedPrecondition, "LIMIT_IN_USE")?;
    ensure!(get(&mut api, 1).await?.limits.is_some_and(|limits| limits.memory_mib == 1024));
    shell(&mut api, 1, "test $(stat -c %s /dev/shm/filling) = 157286400").await?;
    shell(&mut api, 1, "head -c 150M /dev/zero > /dev/shm/more && rm /dev/shm/more").await?;

    // What is not in use can; and all of it is kept over the agent's death.
    let second = Limits { memory_mib: 280, cpu_millis: 500, ..Limits::default() };
    set(&mut api, second).await?;
    murder(agent).await?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    ensure!(get(&mut api, 1).await?.limits == Some(second), "forgotten");
    let (_, code) = exec(&mut api, 1, false, "head -c 150M /dev/zero > /dev/shm/more").await?;
    ensure!(code != 0, "300 MiB fit into 280");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await
}

async fn freeze(api: &mut Api) -> anyhow::Result<HostDesktop> {
    let request = FreezeHostDesktopRequest { number: 1, epoch: 1 };
    Ok(api.freeze_desktop(request).await?.into_inner())
}

async fn thaw(api: &mut Api) -> anyhow::Result<HostDesktop> {
    let request = ThawHostDesktopRequest { number: 1, epoch: 1 };
    Ok(api.thaw_desktop(request).await?.into_inner())
}

async fn set(api: &mut Api, limits: Limits) -> anyhow::Result<()> {
    let request = SetHostDesktopLimitsRequest { number: 1, epoch: 1, limits: Some(limits) };
    let desktop = api.set_desktop_limits(request).await?.into_inner();
    ensure!(desktop.limits == Some(limits), "{desktop:?}");
    Ok(())
}

/// Of desktop 1, nanoseconds.
async fn processor_time(api: &mut Api) -> anyhow::Result<i64> {
    let usage = get(api, 1).await?.usage.context("no usage")?;
    let time = usage.cpu_time.context("no processor time")?;
    Ok(time.seconds * 1_000_000_000 + i64::from(time.nanos))
}

pub(crate) fn is_refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> anyhow::Result<()> {
    let status = answer.err().context("it was done")?;
    let details = status.get_error_details();
    let told = details.error_info().map(|info| info.reason.as_str());
    ensure!(status.code() == code && told == Some(reason), "{status:?}");
    Ok(())
}
