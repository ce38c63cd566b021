//! Overlays and homes on a server that several hosts write to: of hosts that want the same
//! one, exactly one has it, until it gives it back or is dead.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rolltop_tests::vm::{DataDisk, Guest, Lan};

use crate::stage::{SHORT, Stage};

/// Makes and exports an image store; see the script.
const SERVER: &str = include_str!("nfs-store.sh");
/// Exports the directory of the overlays and one of homes, too; the latter as a
/// careful administrator would, with root squashed.
const EXPORT: &str = "mkdir -p /data/overlays /data/homes/user
    chmod 700 /data/homes/user && chown 1000:1000 /data/homes/user
    echo '/data/overlays 10.99.0.0/24(rw,no_root_squash,no_subtree_check,fsid=8)' >>/etc/exports
    echo '/data/homes 10.99.0.0/24(rw,root_squash,no_subtree_check,fsid=9)' >>/etc/exports
    exportfs -ra";
/// What stands where an agent keeps its overlays and finds homes.
const MOUNT: &str = "mkdir -p /srv/kept /srv/homes
    mount -t nfs4 -o vers=4.2,hard 10.99.0.1:/data/homes /srv/homes
    mount -t nfs4 -o vers=4.2,hard 10.99.0.1:/data/overlays /srv/kept";
/// Sets the agent up.
const HOST: &str = include_str!("nfs-store-host.sh");
/// Lets the agent keep what is kept there.
const KEEP_THERE: &str = "sed -i '1i kept_dir = \"/srv/kept\"' /etc/rolltop/agent.toml
    systemctl restart rolltop-agent";
const LONG: Duration = Duration::from_secs(150);
/// For a server to answer, in a guest that is many times slower than a machine.
const DEADLINE_MS: u32 = 15_000;
const ROUNDS: u32 = 4;
/// The name both want.
const START: &str = "rolltop-agentctl start 7 file:stable --keep ann --overlay-mib 64 2>&1";
const STOP: &str = "rolltop-agentctl stop 7";

pub(crate) fn of_two_hosts_one_has_an_overlay(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let lan = Lan::new()?;
    let disk = stage.disk("server")?;
    let mut server = stage.rig().start(stage.spec("server").on(&lan, 1).data(&disk))?;
    server.sh(SERVER, LONG)?;
    server.sh(EXPORT, SHORT)?;
    let disks = [stage.disk("host-a")?, stage.disk("host-b")?];
    let mut hosts =
        [host(stage, &lan, &disks[0], "host-a", 2)?, host(stage, &lan, &disks[1], "host-b", 3)?];
    let outcome = homes(stage, &mut hosts).and_then(|()| one_at_a_time(stage, &mut hosts));
    let [a, b] = &mut hosts;
    let winner = stage.with_last_words(&mut [&mut server, a, b], outcome)?;

    // The one that has it dies, the other waits no longer than it must.
    let [a, b] = hosts;
    let (dead, mut heir) = if winner == 0 { (a, b) } else { (b, a) };
    dead.cut_power()?;
    let outcome = inherits(stage, &mut heir);
    stage.with_last_words(&mut [&mut server, &mut heir], outcome)?;

    // What was dead comes back, and finds the overlay taken.
    let name = ["host-a", "host-b"][winner];
    let mut back = host(stage, &lan, &disks[winner], name, if winner == 0 { 2 } else { 3 })?;
    let outcome = comes_back(stage, &mut back, &mut heir);
    stage.with_last_words(&mut [&mut server, &mut back, &mut heir], outcome)
}

/// The user's files on a server, the same from both hosts, and nobody else's.
fn homes(stage: &mut Stage<'_>, hosts: &mut [Guest; 2]) -> anyhow::Result<()> {
    let start = "rolltop-agentctl start 5 file:stable --overlay-mib 64 --home /srv/homes/user";
    for host in hosts.iter_mut() {
        stage.must(host, start, LONG)?;
    }
    let [a, b] = hosts;
    let inside = |command: &str| format!("rolltop-agentctl exec 5 '{command}'");
    let write = inside("cd ~ && echo dear >letter && chmod 600 letter && stat -c %u:%g letter . ");
    let owners = stage.must(a, &write, SHORT)?;
    ensure!(owners == "1000:1000\n1000:1000\n", "inside they belong to {owners}");
    let read = stage.must(b, &inside("cat ~/letter && echo me too >>~/letter"), SHORT)?;
    ensure!(read == "dear\n", "the other host reads {read:?}");
    // All but the user have ids of the desktop's own, and no rights there.
    let map = stage.must(a, &inside("cat /proc/self/uid_map"), SHORT)?;
    let map: Vec<&str> = map.split_whitespace().collect();
    ensure!(map.join(" ") == "0 524288 1000 1000 1000 1 1001 525289 64535", "the map is {map:?}");
    let as_root = "rolltop-agentctl exec 5 --root 'cd /home/user; cat letter; touch program; chmod u+s letter'";
    let (status, said) = stage.tell(a, as_root, SHORT)?;
    ensure!(status != 0 && !said.contains("dear"), "root reads {said}");
    let found = stage.must(b, &inside("ls ~; stat -c %a ~/letter"), SHORT)?;
    ensure!(found == "letter\n600\n", "root has made of it: {found}");
    for host in hosts {
        stage.must(host, "rolltop-agentctl stop 5", LONG)?;
    }
    Ok(())
}

