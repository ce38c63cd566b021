//! An image store on NFS, mounted by the agent: what desktops get from it, and
//! what they and the host bear when its server is away, comes back, or does not.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rolltop_tests::vm::{DataDisk, Guest, Lan};

use crate::stage::{SHORT, Stage};

/// Makes and exports the store; see the script.
const SERVER: &str = include_str!("nfs-store.sh");
/// Sets the agent up.
const HOST: &str = include_str!("nfs-store-host.sh");
const URL: &str = "nfs://10.99.0.1/data/images";
/// For what takes a real machine seconds.
const LONG: Duration = Duration::from_secs(150);
/// For a server to answer, in a guest that is many times slower than a machine.
const DEADLINE: Duration = Duration::from_secs(15);

/// The two machines.
struct Pair {
    lan: Lan,
    server: Option<Guest>,
    host: Guest,
    server_disk: DataDisk,
}

pub(crate) fn serves_roots_of_every_kind(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut pair = pair(stage, URL)?;
    let outcome = kinds(stage, &mut pair);
    tell_last_words(stage, pair, outcome)
}

fn kinds(stage: &mut Stage<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    let mut on_host = |command: &str| stage.must(&mut pair.host, command, LONG);
    for (number, image, map) in [
        // 262144 + 65536 * (number - 1)
        (1, "file", "0 262144 65536"),
        (2, "tree", "0 0 65536"),
        (3, "shifted", "0 131072 65536"),
        (4, "file", "0 458752 65536"),
    ] {
        on_host(&format!("rolltop-agentctl start {number} {image}:stable --overlay-mib 64"))?;
        let inside = |command: &str| format!("rolltop-agentctl exec {number} '{command}'");
        let found = on_host(&inside("cat /proc/self/uid_map"))?;
        let found: Vec<&str> = found.split_whitespace().collect();
        ensure!(found.join(" ") == map, "{image} has the map {found:?}");
        // Files of the image are root's, new ones the user's.
        let owners = "stat -c %u /etc/passwd; touch ~/new; stat -c %u ~/new; id -u";
        let owners = on_host(&inside(owners))?;
        let owners: Vec<&str> = owners.lines().collect();
        ensure!(owners[0] == "0" && owners[1] == owners[2], "{image}: {owners:?}");
        // As root they can be changed, and what is root's alone be read.
        let change = format!(
            "rolltop-agentctl exec {number} --root 'cat /root/secret; echo x >>/etc/passwd'"
        );
        ensure!(on_host(&change)? == "secret\n", "{image}");
        let refused = on_host(&inside("cat /root/secret 2>/dev/null || echo refused"))?;
        ensure!(refused == "refused\n", "{image}: {refused}");
        let extra = on_host(&inside(
            "cd /lib/modules/*/ && cat whose; touch whose 2>/dev/null || echo no",
        ))?;
        ensure!(extra == "of the host\nno\n", "{extra}");
    }
    let mounts = "findmnt --noheadings --raw --types nfs4 --output OPTIONS,SOURCE | grep '/data/images$' | sort";
    let before = on_host(mounts)?;
    ensure!(
        before.lines().count() == 2,
        "it is mounted once for names, once for versions: {before}"
    );
    for option in ["ro,nosuid,nodev", "vers=4.2", "hard", "nconnect=4"] {
        ensure!(before.lines().all(|line| line.contains(option)), "{option} is not in {before}");
    }
    ensure!(before.contains("acregmin=86400") && before.contains("lookupcache=none"), "{before}");
    let log = on_host("journalctl --unit rolltop-agent --output cat")?;
    ensure!(log.contains("ids are the host's own"), "nobody was told of the identity map: {log}");

    // The agent is killed: the next one uses the same mounts.
    on_host(
        "rig-restarted rolltop-agent 'systemctl kill --kill-whom main --signal KILL rolltop-agent'",
    )?;
    on_host("rolltop-agentctl start 5 tree:stable --overlay-mib 64")?;
    ensure!(on_host(mounts)? == before, "mounts before:\n{before}");
    on_host("! pgrep --full storage-helper | sed 1,4d | grep .")?;

    // A tag that moves is seen at once, a version that is gone as well.
    let none = on_host("rolltop-agentctl start 6 file:new 2>&1 || true")?;
    ensure!(none.contains("has no tag new"), "{none}");
    pair.on_server("ln -s ../versions/1 /data/images/file/tags/new")?;
    let mut on_host = |command: &str| stage.must(&mut pair.host, command, LONG);
    on_host("rolltop-agentctl start 6 file:new --overlay-mib 64")?;

    // By other names of the same server.
    for url in ["nfs://filer/data/images", "nfs://[fd99::1]/data/images/"] {
        let edit = format!("sed -i 's#\"nfs://.*\"#\"{url}\"#' /etc/rolltop/agent.toml");
        on_host(&format!("{edit}; systemctl restart rolltop-agent"))?;
        on_host(
            "rolltop-agentctl start 7 tree:stable --overlay-mib 64 && rolltop-agentctl stop 7",
        )?;
    }
    // No weaker walls than allowed.
    on_host(
        "sed -i '1i identity_map = \"refuse\"' /etc/rolltop/agent.toml; systemctl restart rolltop-agent",
    )?;
    let refused = on_host("rolltop-agentctl start 7 tree:stable 2>&1 || true")?;
    ensure!(refused.contains("publish it as EROFS"), "{refused}");
    on_host("rolltop-agentctl start 8 file:stable --overlay-mib 64")?;
    purge(stage, pair)
}

