//! Making, listing and deleting overlay files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::thread;

use nix::mount::{MsFlags, mount};
use rolltop_overlay::*;
use support::{on_a_host_of_its_own, persistent, size, tree, uuid_of_sound};

fn drafts(dir: &Path) -> Vec<String> {
    tree(dir).into_iter().filter(|name| name.contains("draft")).collect()
}

#[test]
fn every_overlay_is_sound_and_has_its_own_uuid() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let mut seen = std::collections::BTreeSet::new();
        for kind in
            [persistent("a"), persistent("b"), OverlayKind::Volatile(1), OverlayKind::Volatile(2)]
        {
            for mib in [64, 300] {
                let kind = match &kind {
                    OverlayKind::Persistent(name) | OverlayKind::Home(name) => {
                        persistent(&format!("{name}{mib}"))
                    }
                    OverlayKind::Volatile(n) => OverlayKind::Volatile(n * 1000 + mib),
                };
                let overlay = overlays.create(&kind, size(mib.into())).unwrap();
                assert_eq!(overlay.size_bytes(), u64::from(mib) << 20);
                let usage = overlays.usage(&kind).unwrap();
                assert!(usage.allocated_bytes < 2 << 20, "{usage:?}");
                assert!(seen.insert(uuid_of_sound(overlay.path())));
            }
        }
        assert_eq!(overlays.list().unwrap().len(), seen.len());
    });
}

#[test]
fn a_persistent_overlay_is_never_made_anew() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let made = overlays.create(&persistent("desk"), size(64)).unwrap();
        let uuid = uuid_of_sound(made.path());
        let again = overlays.create(&persistent("desk"), size(128)).unwrap();
        assert_eq!(again, made);
        assert_eq!(uuid_of_sound(again.path()), uuid);
        let error = Overlays::open(&host.dir.join("overlays"))
            .unwrap()
            .get(&persistent("other"))
            .unwrap_err();
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    });
}

#[test]
fn callers_at_the_same_time_get_the_same_persistent_overlay() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let made: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| overlays.create(&persistent("desk"), size(64)).unwrap()))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(made.iter().all(|overlay| *overlay == made[0]), "{made:?}");
        let text = fs::read_to_string(made[0].path().with_extension("json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let uuid = uuid::Uuid::from_slice(&uuid_of_sound(made[0].path())).unwrap();
        assert_eq!(record["uuid"], uuid.to_string());
        assert_eq!(drafts(&host.dir), [""; 0]);
    });
}

#[test]
fn a_volatile_overlay_is_made_once_even_by_callers_at_the_same_time() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let kind = OverlayKind::Volatile(9);
        let won = thread::scope(|scope| {
            let workers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| overlays.create(&kind, size(64)))).collect();
            let results = workers.into_iter().map(|worker| worker.join().unwrap());
            results
                .filter(|result| match result {
                    Ok(_) => true,
                    Err(StoreError::Exists(_)) => false,
                    Err(other) => panic!("{other}"),
                })
                .count()
        });
        assert_eq!(won, 1);
        assert!(overlays.delete(&kind).unwrap());
        assert!(!overlays.delete(&kind).unwrap());
        overlays.create(&kind, size(64)).unwrap();
    });
}

