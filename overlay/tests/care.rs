//! Growing, trimming, measuring and checking overlays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use caps::{CapSet, Capability};
use rolltop_overlay::*;
use support::{home, on_a_host_of_its_own, persistent, size, snapshot_name, uuid_of_sound};

fn can_grow_online() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap()
}

#[test]
fn a_stopped_overlay_grows_and_keeps_its_files() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        for kind in [persistent("desk"), home("h"), OverlayKind::Volatile(3)] {
            let made = overlays.create(&kind, size(64)).unwrap();
            if kind == persistent("desk") {
                host.write_in(&kind, "letter", "dear");
            }
            // Across the 8 GiB where the table of groups gets its second block.
            for mib in [65, 1000, 10_000] {
                let grown = overlays.grow(&kind, size(mib)).unwrap();
                assert_eq!(grown.size_bytes(), u64::try_from(mib).unwrap() << 20);
                uuid_of_sound(grown.path());
                let inside = overlays.usage(&kind).unwrap().inside.unwrap();
                assert!(inside.free_bytes > grown.size_bytes() / 10 * 9, "{inside:?}");
            }
            // Again is fine, back is not.
            overlays.grow(&kind, size(10_000)).unwrap();
            let error = overlays.grow(&kind, size(9999)).unwrap_err();
            assert!(matches!(error, StoreError::Shrink { .. }), "{error}");
            if kind == persistent("desk") {
                assert_eq!(host.read_in(&kind, "letter").unwrap(), "dear");
                let text = fs::read_to_string(made.path().with_extension("json")).unwrap();
                let record: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(record["size_bytes"], 10_000_u64 << 20);
            }
        }
        let error = overlays.grow(&persistent("no"), size(100)).unwrap_err();
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
        let huge = size(MAX_SIZE_MIB);
        let error = overlays.grow(&persistent("desk"), huge).unwrap_err();
        assert!(matches!(error, StoreError::LargerThanDisk { .. }), "{error}");
    });
}

#[test]
fn a_growth_that_was_cut_short_is_completed() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let made = overlays.create(&desk, size(64)).unwrap();
        host.write_in(&desk, "letter", "dear");
        OpenOptions::new().write(true).open(made.path()).unwrap().set_len(200 << 20).unwrap();
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");
        // Opening it has completed that, where the kernel may; elsewhere it is
        // grown to what was begun, though less is asked for.
        let asked = if can_grow_online() { 200 } else { 100 };
        let grown = overlays.grow(&desk, size(asked)).unwrap();
        assert_eq!(grown.size_bytes(), 200 << 20);
        let inside = overlays.usage(&desk).unwrap().inside.unwrap();
        assert!(inside.free_bytes > 150 << 20, "{inside:?}");
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");
    });
}

#[test]
fn a_running_overlay_grows_where_the_kernel_allows_it() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(64)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("letter"), "dear").unwrap();
        let result = overlays.grow(&desk, size(300));
        if can_grow_online() {
            assert_eq!(result.unwrap().size_bytes(), 300 << 20);
            let inside = overlays.usage(&desk).unwrap().inside.unwrap();
            assert!(inside.free_bytes > 250 << 20, "{inside:?}");
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::GrowStopped { .. }), "{error}");
            assert!(error.to_string().contains("grow it while it is stopped"), "{error}");
            assert_eq!(overlay.path().metadata().unwrap().len(), 64 << 20);
        }
        host.close(1);
        overlays.grow(&desk, size(300)).unwrap();
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");
    });
}

#[test]
fn trimming_gives_back_what_is_free() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(128)).unwrap();
        host.write_in(&desk, "letter", "dear");
        let fill = || {
            // As a plain copy of it would be.
            let file = OpenOptions::new().read(true).write(true).open(overlay.path()).unwrap();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 128 << 20)
                .unwrap();
            assert!(file.metadata().unwrap().blocks() * 512 >= 128 << 20);
        };
        fill();
        let trimmed = overlays.trim(&desk).unwrap();
        assert!(trimmed.given_back_bytes() > 100 << 20, "{trimmed:?}");
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");

        fill();
        host.open(1, &overlay, None).unwrap();
        let trimmed = overlays.trim(&desk).unwrap();
        assert!(trimmed.given_back_bytes() > 100 << 20, "{trimmed:?}");
        host.close(1);
        assert_eq!(host.read_in(&desk, "letter").unwrap(), "dear");
        uuid_of_sound(overlay.path());
    });
}

#[test]
fn usage_tells_what_is_inside_mounted_or_not() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(128)).unwrap();
        let empty = overlays.usage(&desk).unwrap().inside.unwrap();
        assert!(empty.used_bytes < 1 << 20 && empty.free_bytes > 110 << 20, "{empty:?}");
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("big"), vec![1; 20 << 20]).unwrap();
        File::open(opened.root.join("big")).unwrap().sync_all().unwrap();
        let live = overlays.usage(&desk).unwrap();
        let inside = live.inside.unwrap();
        assert!((20 << 20..22 << 20).contains(&inside.used_bytes), "{inside:?}");
        assert!(live.allocated_bytes > 20 << 20);
        assert_eq!(overlays.list().unwrap()[0].usage.inside, Some(inside));
        let mounts = opened.root.parent().unwrap();
        assert_eq!(overlays.usage_in(&desk, mounts).unwrap().inside, Some(inside));
        host.close(1);
        let closed = overlays.usage(&desk).unwrap().inside.unwrap();
        assert!(closed.used_bytes.abs_diff(inside.used_bytes) < 1 << 20, "{closed:?} {inside:?}");
        assert!(closed.free_bytes.abs_diff(inside.free_bytes) < 1 << 20, "{closed:?} {inside:?}");
    });
}

#[test]
fn checking_reports_and_changes_nothing() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(64)).unwrap();
        assert_eq!(overlays.check(&desk).unwrap(), Health::Sound);
        let opened = host.open(1, &overlay, None).unwrap();
        assert_eq!(overlays.check(&desk).unwrap(), Health::InUse);
        fs::write(opened.root.join("letter"), "dear").unwrap();
        File::open(opened.root.join("letter")).unwrap().sync_all().unwrap();
        let crashed = overlays.create(&persistent("crashed"), size(64)).unwrap();
        fs::copy(overlay.path(), crashed.path()).unwrap();
        host.close(1);

        let debugfs = |request: &str| {
            let output = Command::new("debugfs")
                .args(["-w", "-R", request])
                .arg(overlay.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        for (overlay, expected) in [(&crashed, "repairable"), (&overlay, "damaged")] {
            if expected == "damaged" {
                debugfs("clri <2>");
            }
            let before = fs::read(overlay.path()).unwrap();
            let health = overlays.check(overlay.kind()).unwrap();
            match expected {
                "repairable" => assert!(matches!(health, Health::Repairable { .. }), "{health:?}"),
                _ => assert!(matches!(health, Health::Damaged { .. }), "{health:?}"),
            }
            assert!(fs::read(overlay.path()).unwrap() == before);
        }
        // One known to be damaged is not copied as if it were whole.
        debugfs("set_super_value state 2");
        let error = overlays.snapshot(&desk, &snapshot_name("s"), "").unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    });
}
