//! Snapshots, going back to them, and clones, of overlays in use and not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use rolltop_overlay::*;
use support::{
    Host, home, on_a_host_of_its_own, persistent, size, snapshot_name, tree, uuid_of_sound,
};

fn names(host: &Host, kind: &OverlayKind) -> Vec<String> {
    let found = host.overlays().snapshots(kind).unwrap();
    found.into_iter().map(|snapshot| snapshot.name.to_string()).collect()
}

#[test]
fn rolling_back_gives_the_old_state_and_keeps_the_new_one() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        overlays.create(&desk, size(64)).unwrap();
        host.write_in(&desk, "letter", "first");
        let taken = overlays.snapshot(&desk, &snapshot_name("monday"), "before the move").unwrap();
        assert_eq!(taken.description, "before the move");
        assert!(!taken.automatic && taken.created_at.is_some());
        assert_eq!(taken.size_bytes, 64 << 20);
        host.write_in(&desk, "letter", "second");

        let kept = overlays.roll_back(&desk, &taken.name, PresentState::Keep).unwrap().unwrap();
        assert!(kept.automatic);
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "first");
        assert_eq!(names(host, &desk), ["monday".to_owned(), kept.name.to_string()]);

        // And forth again, this time for good.
        host.write_in(&desk, "letter", "third");
        let none = overlays.roll_back(&desk, &kept.name, PresentState::Discard).unwrap();
        assert_eq!(none, None);
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "second");
        assert_eq!(names(host, &desk).len(), 2);
        assert!(overlays.delete_snapshot(&desk, &kept.name).unwrap());
        assert!(!overlays.delete_snapshot(&desk, &kept.name).unwrap());
        uuid_of_sound(overlays.get(&desk).unwrap().path());
    });
}

#[test]
fn a_running_desktop_s_snapshot_has_what_was_written() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(128)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        for n in 0..50 {
            fs::write(opened.root.join(format!("file{n}")), vec![n; 40_000]).unwrap();
        }
        let mut log = File::create(opened.root.join("log")).unwrap();
        log.write_all(b"synced").unwrap();
        log.sync_all().unwrap();
        overlays.snapshot(&desk, &snapshot_name("live"), "").unwrap();
        // Not frozen.
        log.write_all(b" and more").unwrap();
        log.sync_all().unwrap();
        assert_eq!(fs::read_dir(host.dir.join("overlays/frozen")).unwrap().count(), 0);

        let from = CopySource { kind: desk.clone(), snapshot: Some(snapshot_name("live")) };
        let twin = overlays.clone_overlay(&from, &persistent("twin")).unwrap();
        assert_eq!(host.open(2, &twin, None).unwrap().repaired, Repaired::Nothing);
        let twin_root = host.desktop(2).join("root");
        assert_eq!(fs::read_to_string(twin_root.join("log")).unwrap(), "synced");
        for n in 0..50 {
            assert_eq!(fs::read(twin_root.join(format!("file{n}"))).unwrap(), vec![n; 40_000]);
        }
        host.close(2);
        let error =
            overlays.roll_back(&desk, &snapshot_name("live"), PresentState::Keep).unwrap_err();
        assert!(matches!(error, StoreError::InUse(_)), "{error}");
        drop(log);
        host.close(1);
        assert_ne!(uuid_of_sound(twin.path()), uuid_of_sound(overlay.path()));
    });
}

#[test]
fn a_snapshot_is_of_one_instant_while_the_desktop_writes() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(128)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // `b` is made once `a` is on disk, and holds the same.
                let mut n = 0_u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for name in ["a", "b"] {
                        let mut file =
                            File::create(opened.root.join(format!("{n}{name}"))).unwrap();
                        file.write_all(n.to_string().repeat(5000).as_bytes()).unwrap();
                        file.sync_all().unwrap();
                    }
                    if n >= 40 {
                        fs::remove_file(opened.root.join(format!("{}a", n - 40))).unwrap();
                        fs::remove_file(opened.root.join(format!("{}b", n - 40))).unwrap();
                    }
                    n += 1;
                }
                n
            });
            for round in 0..4 {
                overlays.snapshot(&desk, &snapshot_name(&format!("s{round}")), "").unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(writer.join().unwrap() > 0);
        });
        host.close(1);
        for round in 0..4 {
            let snapshot = Some(snapshot_name(&format!("s{round}")));
            let twin = persistent(&format!("twin{round}"));
            let overlay = overlays
                .clone_overlay(&CopySource { kind: desk.clone(), snapshot }, &twin)
                .unwrap();
            uuid_of_sound(overlay.path());
            let opened = host.open(2, &overlay, None).unwrap();
            let names = tree(&opened.root);
            for name in names.iter().filter(|name| name.ends_with('b')) {
                let Ok(n) = name.trim_end_matches('b').parse::<u64>() else { continue };
                let wanted = n.to_string().repeat(5000);
                // The last one may be on its way.
                if names.contains(&format!("{}a", n + 1)) {
                    assert_eq!(fs::read_to_string(opened.root.join(name)).unwrap(), wanted);
                }
                if let Ok(a) = fs::read_to_string(opened.root.join(format!("{n}a"))) {
                    assert_eq!(a, wanted, "{name} of round {round}");
                }
            }
            host.close(2);
        }
    });
}

