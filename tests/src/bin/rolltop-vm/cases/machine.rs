//! The rig itself.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rolltop_tests::vm::Lan;

use crate::stage::{SHORT, Stage};

pub(crate) fn is_what_the_project_is_made_for(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut guest = stage.rig().start(stage.spec("one"))?;
    let version = guest.sh("uname -r", SHORT)?;
    ensure!(version.trim() == stage.rig().kernel_version()?, "another kernel runs: {version}");
    let groups =
        guest.sh("stat -f -c %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.controllers", SHORT)?;
    ensure!(groups.starts_with("cgroup2fs\n"), "control groups are not version 2: {groups}");
    for controller in ["cpu", "memory", "pids", "io"] {
        let there = groups.split_whitespace().any(|word| word == controller);
        ensure!(there, "there is no controller '{controller}': {groups}");
    }
    let old = guest.sh("grep -c 'cgroup cgroup' /proc/self/mountinfo || true", SHORT)?;
    ensure!(old.trim() == "0", "there are {old} hierarchies of version 1");
    let state = guest.sh("systemctl is-system-running || systemctl --failed --no-pager", SHORT)?;
    ensure!(state.trim() == "running", "systemd is not well: {state}");
    let kinds = guest.sh("cat /proc/filesystems", SHORT)?;
    for kind in ["nfsd", "nfs4", "overlay", "erofs", "ext4"] {
        ensure!(kinds.split_whitespace().any(|word| word == kind), "no {kind}: {kinds}");
    }
    Ok(())
}

pub(crate) fn restored_guests_differ(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let traits = "head -c 16 /dev/urandom | base64; cat /etc/machine-id; hostname";
    let mut seen = Vec::new();
    for name in ["one", "two"] {
        let mut guest = stage.rig().start(stage.spec(name))?;
        seen.push(guest.sh(traits, SHORT)?);
        let late = guest.sh("date +%s", SHORT)?.trim().parse::<u64>()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        ensure!(now.abs_diff(late) < 60, "its clock says {late}, ours {now}");
    }
    let pairs: Vec<(&str, &str)> = seen[0].lines().zip(seen[1].lines()).collect();
    ensure!(pairs.len() == 3, "unexpected: {seen:?}");
    for (one, two) in pairs {
        ensure!(one != two, "two guests have the same {one}");
    }
    Ok(())
}

pub(crate) fn what_was_flushed_outlives_a_power_cut(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let disk = stage.disk("written")?;
    let mut guest = stage.rig().start(stage.spec("one").data(&disk))?;
    // The last file is in the page cache at most.
    let write = "cd /data && head -c 3000000 /dev/urandom >file && sync file && sync .
        sha256sum file; touch /not-kept; echo lost >/data/unflushed";
    let sum = guest.sh(write, SHORT)?;
    guest.cut_power()?;

    let mut guest = stage.rig().start(stage.spec("one").data(&disk))?;
    ensure!(guest.sh("cd /data && sha256sum file", SHORT)? == sum, "the file is another");
    guest.sh("[ ! -e /not-kept ]", SHORT)?;
    guest.sh("umount /data", SHORT)?;
    guest.cut_power()?;
    disk.check()
}

pub(crate) fn guests_reach_each_other_until_a_link_is_cut(
    stage: &mut Stage<'_>,
) -> anyhow::Result<()> {
    let lan = Lan::new()?;
    let mut one = stage.rig().start(stage.spec("one").on(&lan, 1))?;
    let mut two = stage.rig().start(stage.spec("two").on(&lan, 2))?;
    one.sh("ping -c 2 -W 30 10.99.0.2", SHORT)?;
    two.sh("ping -c 2 -W 30 10.99.0.1", SHORT)?;
    lan.cut(2);
    let cut = one.run("ping -c 2 -i 0.2 -W 2 10.99.0.2", SHORT)?;
    ensure!(cut.status == 1, "a cut link passes: {}", cut.text());
    lan.mend(2);
    one.sh("ping -c 2 -W 30 10.99.0.2", SHORT)?;
    // A guest that comes back has its link again.
    two.cut_power()?;
    let _two = stage.rig().start(stage.spec("two").on(&lan, 2))?;
    one.sh("ping -c 2 -W 30 10.99.0.2", SHORT)?;
    Ok(())
}

pub(crate) fn a_panic_is_told_at_once(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut guest = stage.rig().start(stage.spec("one"))?;
    let begun = Instant::now();
    let long = Duration::from_secs(600);
    let Err(error) = guest.run("echo c >/proc/sysrq-trigger; sleep 900", long) else {
        anyhow::bail!("a guest outlives its panic")
    };
    let told = format!("{error:#}");
    ensure!(begun.elapsed() < long, "it was only told after the deadline: {told}");
    ensure!(told.contains("sysrq triggered crash"), "the console is not shown: {told}");
    ensure!(told.contains("the guest has ended"), "it is not said what happened: {told}");
    Ok(())
}
