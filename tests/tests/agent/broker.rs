//! A broker beside the agent, and what happens to desktops when it dies.

use std::{fs, process::Output, time::Duration};

use anyhow::{Context as _, bail, ensure};
use rolltop_proto::v1::{
    Desktop, DesktopState, FreezeDesktopRequest, HostState, ListDesktopsRequest,
    ListHostDesktopsRequest, ListHostsRequest, SetDesktopLimitsRequest, StartDesktopRequest,
    StopDesktopRequest, ThawDesktopRequest, start_desktop_response::Message,
};
use rolltop_tests::{
    agent::{Agent, Settings},
    broker::{Broker, BrokerSettings, Caller},
};

use crate::stage::{Stage, eventually, get, gone, log_out, shell};

/// Into a start, when the broker is killed; a start takes about 40.
const MOMENTS_MS: [u64; 7] = [0, 3, 8, 15, 25, 40, 80];

/// An agent and a broker that knows it.
pub(crate) struct House {
    pub(crate) agent: Agent,
    pub(crate) broker: Broker,
    /// Who operates it.
    pub(crate) anna: Caller,
}

impl House {
    async fn new(stage: &Stage) -> anyhow::Result<Self> {
        Self::with_people(stage, []).await.map(|(house, [])| house)
    }

    /// One that these live in too.
    pub(crate) async fn with_people<const N: usize>(
        stage: &Stage,
        names: [&str; N],
    ) -> anyhow::Result<(Self, [Caller; N])> {
        let program = stage.settings()?.programs.agent.with_file_name("rolltop-broker");
        ensure!(program.is_file(), "{} is missing: build its crate first", program.display());
        let settings = BrokerSettings::prepare(program, stage.dir().join("broker"))?;
        let password = settings.add_user("anna", &["--operator"]).await?;
        let mut passwords = Vec::new();
        for name in names {
            passwords.push(settings.add_user(name, &[]).await?);
        }
        let credentials = stage.dir().join("credentials");
        let endpoint = format!("https://{}", Settings::ADDRESS);
        settings.add_host("host1", &endpoint, &credentials).await?;
        let agent =
            Agent::start(Settings { credentials: Some(credentials), ..stage.settings()? }).await?;
        let broker = Broker::start(settings).await?;
        let mut anna = broker.sign_in("anna", &password).await?;
        ready(&mut anna).await?;
        let mut people = Vec::new();
        for (name, password) in names.iter().zip(&passwords) {
            people.push(broker.sign_in(name, password).await?);
        }
        let people = people.try_into().ok().context("as many callers as names")?;
        Ok((Self { agent, broker, anna }, people))
    }

    /// What the command line did for anna, who operates.
    pub(crate) async fn rolltop(&self, words: &[&str]) -> anyhow::Result<Output> {
        let program = self.agent.settings().programs.agent.with_file_name("rolltop");
        ensure!(program.is_file(), "{} is missing: build its crate first", program.display());
        let mut command = self.broker.command_line(&program, &self.anna)?;
        command.args(words).output().await.context("cannot run rolltop")
    }

