//! A machine that becomes a host with a token, and nothing else to trust.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{HostState, ListHostsRequest, MakeEnrolTokenRequest};
use rolltop_tests::{
    agent::{Agent, Settings},
    broker::{ADDRESS, Broker, BrokerSettings},
};
use tokio::process::Command;

use crate::stage::{Stage, eventually};

async fn enrol(settings: &Settings, token: &str) -> anyhow::Result<Output> {
    let mut command = Command::new(&settings.programs.agent);
    let broker = format!("https://{ADDRESS}");
    command.arg("--config").arg(settings.write_config()?);
    command.args(["enrol", "--broker", &broker, "--token", token]).kill_on_drop(true);
    command.output().await.context("cannot run rolltop-agent")
}

pub(crate) async fn a_machine_becomes_a_host_with_a_token(stage: &Stage) -> anyhow::Result<()> {
    let credentials = stage.dir().join("enrolled");
    let settings = Settings { credentials: Some(credentials.clone()), ..stage.settings()? };
    let program = settings.programs.agent.with_file_name("rolltop-broker");
    ensure!(program.is_file(), "{} is missing: build its crate first", program.display());
    let brokers = BrokerSettings::prepare(program, stage.dir().join("broker"))?;
    let password = brokers.add_user("anna", &["--operator"]).await?;
    let broker = Broker::start(brokers).await?;
    let mut anna = broker.sign_in("anna", &password).await?;
    let request = MakeEnrolTokenRequest { name: settings.name.clone(), life: None };
    let request = anna.ask(request);
    let made = broker.hosts().await?.make_enrol_token(request).await?.into_inner();

    // Whose authority is another one's gets nothing, the token least of all.
    let (secret, _) = made.token.rsplit_once('.').context("a token without a fingerprint")?;
    let refused = enrol(&settings, &format!("{secret}.{}", "0".repeat(64))).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("the token was not sent"), "{said}");
    ensure!(!credentials.join("host.pem").exists(), "nothing was put in place");

    let done = enrol(&settings, &made.token).await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "it was not enrolled: {said}");
    let mode = |name: &str| -> anyhow::Result<u32> {
        Ok(fs::metadata(credentials.join(name))?.permissions().mode() & 0o777)
    };
    ensure!((mode("ca.pem")?, mode("host.pem")?, mode("host-key.pem")?) == (0o644, 0o644, 0o600));

    let again = enrol(&settings, &made.token).await?;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(!again.status.success() && said.contains("used already"), "{said}");

    // What the second try left behind does not keep the agent from serving.
    let agent = Agent::start(settings).await?;
    eventually("the host is ready", async || {
        let request = anna.ask(ListHostsRequest {});
        let hosts = anna.client.list_hosts(request).await?.into_inner().hosts;
        Ok(hosts.iter().any(|host| host.state() == HostState::Ready))
    })
    .await?;
    broker.end().await?;
    agent.purge().await
}
