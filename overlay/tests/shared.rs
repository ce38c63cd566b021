//! Overlays that another host has, and processes that want the same one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rolltop_overlay::*;
use support::{Host, on_a_host_of_its_own, persistent, size, snapshot_name, uuid_of_sound};

#[test]
fn another_host_s_overlay_is_not_mounted_and_its_name_is_told() {
    on_a_host_of_its_own(|host| {
        let dir = host.dir.join("overlays");
        let overlays = Overlays::open_with(&dir, Sharing::Shared).unwrap();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(64)).unwrap();
        host.write_in(&desk, "letter", "dear");

        assert_eq!(overlays.watch_time(&desk).unwrap(), Duration::ZERO);

        // Another host: a device and a mount that know nothing of our lock.
        let elsewhere = host.dir.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let mount = |args: &[&std::ffi::OsStr]| {
            assert!(Command::new(args[0]).args(&args[1..]).status().unwrap().success(), "{args:?}");
        };
        mount(&[
            "mount".as_ref(),
            "-o".as_ref(),
            "loop".as_ref(),
            overlay.path().as_ref(),
            elsewhere.as_ref(),
        ]);
        let error = host.open(1, &overlay, None).unwrap_err();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let OpenError::HeldElsewhere { host: holder, .. } = &error else { panic!("{error}") };
        assert_eq!(*holder, name);
        assert!(!host.desktop(1).exists());
        // The kernel writes ten seconds there.
        assert_eq!(overlays.watch_time(&desk).unwrap(), Duration::from_secs(42));
        mount(&["umount".as_ref(), elsewhere.as_ref()]);
        assert_eq!(overlays.watch_time(&desk).unwrap(), Duration::ZERO);

        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");
        // A copy does not carry the mark of its running original.
        host.open(1, &overlay, None).unwrap();
        overlays.snapshot(&desk, &snapshot_name("s"), "").unwrap();
        let twin = overlays.clone_overlay(&desk.clone().into(), &persistent("twin")).unwrap();
        uuid_of_sound(twin.path());
        host.close(1);
        assert_eq!(host.read_in(twin.kind(), "letter").unwrap(), "dear");
    });
}

const DIR: &str = "ROLLTOP_TEST_SHARED_DIR";
const NUMBER: &str = "ROLLTOP_TEST_SHARED_NUMBER";

/// Not a test: one of several processes that want the same overlay at once. It
/// says with its exit status whether it got it, after it was told to begin.
#[test]
#[ignore = "started by another test"]
fn helper_opens() {
    let host = Host { dir: PathBuf::from(std::env::var_os(DIR).unwrap()) };
    let number: u32 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let overlay = host.overlays().get(&persistent("desk")).unwrap();
    let mut line = String::new();
    println!("ready");
    std::io::stdin().read_line(&mut line).unwrap();
    match host.open(number, &overlay, None) {
        Ok(_) => {}
        Err(OpenError::InUse(_)) => panic!("lost"),
        Err(other) => {
            eprintln!("{other:?}");
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGABRT).unwrap();
        }
    }
}

fn start(host: &Host, number: u32) -> Child {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_opens", "--ignored", "--nocapture"])
        .env(DIR, &host.dir)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the helper did not begin");
    // Its further words go nowhere, but must find a reader.
    std::thread::spawn(move || lines.count());
    child
}

#[test]
fn of_processes_at_the_same_instant_one_wins_and_another_gets_it_afterwards() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        host.base();
        for _ in 0..5 {
            let mut children: Vec<_> = (0..3).map(|n| (n, start(host, n))).collect();
            for (_, child) in &mut children {
                drop(child.stdin.take());
            }
            let won: Vec<u32> = children
                .into_iter()
                .filter_map(|(n, mut child)| {
                    let status = child.wait().unwrap();
                    assert!(status.code().is_some(), "{status}");
                    status.success().then_some(n)
                })
                .collect();
            assert_eq!(won.len(), 1, "{won:?}");
            // The winner is dead; its mount and lock live on.
            let error = host.open(9, &overlay, None).unwrap_err();
            assert!(matches!(error, OpenError::InUse(_)), "{error}");
            host.close(won[0]);
            host.open(9, &overlay, None).unwrap();
            host.close(9);
        }
    });
}