/// Both want it at once, time and again. Which one has it at the end.
fn one_at_a_time(stage: &mut Stage<'_>, hosts: &mut [Guest; 2]) -> anyhow::Result<usize> {
    let mut winner = 0;
    for round in 0..ROUNDS {
        let answers = thread::scope(|scope| {
            let asked = hosts.each_mut().map(|host| scope.spawn(|| host.run(START, LONG)));
            asked.map(|asked| asked.join().map_err(|_| anyhow::anyhow!("a test panicked")))
        });
        let [a, b] = answers.map(|answer| answer.and_then(|answer| answer));
        let answers = [a?, b?];
        let got = answers.each_ref().map(|answer| answer.status == 0);
        let texts = answers.each_ref().map(|answer| answer.text());
        ensure!(got[0] != got[1], "round {round}: got it: {got:?}\n{}\n{}", texts[0], texts[1]);
        winner = usize::from(got[1]);
        let refusal = &texts[1 - winner];
        ensure!(refusal.contains("in use"), "round {round}: {refusal}");

        // Its files are those of all rounds before, whoever had them.
        let expected: String = (0..round).map(|round| format!("{round}\n")).collect();
        let inside = format!(
            "rolltop-agentctl exec 7 'touch ~/rounds; cat ~/rounds; echo {round} >>~/rounds; sync'"
        );
        let found = stage.must(&mut hosts[winner], &inside, SHORT)?;
        ensure!(found == expected, "round {round}: the files say {found:?}");
        // Later is no better than at the same instant.
        let (status, refusal) = stage.tell(&mut hosts[1 - winner], START, LONG)?;
        ensure!(status != 0 && refusal.contains("in use"), "round {round}: {refusal}");
        if round + 1 < ROUNDS {
            stage.must(&mut hosts[winner], STOP, LONG)?;
        }
    }
    Ok(winner)
}

fn inherits(stage: &mut Stage<'_>, heir: &mut Guest) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let (status, said) = stage.tell(heir, START, LONG)?;
        if status == 0 {
            break;
        }
        // The server is busy with the dead host's locks, too.
        let waits = said.contains("in use") || said.contains("did not answer within");
        ensure!(waits, "{said}");
        ensure!(begun.elapsed() < LONG, "never got it: {said}");
        thread::sleep(Duration::from_secs(2));
    }
    let found = stage.must(heir, "rolltop-agentctl exec 7 'cat ~/rounds'", SHORT)?;
    ensure!(found == "0\n1\n2\n3\n", "what was synced is not there: {found:?}");
    Ok(())
}

fn comes_back(stage: &mut Stage<'_>, back: &mut Guest, heir: &mut Guest) -> anyhow::Result<()> {
    let list = stage.must(back, "rolltop-agentctl list", SHORT)?;
    ensure!(list.is_empty(), "it thinks it has: {list}");
    let (status, refusal) = stage.tell(back, START, LONG)?;
    ensure!(status != 0 && refusal.contains("in use"), "{refusal}");
    stage.must(heir, STOP, LONG)?;
    stage.must(back, START, LONG)?;
    stage.must(back, STOP, LONG)?;
    for host in [back, heir] {
        stage.must(host, "systemctl stop rolltop-agent && rolltop-agent purge", LONG)?;
        stage.must(host, "umount /srv/kept /srv/homes", SHORT)?;
    }
    Ok(())
}

fn host(
    stage: &mut Stage<'_>,
    lan: &Lan,
    disk: &DataDisk,
    name: &str,
    number: u8,
) -> anyhow::Result<Guest> {
    let mut host = stage.rig().start(stage.spec(name).on(lan, number).data(disk))?;
    stage.must(&mut host, MOUNT, SHORT)?;
    let set_up = format!(
        "IMAGES=nfs://10.99.0.1/data/images DEADLINE_MS={DEADLINE_MS} ADDRESS={number}\n{HOST}\n{KEEP_THERE}"
    );
    let outcome = stage.must(&mut host, &set_up, LONG);
    stage.with_last_words(&mut [&mut host], outcome).context("the host is not set up")?;
    Ok(host)
}