pub(crate) fn a_server_that_reboots_is_waited_for(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut pair = pair(stage, URL)?;
    let outcome = reboot(stage, &mut pair);
    tell_last_words(stage, pair, outcome)
}

fn reboot(stage: &mut Stage<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    let sums = pair.on_server("cd /data/images/tree/versions/1/root/srv && md5sum * | sort")?;
    for (number, image) in [(1, "file"), (2, "tree"), (3, "shifted")] {
        let start = format!("rolltop-agentctl start {number} {image}:stable --overlay-mib 64");
        stage.must(&mut pair.host, &start, LONG)?;
    }
    // All are in the middle of reading what the host has not read yet.
    stage.must(&mut pair.host, &readers(1..=3), SHORT)?;
    pair.lan.cut(1);
    pair.reboot_server(stage, |stage, host| {
        // Nothing new begins; it is said so, in time.
        let begun = Instant::now();
        let refused =
            stage.must(host, "rolltop-agentctl start 9 tree:stable 2>&1 || true", LONG)?;
        ensure!(refused.contains("10.99.0.1 did not answer within"), "{refused}");
        ensure!(begun.elapsed() < DEADLINE * 3, "it took {:?}", begun.elapsed());
        // They stall, and live.
        for number in 1..=3 {
            stage.must(host, &format!("kill -0 $(cat /tmp/reader.{number})"), SHORT)?;
        }
        let list = stage.must(host, "rolltop-agentctl list", SHORT)?;
        ensure!(list.matches("RUNNING").count() == 3, "{list}");
        Ok(())
    })?;
    // They go on as if nothing had been.
    for number in 1..=3 {
        let wait = format!(
            "while kill -0 $(cat /tmp/reader.{number}) 2>/dev/null; do sleep 0.2; done; sort /tmp/sums.{number}"
        );
        let read = stage.must(&mut pair.host, &wait, LONG)?;
        let error = stage.must(&mut pair.host, &format!("cat /tmp/error.{number}"), SHORT)?;
        ensure!(read == sums, "desktop {number} read something else: {error}\n{read}\n{sums}");
    }
    stage.must(&mut pair.host, "rolltop-agentctl start 10 tree:stable --overlay-mib 64", LONG)?;
    purge(stage, pair)
}

