//! `rolltop-agent check`: what it says of this machine and of a worse one.

use anyhow::{Context as _, ensure};
use rolltop_tests::client;
use serde_json::Value;
use tokio::process::Command;

use crate::stage::{Stage, demo};

pub(crate) async fn rehearses_beside_a_running_agent(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    // The same number as the rehearsal's.
    client::start(&mut api, demo(1)).await?;
    let settings = agent.settings();
    let check = || {
        let mut command = Command::new(&settings.programs.agent);
        command.arg("--config").arg(settings.config()).args(["check", "--json"]).kill_on_drop(true);
        command
    };
    let output = check().output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}");
    let findings: Vec<Value> = serde_json::from_str(&text)?;
    let item = |findings: &[Value], name: &str| {
        let found = findings.iter().find(|finding| finding["item"] == name).cloned();
        found.with_context(|| format!("no finding about {name}: {text}"))
    };
    ensure!(item(&findings, "rehearsal")?["verdict"] == "good", "{text}");
    ensure!(item(&findings, "bridge")?["verdict"] == "good", "{text}");
    client::stop(&mut api, 1, 1).await?;

    // What is wrong is named, and makes it fail; the rehearsal cannot be held.
    let output = check().env("ROLLTOP_AGENT_LAUNCHER", "/etc/passwd").output().await?;
    ensure!(!output.status.success(), "a check without a launcher succeeded");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let launcher = item(&findings, "launcher")?;
    ensure!(launcher["verdict"] == "bad", "{launcher}");
    ensure!(launcher["found"].as_str().is_some_and(|found| found.contains("/etc/passwd")));
    ensure!(item(&findings, "rehearsal")?["verdict"] == "bad", "{findings:?}");
    agent.purge().await
}
