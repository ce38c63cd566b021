//! Several openers of one overlay, and openers that die.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rolltop_overlay::*;
use rustix::fs::{Mode, OFlags};
use support::{Host, MAP, on_a_host_of_its_own, persistent, size};

const HELPER_DIR: &str = "ROLLTOP_TEST_HELPER_DIR";

/// Not a test: the process that dies in `an_open_root_outlives_its_opener`.
#[test]
#[ignore = "started by another test"]
fn helper_opens_and_dies() {
    let host = Host { dir: PathBuf::from(std::env::var_os(HELPER_DIR).unwrap()) };
    let overlay = host.overlays().get(&persistent("desk")).unwrap();
    let opened = host.open(1, &overlay, Some(MAP)).unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
    nix::unistd::mkdir(&opened.root.join("home/user/made"), mode).unwrap_err();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn an_open_root_outlives_its_opener() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_opens_and_dies", "--ignored"])
            .env(HELPER_DIR, &host.dir)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(nix::libc::SIGKILL), "{status}");

        // The lock is the loop device's, not the dead process's.
        let error = host.open(2, &overlay, None).unwrap_err();
        assert!(matches!(error, OpenError::InUse(_)), "{error}");
        assert!(matches!(host.overlays().delete(overlay.kind()), Err(StoreError::InUse(_))));

        let found = find_roots(&host.run().join("desktops")).unwrap();
        let root = host.desktop(1).join("root");
        assert_eq!(fs::read_to_string(root.join("etc/issue")).unwrap(), "image\n");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mount_dir, host.desktop(1));
        assert_eq!(found[0].root.as_ref(), Some(&root));
        assert_eq!(found[0].overlay.as_ref().unwrap().0, overlay.path());

        host.close(1);
        assert_eq!(find_roots(&host.run().join("desktops")).unwrap(), []);
        host.open(2, &overlay, None).unwrap();
        host.close(2);
    });
}

#[test]
fn of_openers_at_the_same_time_exactly_one_wins() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        host.base();
        for _ in 0..5 {
            let winners: Vec<u32> = thread::scope(|scope| {
                let overlay = &overlay;
                let workers: Vec<_> = (0..6)
                    .map(|n| {
                        scope.spawn(move || match host.open(n, overlay, Some(MAP)) {
                            Ok(_) => Some(n),
                            Err(OpenError::InUse(_)) => None,
                            Err(other) => panic!("{other:?}"),
                        })
                    })
                    .collect();
                workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
            });
            assert_eq!(winners.len(), 1, "{winners:?}");
            host.close(winners[0]);
        }
        // The losers left their directories empty.
        assert_eq!(support::tree(&host.run().join("desktops")).len(), 0);
    });
}

/// Not a test: it opens while another grabs its loop devices.
#[test]
#[ignore = "started by another test"]
fn helper_opens_in_a_race() {
    let host = Host { dir: PathBuf::from(std::env::var_os(HELPER_DIR).unwrap()) };
    let overlay = host.overlays().get(&persistent("desk")).unwrap();
    host.base();
    support::steps::begin();
    host.open(1, &overlay, None).unwrap();
    support::steps::end();
}

#[test]
fn a_loop_device_that_another_grabs_first_is_given_up_for_the_next() {
    const LOOP_CONFIGURE: u64 = 0x4C0A;
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let grabber = host.dir.join("grabber");
        fs::write(&grabber, vec![0; 1 << 20]).unwrap();
        let losetup = |args: &[&std::ffi::OsStr]| {
            assert!(Command::new("losetup").args(args).status().unwrap().success(), "{args:?}");
        };
        let mut grabbed = Vec::new();
        let dir = host.dir.to_str().unwrap();
        let outcome =
            support::steps::watch("helper_opens_in_a_race", &[(HELPER_DIR, dir)], |call| {
                // Between "this one is free" and "attach to it".
                if call.number == nix::libc::SYS_ioctl
                    && call.arguments[1] == LOOP_CONFIGURE
                    && grabbed.len() < 3
                {
                    let fd = format!("/proc/{}/fd/{}", call.pid, call.arguments[0]);
                    let device = fs::read_link(fd).unwrap();
                    losetup(&[device.as_ref(), grabber.as_ref()]);
                    grabbed.push(device);
                }
                false
            });
        assert!(matches!(outcome, support::steps::Outcome::Ended { .. }), "{outcome:?}");
        assert_eq!(grabbed.len(), 3);
        let found = find_roots(&host.run().join("desktops")).unwrap();
        assert_eq!(found[0].overlay.as_ref().unwrap().0, overlay.path());
        for device in &grabbed {
            losetup(&["-d".as_ref(), device.as_ref()]);
        }
        host.close(1);
    });
}

/// Without a child process, which would hold the mounts of other threads.
fn make_file_as(id: u32, dir: &Path) {
    let dir = fs::File::open(dir).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            nix::unistd::setfsgid(id.into());
            nix::unistd::setfsuid(id.into());
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&dir, "me", flags, Mode::RUSR).unwrap();
            assert_eq!(rustix::fs::fstat(&file).unwrap().st_uid, id);
        });
    });
}

#[test]
fn many_roots_open_and_close_at_once() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        host.base();
        // So that no thread starts mkfs while others close.
        overlays.create(&OverlayKind::Volatile(0), size(64)).unwrap();
        overlays.delete(&OverlayKind::Volatile(0)).unwrap();
        thread::scope(|scope| {
            for n in 0..24 {
                let overlays = &overlays;
                scope.spawn(move || {
                    let kind = OverlayKind::Volatile(n);
                    let overlay = overlays.create(&kind, size(64)).unwrap();
                    let map = IdMap { first: 65_536 * (n + 1), count: 65_536, kept: None };
                    let opened = host.open(n, &overlay, Some(map)).unwrap();
                    make_file_as(map.first, &opened.root);
                    host.close(n);
                    overlays.delete(&kind).unwrap();
                });
            }
        });
        host.loops_clear();
        assert_eq!(overlays.list().unwrap(), []);
    });
}
