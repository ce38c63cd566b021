//! Overlays that were not unmounted, or that are damaged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rolltop_overlay::*;
use support::{Host, on_a_host_of_its_own, persistent, size};

/// An overlay with a file in it, closed in order.
fn used_overlay(host: &Host, name: &str) -> OverlayFile {
    let overlay = host.overlays().create(&persistent(name), size(64)).unwrap();
    let opened = host.open(1, &overlay, None).unwrap();
    fs::write(opened.root.join("letter"), "dear").unwrap();
    host.close(1);
    overlay
}

fn debugfs(overlay: &Path, request: &str) {
    let output = Command::new("debugfs").args(["-w", "-R", request]).arg(overlay).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn assert_nothing_mounted(host: &Host) {
    assert!(!host.desktop(1).exists());
    host.loops_clear();
}

#[test]
fn a_journal_is_replayed() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("letter"), "second").unwrap();
        File::open(opened.root.join("letter")).unwrap().sync_all().unwrap();
        // As the disk is at this moment, it is after a crash of the host.
        let twin = host.overlays().create(&persistent("twin"), size(64)).unwrap();
        fs::copy(overlay.path(), twin.path()).unwrap();
        host.close(1);
        let opened = host.open(1, &twin, None).unwrap();
        assert_eq!(opened.repaired, Repaired::Journal);
        assert_eq!(fs::read_to_string(opened.root.join("letter")).unwrap(), "second");
        host.close(1);
        let opened = host.open(1, &twin, None).unwrap();
        assert_eq!(opened.repaired, Repaired::Nothing);
        host.close(1);
    });
}

#[test]
fn recorded_errors_are_repaired_before_mounting() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        debugfs(overlay.path(), "set_super_value state 3");
        debugfs(overlay.path(), "set_super_value free_blocks_count 17");
        let opened = host.open(1, &overlay, None).unwrap();
        assert!(matches!(opened.repaired, Repaired::Checked { .. }), "{:?}", opened.repaired);
        assert_eq!(fs::read_to_string(opened.root.join("letter")).unwrap(), "dear");
        host.close(1);
        assert_eq!(host.open(1, &overlay, None).unwrap().repaired, Repaired::Nothing);
        host.close(1);
    });
}

#[test]
fn a_lost_superblock_is_refused_and_the_file_left_alone() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        let good = fs::read(overlay.path()).unwrap();
        let file = OpenOptions::new().write(true).open(overlay.path()).unwrap();
        file.write_all_at(&[0; 1024], 1024).unwrap();
        let bad = fs::read(overlay.path()).unwrap();
        for _ in 0..2 {
            let error = host.open(1, &overlay, None).unwrap_err();
            let cause = RepairErrorKind::of(&error);
            assert_eq!(cause, RepairErrorKind::Unknown, "{error}");
            assert_nothing_mounted(host);
        }
        assert!(fs::read(overlay.path()).unwrap() == bad);
        // Nor does asking for it make a new one.
        host.overlays().create(&persistent("desk"), size(64)).unwrap();
        assert!(fs::read(overlay.path()).unwrap() == bad);
        file.write_all_at(&good[1024..2048], 1024).unwrap();
        host.open(1, &overlay, None).unwrap();
        host.close(1);
    });
}

#[test]
fn a_file_cut_short_is_refused() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        for length in [0, 1500, 1 << 20] {
            OpenOptions::new().write(true).open(overlay.path()).unwrap().set_len(length).unwrap();
            let error = host.open(1, &overlay, None).unwrap_err();
            assert_eq!(RepairErrorKind::of(&error), RepairErrorKind::Unknown, "{length}: {error}");
            assert_eq!(overlay.path().metadata().unwrap().len(), length);
            assert_nothing_mounted(host);
        }
    });
}

#[test]
fn what_cannot_be_repaired_unasked_is_refused_and_kept() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        debugfs(overlay.path(), "clri <2>");
        debugfs(overlay.path(), "set_super_value state 2");
        for _ in 0..2 {
            let error = host.open(1, &overlay, None).unwrap_err();
            assert_eq!(RepairErrorKind::of(&error), RepairErrorKind::NotRepairable, "{error}");
            assert!(error.to_string().contains("desk.ext4"), "{error}");
            assert_nothing_mounted(host);
        }
        assert_eq!(host.overlays().list().unwrap().len(), 1);
    });
}

#[test]
fn damage_that_only_the_kernel_finds_leaves_nothing_mounted() {
    on_a_host_of_its_own(|host| {
        let overlay = used_overlay(host, "desk");
        // The root directory is gone, but the superblock is fine.
        debugfs(overlay.path(), "clri <2>");
        let error = host.open(1, &overlay, None).unwrap_err();
        assert!(matches!(error, OpenError::Ext4 { .. }), "{error}");
        assert_nothing_mounted(host);
        assert_eq!(host.overlays().list().unwrap().len(), 1);
    });
}