#[test]
fn clones_have_a_life_of_their_own() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        overlays.create(&desk, size(64)).unwrap();
        host.write_in(&desk, "letter", "dear");
        let twin = overlays.clone_overlay(&desk.clone().into(), &persistent("twin")).unwrap();
        assert_eq!(twin.options(), overlays.get(&desk).unwrap().options());
        host.write_in(&desk, "letter", "changed");
        assert_eq!(host.read_in(twin.kind(), "letter").unwrap(), "dear");
        let error = overlays.clone_overlay(&desk.clone().into(), twin.kind()).unwrap_err();
        assert!(matches!(error, StoreError::Exists(_)), "{error}");
        let error = overlays.clone_overlay(&desk.clone().into(), &home("h")).unwrap_err();
        assert!(matches!(error, StoreError::OtherKind { .. }), "{error}");
        let error = overlays.clone_overlay(&persistent("no").into(), &persistent("x")).unwrap_err();
        assert!(matches!(error, StoreError::Record(_)), "{error}");
        let volatile = OverlayKind::Volatile(7);
        overlays.create(&volatile, size(64)).unwrap();
        for result in [
            overlays.clone_overlay(&volatile.clone().into(), &persistent("x")).map(drop),
            overlays.snapshot(&volatile, &snapshot_name("s"), "").map(drop),
        ] {
            assert!(matches!(result, Err(StoreError::NotKept(_))), "{result:?}");
        }
    });
}

#[test]
fn names_numbers_and_words_are_bounded() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        for bad in ["", "..", "a/b", ".hidden", "a b"] {
            assert!(SnapshotName::try_from(bad).is_err(), "{bad:?}");
        }
        let error = overlays.snapshot(&desk, &snapshot_name("s"), "").unwrap_err();
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
        assert!(matches!(overlays.snapshots(&desk), Err(StoreError::NotFound(_))));
        overlays.create(&desk, size(64)).unwrap();
        let long = "x".repeat(MAX_DESCRIPTION_BYTES + 1);
        let error = overlays.snapshot(&desk, &snapshot_name("s"), &long).unwrap_err();
        assert!(matches!(error, StoreError::Description { .. }), "{error}");
        for n in 0..MAX_SNAPSHOTS {
            overlays.snapshot(&desk, &snapshot_name(&format!("s{n}")), "").unwrap();
        }
        let error = overlays.snapshot(&desk, &snapshot_name("one-more"), "").unwrap_err();
        assert!(matches!(error, StoreError::TooManySnapshots(_)), "{error}");
        let error = overlays.snapshot(&desk, &snapshot_name("s3"), "").unwrap_err();
        assert!(matches!(error, StoreError::SnapshotExists { .. }), "{error}");
        let error =
            overlays.roll_back(&desk, &snapshot_name("s3"), PresentState::Keep).unwrap_err();
        assert!(matches!(error, StoreError::TooManySnapshots(_)), "{error}");
        let error =
            overlays.roll_back(&desk, &snapshot_name("no"), PresentState::Discard).unwrap_err();
        assert!(matches!(error, StoreError::NoSnapshot { .. }), "{error}");

        let error = overlays.delete(&desk).unwrap_err();
        assert!(
            matches!(error, StoreError::HasSnapshots { count, .. } if count == MAX_SNAPSHOTS),
            "{error}"
        );
        assert!(overlays.get(&desk).is_ok());
        assert!(overlays.delete_with_snapshots(&desk).unwrap());
        overlays.create(&desk, size(64)).unwrap();
        assert_eq!(names(host, &desk), [""; 0]);
    });
}

#[test]
fn homes_are_volumes_of_their_own() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let alice = home("alice");
        let volume = overlays.create(&alice, size(64)).unwrap();
        let mount_dir = host.run().join("homes/7");
        let plan =
            VolumePlan { volume: &volume, mount_dir: &mount_dir, id_map: Some(support::MAP) };
        let opened = open_volume(&plan).unwrap();
        assert!(matches!(open_volume(&plan), Err(OpenError::Occupied(_))));
        support::run_as(support::MAP.first, &opened.data, &["touch", "mine"]);
        overlays.snapshot(&alice, &snapshot_name("live"), "").unwrap();
        let found = find_roots(&host.run().join("homes")).unwrap();
        assert_eq!(found[0].overlay.as_ref().unwrap().0, volume.path());
        assert!(matches!(overlays.delete(&alice), Err(StoreError::InUse(_))));
        assert!(close_root(&mount_dir).is_clean());

        // The same name is another overlay's.
        overlays.create(&persistent("alice"), size(64)).unwrap();
        let opened = open_volume(&VolumePlan { id_map: None, ..plan }).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!(opened.data.join("mine").metadata().unwrap().uid(), 0);
        assert!(close_root(&mount_dir).is_clean());
        let kinds: Vec<_> = overlays.list().unwrap().into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [persistent("alice"), alice.clone()]);
        assert!(overlays.delete_with_snapshots(&alice).unwrap());
        assert!(overlays.get(&persistent("alice")).is_ok());
    });
}

#[test]
fn what_was_left_frozen_is_thawed_at_the_next_start() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        let disk = host.desktop(1).join("disk");
        let freeze =
            || Command::new("fsfreeze").arg("--freeze").arg(&disk).output().unwrap().status;
        assert!(freeze().success());
        let marker = host.dir.join("overlays/frozen/persistent.desk.ext4");
        let held = File::create(&marker).unwrap();
        // Who holds the marker is at work.
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        drop(host.overlays());
        assert!(!freeze().success(), "it was thawed under another's hands");
        drop(held);
        drop(host.overlays());
        assert!(!marker.exists());
        fs::write(opened.root.join("letter"), "dear").unwrap();
        host.close(1);
    });
}
