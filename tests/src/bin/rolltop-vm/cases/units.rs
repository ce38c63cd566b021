//! The systemd units, as an operator installs them.

use std::time::Duration;

use anyhow::ensure;
use rolltop_tests::vm::Guest;

use crate::stage::{SHORT, Stage};

const LONG: Duration = Duration::from_secs(300);
const SET_UP: &str = "set -e
    mkdir -p /etc/rolltop
    ln -sf /payload/bin/rolltop* /usr/local/bin/
    printf '%s\\n' 'name = \"host\"' 'state_dir = \"/data/agent\"' 'images = \"/payload/images\"' \
        'launcher = \"/usr/local/bin/rolltop-launcher\"' \
        '[deadlines]' 'display_ms = 200000' 'runtime_ms = 100000' >/etc/rolltop/agent.toml
    touch /etc/rolltop/broker.toml
    rig-unit rolltop-agent WatchdogSec=9 UMask=0077
    rig-unit rolltop-broker
    systemd-analyze verify --man=no rolltop-agent.service rolltop-broker.service";

pub(crate) fn keep_the_daemons_up_and_apart(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let disk = stage.disk("host")?;
    let mut host = stage.rig().start(stage.spec("host").data(&disk))?;
    let outcome = agent(stage, &mut host).and_then(|()| broker(stage, &mut host));
    stage.with_last_words(&mut [&mut host], outcome)
}

pub(crate) fn leave_what_is_kept_after_a_power_cut(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let disk = stage.disk("host")?;
    let mut host = stage.rig().start(stage.spec("host").data(&disk))?;
    let outcome = fill(stage, &mut host);
    stage.with_last_words(&mut [&mut host], outcome)?;
    host.cut_power()?;
    let mut host = stage.rig().start(stage.spec("host").data(&disk))?;
    let outcome = come_back(stage, &mut host);
    stage.with_last_words(&mut [&mut host], outcome)
}

/// A desktop of each kind, at work.
fn fill(stage: &mut Stage<'_>, host: &mut Guest) -> anyhow::Result<()> {
    let mut on_host = |command: &str| stage.must(host, command, LONG);
    on_host(SET_UP)?;
    on_host("systemctl start rolltop-agent && rolltop-agentctl start 1 demo:stable")?;
    on_host("rolltop-agentctl start 2 demo:stable --keep anna")?;
    on_host("rolltop-agentctl exec 2 'echo precious >~/file && sync ~/file'")?;
    on_host("rolltop-agentctl list | grep -c RUNNING | grep -x 2")?;
    Ok(())
}

fn come_back(stage: &mut Stage<'_>, host: &mut Guest) -> anyhow::Result<()> {
    let mut on_host = |command: &str| stage.must(host, command, LONG);
    on_host(SET_UP)?;
    let overlays = "find /data/agent/overlays -name '*.ext4' -printf '%P\\n' | sort";
    let before = on_host(overlays)?;
    ensure!(before.contains("volatile/1.ext4"), "the cut left {before}");
    on_host("systemctl start rolltop-agent")?;
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.is_empty(), "after a reboot there run: {list}");
    let after = on_host(overlays)?;
    ensure!(!after.contains("volatile/"), "what was volatile stays: {after}");
    let kept = |files: &str| -> Vec<String> {
        files.lines().filter(|file| !file.starts_with("volatile/")).map(str::to_owned).collect()
    };
    ensure!(kept(&after) == kept(&before), "kept was {before}, is {after}");
    // Nothing holds the kept one, and what was in it is.
    on_host("rolltop-agentctl start 2 demo:stable --keep anna")?;
    let file = on_host("rolltop-agentctl exec 2 'cat ~/file'")?;
    ensure!(file == "precious\n", "the file says {file}");
    on_host("rolltop-agentctl stop 2 && systemctl stop rolltop-agent && rolltop-agent purge")?;
    Ok(())
}

fn agent(stage: &mut Stage<'_>, host: &mut Guest) -> anyhow::Result<()> {
    let mut on_host = |command: &str| stage.must(host, command, LONG);
    let faults = on_host(SET_UP)?;
    ensure!(faults.is_empty(), "systemd finds: {faults}");
    on_host("systemctl start rolltop-agent && rolltop-agentctl start 1 demo:stable")?;
    // It hangs: systemd sees that, and the next one has the desktop.
    on_host(
        "rig-restarted rolltop-agent 'systemctl kill --kill-whom main --signal STOP rolltop-agent'",
    )?;
    let result = on_host("journalctl --unit rolltop-agent --output cat")?;
    ensure!(result.contains("Watchdog timeout"), "why did it end? {result}");
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.starts_with("1 DESKTOP_STATE_RUNNING "), "adopted is: {list}");
    on_host("rolltop-agentctl exec 1 id")?;

    // A fault in the configuration is no reason to try again.
    on_host("cp /etc/rolltop/agent.toml /tmp/ && echo 'nonsense = 1' >/etc/rolltop/agent.toml")?;
    on_host("! systemctl restart rolltop-agent && sleep 3")?;
    let state = on_host("systemctl show --property SubState,ExecMainStatus rolltop-agent")?;
    ensure!(state == "ExecMainStatus=64\nSubState=failed\n", "it is {state}");
    on_host("cp /tmp/agent.toml /etc/rolltop/ && systemctl start rolltop-agent")?;
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.starts_with("1 DESKTOP_STATE_RUNNING "), "adopted is: {list}");
    on_host("rolltop-agentctl stop 1 && systemctl stop rolltop-agent && rolltop-agent purge")?;
    Ok(())
}

fn broker(stage: &mut Stage<'_>, host: &mut Guest) -> anyhow::Result<()> {
    let mut on_host = |command: &str| stage.must(host, command, SHORT);
    // The first user is made by root, before there is a service.
    let password = "echo 'a long enough secret'";
    let config = "--config /etc/rolltop/broker.toml";
    on_host(&format!(
        "{password} | rolltop-broker {config} user add olga --operator --password-stdin"
    ))?;
    on_host("systemctl start rolltop-broker")?;
    let user = on_host("ps --no-headers -o user -C rolltop-broker")?;
    ensure!(user.trim() != "root", "it runs as {user}");
    let login = "rolltop login --server https://localhost:8443 --ca /var/lib/rolltop-broker/ca.pem \
                 --user olga --password-stdin";
    on_host(&format!("{password} | {login} && rolltop pool list"))?;
    on_host("rig-restarted rolltop-broker 'systemctl kill --signal KILL rolltop-broker'")?;
    on_host("rolltop whoami")?;
    // And once more by root, while it is away.
    on_host("systemctl stop rolltop-broker")?;
    on_host(&format!("{password} | rolltop-broker {config} user add paul --password-stdin"))?;
    on_host("systemctl start rolltop-broker && rolltop whoami")?;
    Ok(())
}