    /// What it said; it must succeed.
    pub(crate) async fn told(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.rolltop(words).await?;
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{words:?}: {wrong}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `kill -9` of the broker, and another on the same store.
    async fn replace_broker(self) -> anyhow::Result<Self> {
        let broker = Broker::start(self.broker.kill().await?).await?;
        // The sign-in outlives the broker, too.
        let mut anna = broker.again(&self.anna).await?;
        ready(&mut anna).await?;
        Ok(Self { agent: self.agent, broker, anna })
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.broker.end().await?;
        self.agent.purge().await
    }
}

async fn ready(caller: &mut Caller) -> anyhow::Result<()> {
    eventually("the host is ready", async || {
        let request = caller.ask(ListHostsRequest {});
        let hosts = caller.client.list_hosts(request).await?.into_inner().hosts;
        Ok(hosts.iter().any(|host| host.state() == HostState::Ready))
    })
    .await
}

pub(crate) async fn start(caller: &mut Caller, pool: &str) -> anyhow::Result<Desktop> {
    let request = StartDesktopRequest { pool: pool.into(), ..StartDesktopRequest::default() };
    let request = caller.ask(request);
    let mut answers = caller.client.start_desktop(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(Message::Desktop(desktop)) = answer.message {
            return Ok(desktop);
        }
    }
    bail!("the answer ended without a desktop")
}

pub(crate) async fn stop(caller: &mut Caller, desktop: &str) -> anyhow::Result<()> {
    let request = caller.ask(StopDesktopRequest { desktop: desktop.into() });
    caller.client.stop_desktop(request).await?;
    Ok(())
}

pub(crate) async fn desktops(caller: &mut Caller) -> anyhow::Result<Vec<Desktop>> {
    let request = caller.ask(ListDesktopsRequest { all: false });
    Ok(caller.client.list_desktops(request).await?.into_inner().desktops)
}

pub(crate) async fn the_command_line_looks_and_copies(stage: &Stage) -> anyhow::Result<()> {
    let mut house = House::new(stage).await?;
    let desktop = start(&mut house.anna, "demo").await?;
    let rolltop = async |words: &[&str]| house.told(&[&["desktop"], words].concat()).await;
    let mut api = house.agent.api().await?;
    let tree = stage.dir().join("tree");
    fs::create_dir_all(tree.join("sub"))?;
    fs::write(tree.join("sub/big"), vec![7; 5 << 20])?;
    let here = tree.to_str().context("the path")?;

    rolltop(&["cp", here, "demo:"]).await?;
    let inside = shell(&mut api, desktop.number, "stat -c '%U %s' ~/tree/sub/big").await?;
    ensure!(inside == "anna 5242880\n", "{inside}");
    let back = stage.dir().join("back");
    rolltop(&["cp", "demo/anna:tree", back.to_str().context("the path")?]).await?;
    ensure!(fs::read(back.join("sub/big"))? == vec![7; 5 << 20], "other bytes");
    // A link in there leads nowhere out here, and nothing through it.
    shell(&mut api, desktop.number, "mkdir ~/l && ln -s /etc ~/l/out").await?;
    rolltop(&["cp", "demo:l", stage.dir().to_str().context("the path")?]).await?;
    ensure!(fs::symlink_metadata(stage.dir().join("l/out"))?.is_symlink());
    ensure!(rolltop(&["cp", "demo:/etc/hostname", "-"]).await?.ends_with('\n'));

    let listed = rolltop(&["ps", "demo"]).await?;
    ensure!(listed.contains("PID") && listed.contains("jwm"), "{listed}");
    let stats: serde_json::Value =
        serde_json::from_str(&rolltop(&["stats", "demo", "--output", "json"]).await?)?;
    ensure!(stats["memory_bytes"].as_i64() > Some(0), "{stats}");
    rolltop(&["logs", "demo", "--lines", "5"]).await?;
    stop(&mut house.anna, "demo").await?;
    house.close().await
}

pub(crate) async fn an_operator_freezes_and_thaws(stage: &Stage) -> anyhow::Result<()> {
    let mut house = House::new(stage).await?;
    let desktop = start(&mut house.anna, "demo").await?;
    let request = house.anna.ask(FreezeDesktopRequest { desktop: "demo".into() });
    let frozen = house.anna.client.freeze_desktop(request).await?.into_inner();
    ensure!(frozen.state() == DesktopState::Frozen, "{frozen:?}");
    let there = get(&mut house.agent.api().await?, desktop.number).await?;
    ensure!(there.state() == DesktopState::Frozen, "the host does not know: {there:?}");

    // A broker that comes up finds it so, and leaves it so.
    let mut house = house.replace_broker().await?;
    let listed = desktops(&mut house.anna).await?;
    ensure!(listed.len() == 1 && listed[0].state() == DesktopState::Frozen, "{listed:?}");

    let request = house.anna.ask(ThawDesktopRequest { desktop: "demo/anna".into() });
    let thawed = house.anna.client.thaw_desktop(request).await?.into_inner();
    ensure!(thawed.state() == DesktopState::Running, "{thawed:?}");
    let (desktop_id, pids) = ("demo/anna".to_owned(), Some(300));
    let request = SetDesktopLimitsRequest { desktop: desktop_id, pids, ..Default::default() };
    let request = house.anna.ask(request);
    let limited = house.anna.client.set_desktop_limits(request).await?.into_inner();
    let there = get(&mut house.agent.api().await?, desktop.number).await?;
    let limits = limited.limits.context("its limits")?;
    ensure!(limits.pids == 300 && there.limits == Some(limits), "{limited:?}, {there:?}");
    shell(&mut house.agent.api().await?, desktop.number, "true").await?;
    stop(&mut house.anna, "demo").await?;
    house.close().await
}

pub(crate) async fn desktops_outlive_a_killed_broker(stage: &Stage) -> anyhow::Result<()> {
    let mut house = House::new(stage).await?;
    let first = start(&mut house.anna, "demo").await?;
    let mut api = house.agent.api().await?;
    shell(&mut api, first.number, "echo mine >~/note").await?;

    let mut house = house.replace_broker().await?;
    let again = start(&mut house.anna, "demo").await?;
    ensure!(
        (again.number, again.epoch, &again.ip) == (first.number, first.epoch, &first.ip),
        "another desktop after the broker's death: {again:?} instead of {first:?}"
    );
    ensure!(shell(&mut api, again.number, "cat ~/note").await? == "mine\n");
    stop(&mut house.anna, "demo").await?;
    house.close().await
}

pub(crate) async fn a_logout_without_a_broker_is_found_out(stage: &Stage) -> anyhow::Result<()> {
    let mut house = House::new(stage).await?;
    let first = start(&mut house.anna, "demo").await?;
    let mut api = house.agent.api().await?;
    let settings = house.broker.kill().await?;
    log_out(&mut api, first.number).await?;
    gone(&mut api, first.number).await?;

    let broker = Broker::start(settings).await?;
    let mut anna = broker.again(&house.anna).await?;
    ready(&mut anna).await?;
    eventually("the broker knows of the logout", async || {
        let all = desktops(&mut anna).await?;
        Ok(all.iter().all(|desktop| desktop.state() != DesktopState::Running))
    })
    .await?;
    let second = start(&mut anna, "demo").await?;
    ensure!(second.epoch > first.epoch, "{second:?} after {first:?}");
    stop(&mut anna, "demo").await?;
    House { agent: house.agent, broker, anna }.close().await
}

pub(crate) async fn a_broker_killed_in_a_start_leaves_one_desktop(
    stage: &Stage,
) -> anyhow::Result<()> {
    let mut house = House::new(stage).await?;
    for moment in MOMENTS_MS {
        let mut starter = house.anna.clone();
        let started = tokio::spawn(async move { start(&mut starter, "demo").await });
        tokio::time::sleep(Duration::from_millis(moment)).await;
        house = house.replace_broker().await?;
        // Its answer may be an error or a desktop: the broker may have died
        // before it, or after.
        drop(started.await.context("the caller panicked")?);

        let what = || format!("killed after {moment} ms");
        let desktop = start(&mut house.anna, "demo").await.with_context(what)?;
        ensure!(desktop.state() == DesktopState::Running, "{}: {desktop:?}", what());
        let mut api = house.agent.api().await?;
        let on_host = api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner().desktops;
        let told: Vec<_> = on_host.iter().map(|d| (d.number, d.epoch)).collect();
        ensure!(told == [(desktop.number, desktop.epoch)], "{}: the host has {told:?}", what());
        stop(&mut house.anna, "demo").await.with_context(what)?;
    }
    house.close().await
}