pub(crate) fn a_server_that_is_gone_is_left(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let mut pair = pair(stage, URL)?;
    let outcome = gone(stage, &mut pair);
    tell_last_words(stage, pair, outcome)
}

fn gone(stage: &mut Stage<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    pair.copy_one_image()?;
    for (number, image) in [(1, "file"), (2, "tree"), (3, "shifted"), (4, "file")] {
        let start = format!("rolltop-agentctl start {number} {image}:stable --overlay-mib 64");
        stage.must(&mut pair.host, &start, LONG)?;
    }
    stage.must(&mut pair.host, &readers(1..=4), SHORT)?;
    pair.lan.cut(1);
    let mut on_host = |command: &str| stage.must(&mut pair.host, command, LONG);
    // What does not need it goes on, what does need it says so.
    on_host("rolltop-agentctl start 5 local:stable --overlay-mib 64")?;
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.matches("RUNNING").count() == 5, "{list}");
    let refused = on_host("rolltop-agentctl start 6 file:stable 2>&1 || true")?;
    ensure!(refused.contains("10.99.0.1 did not answer within"), "{refused}");
    // Desktops can be stopped: on an EROFS file as always; on a directory, whose
    // killed processes wait for the server to close their files, when that has
    // been given up,
    on_host("rolltop-agentctl stop 1")?;
    on_host("rolltop-agentctl stop 2")?;
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.matches("RUNNING").count() == 3, "{list}");
    // the agent be started anew,
    on_host("systemctl restart rolltop-agent")?;
    let list = on_host("rolltop-agentctl list")?;
    ensure!(list.matches("RUNNING").count() == 3, "adopted is: {list}");
    on_host("rolltop-agentctl stop 5")?;
    on_host("rolltop-agentctl start 5 local:stable --overlay-mib 64")?;
    // and the host be left clean, without a reboot.
    purge(stage, pair)
}

pub(crate) fn a_server_that_never_answers_holds_up_nobody(
    stage: &mut Stage<'_>,
) -> anyhow::Result<()> {
    // There is a machine, but nothing it gets sent is ever answered.
    let mut pair = pair(stage, "nfs://10.99.0.1:2050/data/images")?;
    let outcome = never(stage, &mut pair);
    tell_last_words(stage, pair, outcome)
}

fn never(stage: &mut Stage<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    pair.copy_one_image()?;
    let silent = "nft 'add table inet silent; add chain inet silent in { type filter hook input priority 0; }; add rule inet silent in tcp dport 2050 drop'";
    pair.on_server(silent)?;
    let mut on_host = |command: &str| stage.must(&mut pair.host, command, LONG);
    // A crowd asks for what is there, and nobody else waits for it.
    let crowd = "for n in {10..29}; do
            (rolltop-agentctl start $n file:stable >/tmp/crowd.$n 2>&1 || echo refused >>/tmp/crowd.$n) &
        done
        disown -a";
    on_host(crowd)?;
    for number in 1..=3 {
        on_host(&format!("rolltop-agentctl start {number} local:stable --overlay-mib 64"))?;
        on_host(&format!("rolltop-agentctl exec {number} id && rolltop-agentctl stop {number}"))?;
    }
    on_host("until [ $(grep -l refused /tmp/crowd.* | wc -l) = 20 ]; do sleep 0.2; done")?;
    let answers = on_host("cat /tmp/crowd.*")?;
    let told = |words: &str| answers.matches(words).count();
    ensure!(
        told("did not answer within") + told("does not answer") + told("cannot be reached") == 20,
        "{answers}"
    );
    on_host("[ $(pgrep --full storage-helper | wc -l) -le 8 ]")?;
    purge(stage, pair)
}

