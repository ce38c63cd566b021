//! A desktop's whole life on a host whose images are on another machine.

use std::time::Duration;

use anyhow::ensure;
use rolltop_tests::vm::{Guest, Lan};

use crate::stage::{SHORT, Stage};

/// Exports the image store; see the script.
const SERVER: &str = include_str!("nfs-server.sh");
/// Mounts it, and starts the agent as a service.
const HOST: &str = include_str!("nfs-host.sh");
/// For what takes a real machine seconds.
const LONG: Duration = Duration::from_secs(300);
/// How often the host has read from the server.
const READS: &str = r#"awk '
    $1 == "device" { here = $5 == "/mnt/images" }
    here && ($1 == "READ:" || $1 == "READ_PLUS:") { reads += $2 }
    END { print reads + 0 }' /proc/self/mountstats"#;
/// All that a desktop or an agent could leave behind.
const TRACES: &str = "
    findmnt --raw --noheadings --output TARGET,FSTYPE | grep -E 'rolltop|/data/' || true
    losetup --list --noheadings --output BACK-FILE
    ip -o link show | cut -d: -f2
    find /sys/fs/cgroup -type d -path '*rolltop*' -not -path '*/system.slice/*'
    nft list tables
    find /run/rolltop /data/agent/overlays 2>/dev/null || true
    ps -eo comm= | grep -E '^(Xvnc|jwm|rolltop)' || true";

pub(crate) fn a_desktop_lives_on_an_erofs_file_on_nfs(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let lan = Lan::new()?;
    let disk = stage.disk("host")?;
    let mut server = stage.rig().start(stage.spec("server").on(&lan, 1))?;
    let mut host = stage.rig().start(stage.spec("host").on(&lan, 2).data(&disk))?;
    let outcome = life(stage, &mut server, &mut host);
    stage.with_last_words(&mut [&mut server, &mut host], outcome)
}

fn life(stage: &mut Stage<'_>, server: &mut Guest, host: &mut Guest) -> anyhow::Result<()> {
    let mut on_host = |command: &str, limit| stage.must(host, command, limit);
    server.sh(SERVER, LONG)?;
    let before = on_host(TRACES, SHORT)?;
    on_host(HOST, LONG)?;

    // Up, within its limits, and it draws.
    on_host("rolltop-agentctl start 300 demo:stable --memory-mib 400 --pids 200", LONG)?;
    on_host("rolltop-agentctl look 300", LONG)?;
    let limits = on_host("cd /sys/fs/cgroup/rolltop/300 && cat memory.max pids.max", SHORT)?;
    ensure!(limits == "419430400\n200\n", "the limits are {limits}");
    let inside = on_host("rolltop-agentctl exec 300 'id -un; pwd; cat /proc/self/status'", LONG)?;
    for expected in ["user\n/home/user\n", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
        ensure!(inside.contains(expected), "`{expected}` is not in: {inside}");
    }
    // Its files do come from there: of /mnt/images, reads over the network.
    let read = on_host(READS, SHORT)?;
    ensure!(read.trim().parse::<u64>()? > 100, "only {read} reads over the network");

    // The agent is killed; the next one has the desktop.
    on_host("rolltop-agentctl exec 300 'echo work >~/work'", LONG)?;
    on_host("rig-restarted rolltop-agent 'systemctl kill --signal KILL rolltop-agent'", LONG)?;
    let list = on_host("rolltop-agentctl list", SHORT)?;
    ensure!(list.starts_with("300 DESKTOP_STATE_RUNNING "), "adopted is: {list}");
    let work = on_host("rolltop-agentctl exec 300 'cat ~/work'", LONG)?;
    ensure!(work == "work\n", "the file says {work}");
    on_host("rolltop-agentctl look 300", LONG)?;

    // The user logs out.
    let end = on_host("rolltop-agentctl until 300 'pkill jwm'", LONG)?;
    ensure!(end.trim_end().ends_with("LOGOUT"), "it ended for {end}");
    let list = on_host("rolltop-agentctl list", SHORT)?;
    ensure!(list.is_empty(), "still there: {list}");
    on_host("systemctl stop rolltop-agent && rolltop-agent purge", LONG)?;
    on_host("rm -r /data/agent /run/rolltop", SHORT)?;
    let after = on_host(TRACES, SHORT)?;
    ensure!(before == after, "the host is not as it was; before:\n{before}\nafter:\n{after}");
    // Nor is the server's file system in use any more.
    on_host("umount /mnt/images", SHORT)?;
    Ok(())
}