#[test]
fn sizes_beyond_the_disk_are_refused_and_a_full_disk_keeps_nothing() {
    on_a_host_of_its_own(|host| {
        let dir = host.dir.join("small");
        fs::create_dir(&dir).unwrap();
        let tmpfs = |flags, size_kib: u32| {
            let data = format!("size={size_kib}k,huge=never");
            mount(Some("small"), &dir, Some("tmpfs"), flags, Some(data.as_str())).unwrap();
        };
        tmpfs(MsFlags::empty(), 80 * 1024);
        let overlays = Overlays::open(&dir).unwrap();
        let error = overlays.create(&OverlayKind::Volatile(1), size(81)).unwrap_err();
        assert!(matches!(error, StoreError::LargerThanDisk { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("81 MiB") && text.contains("83886080"), "{text}");

        // Full before the template is made, then before the copy is.
        let filler = dir.join("filler");
        let fill = |leave: u64| {
            let free = rustix::fs::statvfs(&dir).unwrap();
            let bytes = (free.f_bavail * free.f_frsize).saturating_sub(leave);
            fs::write(&filler, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
        };
        for (kind, with_template) in [
            (OverlayKind::Volatile(2), false),
            (OverlayKind::Volatile(3), true),
            (persistent("desk"), false),
            (persistent("desk"), true),
        ] {
            if with_template {
                let other = match kind {
                    OverlayKind::Volatile(_) => OverlayKind::Volatile(4),
                    OverlayKind::Persistent(_) | OverlayKind::Home(_) => persistent("other"),
                };
                overlays.create(&other, size(64)).unwrap();
                overlays.delete(&other).unwrap();
            }
            let before = tree(&dir);
            fill(16 * 1024);
            let error = overlays.create(&kind, size(64)).unwrap_err();
            assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
            fs::remove_file(&filler).unwrap();
            assert_eq!(tree(&dir), before, "{kind}");
        }
        // With room again, all is well.
        overlays.create(&persistent("desk"), size(64)).unwrap();
        nix::mount::umount(&dir).unwrap();
    });
}

#[test]
fn what_a_crash_left_half_made_is_cleared_and_the_rest_is_kept() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        overlays.create(&persistent("desk"), size(64)).unwrap();
        overlays.create(&OverlayKind::Volatile(1), size(64)).unwrap();
        let whole = tree(&host.dir);
        for sub in ["persistent", "volatile", "templates"] {
            fs::write(host.dir.join("overlays").join(sub).join(".draft-1"), "half").unwrap();
        }
        // Cut short between record and overlay.
        let record = fs::read(host.dir.join("overlays/persistent/desk.json")).unwrap();
        fs::write(host.dir.join("overlays/persistent/half.json"), record).unwrap();
        let overlays = host.overlays();
        assert_eq!(drafts(&host.dir), [""; 0]);
        assert!(tree(&host.dir).is_superset(&whole));
        assert_eq!(overlays.list().unwrap().len(), 2);
        overlays.create(&persistent("half"), size(64)).unwrap();
        assert_eq!(overlays.list().unwrap().len(), 3);
    });
}

#[test]
fn without_its_record_an_overlay_is_kept_but_not_used() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let kind = persistent("desk");
        let overlay = overlays.create(&kind, size(64)).unwrap();
        let record = overlay.path().with_extension("json");
        for text in ["{", r#"{"format":99}"#] {
            fs::write(&record, text).unwrap();
            let error = overlays.create(&kind, size(64)).unwrap_err();
            assert!(matches!(error, StoreError::Record(_)), "{error}");
        }
        fs::remove_file(&record).unwrap();
        let error = overlays.create(&kind, size(64)).unwrap_err();
        assert!(matches!(error, StoreError::Record(RecordError::Missing(_))), "{error}");
        // It is still listed, and can be deleted, by name.
        let listed = overlays.list().unwrap();
        assert_eq!((&listed[0].kind, listed[0].created_at), (&kind, None));
        assert!(overlays.delete(&kind).unwrap());
    });
}

#[test]
fn an_open_overlay_is_listed_as_in_use_and_not_deleted() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        for kind in [persistent("desk"), OverlayKind::Volatile(5)] {
            let overlay = overlays.create(&kind, size(64)).unwrap();
            host.open(5, &overlay, None).unwrap();
            assert!(overlays.list().unwrap().iter().find(|o| o.kind == kind).unwrap().in_use);
            let error = overlays.delete(&kind).unwrap_err();
            assert!(matches!(error, StoreError::InUse(_)), "{error}");
            host.close(5);
            assert!(!overlays.list().unwrap().iter().find(|o| o.kind == kind).unwrap().in_use);
            assert!(overlays.delete(&kind).unwrap());
        }
        assert_eq!(overlays.list().unwrap(), []);
    });
}