/// Lets desktops read files that are not cached, one after the other, and comes
/// back when all have begun. What they read has its sums in /tmp/sums.NUMBER.
fn readers(numbers: RangeInclusive<u32>) -> String {
    let (first, last) = numbers.into_inner();
    format!(
        "echo 3 >/proc/sys/vm/drop_caches
        for n in {{{first}..{last}}}; do
            rolltop-agentctl exec $n 'cd /srv; for file in *; do md5sum $file; touch ~/begun; sleep 1; done' >/tmp/sums.$n 2>/tmp/error.$n &
            echo $! >/tmp/reader.$n
        done
        for n in {{{first}..{last}}}; do until rolltop-agentctl exec $n '[ -e ~/begun ]'; do sleep 0.2; done; done
        disown -a"
    )
}

impl Pair {
    /// Cuts the power of the server, does something, and starts it again.
    fn reboot_server(
        &mut self,
        stage: &mut Stage<'_>,
        meanwhile: impl FnOnce(&mut Stage<'_>, &mut Guest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(server) = self.server.take() {
            server.cut_power()?;
        }
        meanwhile(stage, &mut self.host)?;
        self.lan.mend(1);
        let spec = stage.spec("server").on(&self.lan, 1).data(&self.server_disk);
        self.server = Some(stage.rig().start(spec)?);
        self.on_server(SERVER).map(drop)
    }

    fn on_server(&mut self, command: &str) -> anyhow::Result<String> {
        self.server.as_mut().context("the server is off")?.sh(command, LONG)
    }

    /// Gives the host an image of its own.
    fn copy_one_image(&mut self) -> anyhow::Result<()> {
        let copy =
            "mkdir -p /mnt/copy && mount -t nfs4 -o ro,vers=4.2 10.99.0.1:/data/images /mnt/copy
            mkdir -p /data/images/local && cp -a /mnt/copy/file/. /data/images/local/
            chmod u+w /data/images/local/versions/1/manifest.toml
            sed -i 's/^name = .*/name = \"local\"/' /data/images/local/versions/1/manifest.toml
            umount /mnt/copy";
        self.host.sh(copy, LONG).map(drop)
    }
}

fn pair(stage: &mut Stage<'_>, url: &str) -> anyhow::Result<Pair> {
    let lan = Lan::new()?;
    let (server_disk, host_disk) = (stage.disk("server")?, stage.disk("host")?);
    let mut server = stage.rig().start(stage.spec("server").on(&lan, 1).data(&server_disk))?;
    let mut host = stage.rig().start(stage.spec("host").on(&lan, 2).data(&host_disk))?;
    server.sh(SERVER, LONG)?;
    let deadline = DEADLINE.as_millis();
    stage.must(&mut host, &format!("IMAGES={url} DEADLINE_MS={deadline}\n{HOST}"), LONG)?;
    Ok(Pair { lan, server: Some(server), host, server_disk })
}

/// Nothing of the agent may be left, whatever state the server is in.
fn purge(stage: &mut Stage<'_>, pair: &mut Pair) -> anyhow::Result<()> {
    let purge = "systemctl stop rolltop-agent && rolltop-agent purge";
    stage.must(&mut pair.host, purge, LONG)?;
    let left = "findmnt --raw --noheadings --output TARGET,FSTYPE | grep -E 'nfs|/run/rolltop'
        losetup --list --noheadings --output BACK-FILE
        ip -o link show | grep -E 'rt[0-9]+|rolltop' | cut -d: -f2
        find /sys/fs/cgroup -type d -path '*/rolltop/*'
        pgrep --list-name 'rolltop|answer'
        ps -eo state,args | grep '^D' | grep -v 'D \\['
        true";
    let left = stage.must(&mut pair.host, left, SHORT)?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

fn tell_last_words(
    stage: &mut Stage<'_>,
    mut pair: Pair,
    outcome: anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut guests: Vec<_> = pair.server.iter_mut().chain([&mut pair.host]).collect();
    stage.with_last_words(&mut guests, outcome)
}