#[test]
fn what_is_refused_can_be_repaired_and_the_damaged_one_is_kept() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        type Damage = fn(&OverlayFile);
        let kinds: [(&str, Damage); 4] = [
            ("superblock", |overlay| {
                let file = OpenOptions::new().write(true).open(overlay.path()).unwrap();
                file.write_all_at(&[0; 1024], 1024).unwrap();
            }),
            ("root", |overlay| {
                debugfs(overlay.path(), "clri <2>");
                debugfs(overlay.path(), "set_super_value state 2");
            }),
            ("journal", |overlay| {
                debugfs(overlay.path(), "clri <8>");
                debugfs(overlay.path(), "set_super_value state 2");
            }),
            ("length", |overlay| {
                let file = OpenOptions::new().write(true).open(overlay.path()).unwrap();
                file.set_len(255 << 20).unwrap();
            }),
        ];
        for (what, damage) in kinds {
            let desk = persistent(what);
            // Two groups of blocks: large enough for a backup superblock.
            let overlay = overlays.create(&desk, size(256)).unwrap();
            host.write_in(&desk, "letter", "dear");
            damage(&overlay);
            let damaged = fs::read(overlay.path()).unwrap();
            let refused = host.open(1, &overlay, None);
            if let Ok(opened) = &refused {
                // e2fsck makes a new journal unasked.
                assert_eq!(what, "journal", "{opened:?}");
                host.close(1);
                continue;
            }
            assert_nothing_mounted(host);
            let mended = overlays.repair(&desk).unwrap();
            assert!(mended.kept.automatic);
            assert!(!mended.report.is_empty());
            let opened = host.open(1, &overlay, None).unwrap();
            let letter = fs::read_to_string(opened.root.join("letter"));
            // Without its root, the file is in lost+found, under another name.
            assert!(letter.is_ok_and(|text| text == "dear") || what == "root", "{what}");
            host.close(1);
            let kept = host
                .dir
                .join(format!("overlays/snapshots/persistent/{what}/{}.ext4", mended.kept.name));
            if what != "root" {
                assert!(fs::read(kept).unwrap() == damaged, "{what}");
            }
        }
        let empty = overlays.create(&persistent("empty"), size(64)).unwrap();
        File::create(empty.path()).unwrap();
        let error = overlays.repair(empty.kind()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert_eq!(empty.path().metadata().unwrap().len(), 0);
    });
}

/// Random bytes in what ext4 keeps about the files: it opens or is refused, a
/// file is right or cannot be read, and after a repair it opens again.
#[test]
fn random_damage_never_gives_wrong_contents() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let overlay = used_overlay(host, "desk");
        let good = fs::read(overlay.path()).unwrap();
        let data = good.windows(4).position(|bytes| bytes == b"dear").unwrap() / 4096;
        let used: Vec<usize> = (0..good.len() / 4096)
            .filter(|block| *block != data)
            .filter(|block| good[block * 4096..][..4096].iter().any(|byte| *byte != 0))
            .collect();
        let (mut refused, mut repaired) = (0, 0);
        for seed in 0..24_u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
                usize::try_from(state >> 33).unwrap() % below
            };
            let mut bad = good.clone();
            for _ in 0..=random(20) {
                let at = used[random(used.len())] * 4096 + random(4096);
                bad[at] ^= 1 << random(8);
            }
            fs::write(overlay.path(), &bad).unwrap();
            match host.open(1, &overlay, None) {
                Ok(opened) => {
                    if let Ok(text) = fs::read_to_string(opened.root.join("letter")) {
                        assert_eq!(text, "dear", "seed {seed}");
                    }
                    host.close(1);
                }
                Err(_) => {
                    refused += 1;
                    assert_nothing_mounted(host);
                    assert_eq!(overlay.path().metadata().unwrap().len(), 64 << 20);
                    if let Ok(mended) = overlays.repair(overlay.kind()) {
                        repaired += 1;
                        host.open(1, &overlay, None).unwrap();
                        host.close(1);
                        overlays.delete_snapshot(overlay.kind(), &mended.kept.name).unwrap();
                    }
                }
            }
        }
        assert!(refused > 3 && repaired > 3, "{refused} refused, {repaired} repaired");
    });
}

#[derive(Debug, PartialEq)]
enum RepairErrorKind {
    Unknown,
    NotRepairable,
    Other,
}

impl RepairErrorKind {
    fn of(error: &OpenError) -> Self {
        match error {
            OpenError::Damaged(RepairError::Unknown { .. }) => Self::Unknown,
            OpenError::Damaged(RepairError::NotRepairable { .. }) => Self::NotRepairable,
            _ => Self::Other,
        }
    }
}
