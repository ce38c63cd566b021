//! Opening and closing roots, with real mounts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use rolltop_overlay::mountinfo::mounts_below;
use rolltop_overlay::*;
use support::{MAP, on_a_host_of_its_own, persistent, run_as, size};

#[test]
fn what_is_written_is_there_after_a_reopen() {
    on_a_host_of_its_own(|host| {
        let kind = persistent("desk");
        for round in 0..3 {
            let overlay = host.overlays().create(&kind, size(64)).unwrap();
            let opened = host.open(1, &overlay, None).unwrap();
            assert_eq!(opened.repaired, Repaired::Nothing);
            assert_eq!(fs::read_to_string(opened.root.join("etc/issue")).unwrap(), "image\n");
            let log = opened.root.join("log");
            let before = fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(before, "x".repeat(round));
            fs::write(&log, before + "x").unwrap();
            host.close(1);
        }
        // The image saw nothing of it.
        assert!(!host.image().join("log").exists());
    });
}

#[test]
fn ids_are_shifted_in_the_root_but_not_on_disk() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let opened = host.open(1, &overlay, Some(MAP)).unwrap();
        let notes = opened.root.join("home/user/notes");
        assert_eq!(notes.metadata().unwrap().uid(), 101_000);
        assert_eq!(opened.root.metadata().unwrap().uid(), 100_000);
        // Copied up, and made anew.
        fs::write(&notes, "changed").unwrap();
        let new = opened.root.join("new");
        fs::write(&new, "").unwrap_err();
        support::run_as(MAP.first, &opened.root, &["touch", "new"]);
        assert_eq!(new.metadata().unwrap().gid(), 100_000);
        chown(&new, Some(100_007), Some(100_008)).unwrap();
        host.close(1);

        // Another desktop number, another range: the same overlay fits.
        let map = IdMap { first: 900_000, count: 65_536, kept: None };
        let opened = host.open(2, &overlay, Some(map)).unwrap();
        assert_eq!(fs::read_to_string(opened.root.join("home/user/notes")).unwrap(), "changed");
        assert_eq!(opened.root.join("home/user/notes").metadata().unwrap().uid(), 901_000);
        assert_eq!(opened.root.join("new").metadata().unwrap().uid(), 900_007);
        host.close(2);

        let opened = host.open(3, &overlay, None).unwrap();
        assert_eq!(opened.root.join("home/user/notes").metadata().unwrap().uid(), 1000);
        assert_eq!(opened.root.join("new").metadata().unwrap().uid(), 7);
        assert_eq!(opened.root.join("new").metadata().unwrap().gid(), 8);
        host.close(3);
    });
}

#[test]
fn a_set_uid_program_works_in_the_root() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&OverlayKind::Volatile(1), size(64)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        // In the upper layer, and in the lower one.
        let upper = opened.root.join("id");
        fs::copy("/usr/bin/id", &upper).unwrap();
        fs::set_permissions(&upper, PermissionsExt::from_mode(0o4755)).unwrap();
        for program in ["./id", "./bin/id"] {
            assert_eq!(support::run_as(1000, &opened.root, &[program, "-u"]), "0\n");
        }
        host.close(1);
    });
}

#[test]
fn everything_mounted_is_private_and_guarded() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        host.open(1, &overlay, Some(MAP)).unwrap();
        let dir = host.desktop(1);
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
        let mounts = mounts_below(&dir).unwrap();
        assert_eq!(mounts.len(), 3);
        for mount in mounts {
            assert!(!mount.shared, "{mount:?}");
            assert!(mount.options.contains("nodev"), "{mount:?}");
            match mount.mount_point.file_name().unwrap().to_str().unwrap() {
                "lower" => assert!(mount.options.contains("ro"), "{mount:?}"),
                "disk" => {
                    assert_eq!(mount.file_system, "ext4");
                    assert!(mount.options.contains("nosuid"), "{mount:?}");
                    assert!(mount.options.contains("noatime"), "{mount:?}");
                    assert!(mount.super_options.to_str().unwrap().contains("discard"));
                }
                "root" => {
                    assert_eq!(mount.file_system, "overlay");
                    let options = mount.super_options.to_str().unwrap();
                    assert!(!options.contains("index=on"), "{options}");
                    assert!(!options.contains("metacopy=on"), "{options}");
                    assert!(!options.contains("redirect_dir=on"), "{options}");
                    assert!(!options.contains("volatile"), "{options}");
                    // Nothing of the outside in it.
                    assert!(options.contains("lowerdir=lower"), "{options}");
                }
                other => panic!("unexpected mount {other}"),
            }
        }
        host.close(1);
    });
}

#[test]
fn a_volatile_overlay_opens_again_and_renames_directories() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&OverlayKind::Volatile(3), size(64)).unwrap();
        for round in 0..2 {
            let opened = host.open(3, &overlay, Some(MAP)).unwrap();
            let (from, to) = if round == 0 { ("home", "moved") } else { ("moved", "home") };
            fs::rename(opened.root.join(from), opened.root.join(to)).unwrap();
            assert!(opened.root.join(to).join("user/notes").exists());
            host.close(3);
        }
    });
}

#[test]
fn a_directory_in_use_is_not_touched() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let one = overlays.create(&OverlayKind::Volatile(1), size(64)).unwrap();
        let two = overlays.create(&OverlayKind::Volatile(2), size(64)).unwrap();
        let opened = host.open(1, &one, None).unwrap();
        let error = host.open(1, &two, None).unwrap_err();
        assert!(matches!(error, OpenError::Occupied(_)), "{error}");
        assert!(opened.root.join("etc/issue").exists());
        host.close(1);
        host.open(1, &two, None).unwrap();
        host.close(1);
    });
}

#[test]
fn what_is_mounted_inside_goes_too_and_a_busy_root_is_detached() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        for inner in ["home", "home/user", "etc"] {
            nix::mount::mount(
                Some("inner"),
                &opened.root.join(inner),
                Some("tmpfs"),
                nix::mount::MsFlags::empty(),
                None::<&str>,
            )
            .unwrap();
            fs::create_dir_all(opened.root.join("home/user")).unwrap();
        }
        host.close(1);

        let opened = host.open(1, &overlay, None).unwrap();
        let user = fs::File::create(opened.root.join("open")).unwrap();
        let report = close_root(&host.desktop(1));
        assert_eq!(report.detached, [opened.root]);
        assert_eq!(report.held_by_loop, Some(opened.loop_number));
        assert!(report.errors.is_empty(), "{report:?}");
        // Still locked: the data is not all on disk.
        let error = host.open(1, &overlay, None).unwrap_err();
        assert!(matches!(error, OpenError::InUse(_)), "{error}");
        assert!(matches!(host.overlays().delete(overlay.kind()), Err(StoreError::InUse(_))));
        drop(user);
        host.loops_clear();
        let opened = host.open(1, &overlay, None).unwrap();
        assert!(opened.root.join("open").exists());
        host.close(1);
    });
}

#[test]
fn closing_twice_or_nothing_is_fine() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&OverlayKind::Volatile(1), size(64)).unwrap();
        host.open(1, &overlay, None).unwrap();
        host.close(1);
        host.close(1);
        // Only a part of it is there, and something of somebody else's.
        let dir = host.desktop(2);
        fs::create_dir_all(dir.join("lower")).unwrap();
        fs::write(dir.join("other"), "kept").unwrap();
        assert!(close_root(&dir).is_clean());
        assert_eq!(support::tree(&dir).into_iter().collect::<Vec<_>>(), ["other"]);
    });
}

#[test]
fn a_failed_open_leaves_nothing() {
    on_a_host_of_its_own(|host| {
        let overlay = host.overlays().create(&persistent("desk"), size(64)).unwrap();
        let dir = host.desktop(1);
        let plan = |lower, id_map| OpenPlan { lower, overlay: &overlay, mount_dir: &dir, id_map };
        let missing = host.dir.join("missing");
        let error = open_root(&plan(&missing, None)).unwrap_err();
        assert!(matches!(&error, OpenError::Step(step) if step.operand == missing), "{error}");
        let base = host.base();
        let error =
            open_root(&plan(&base, Some(IdMap { first: 0, count: 0, kept: None }))).unwrap_err();
        assert!(matches!(error, OpenError::IdMap { .. }), "{error}");
        // A file can be mounted but is no layer: found out by the last step.
        let file = base.join("etc/issue");
        open_root(&plan(&file, None)).unwrap_err();
        // An overlay mount cannot be ID-mapped: found out when one is asked for.
        assert!(!dir.exists());
        host.loops_clear();
        host.open(1, &overlay, None).unwrap();
        host.close(1);
    });
}

#[test]
fn a_shifted_base_root_shows_its_ids_and_keeps_the_disk_unshifted() {
    on_a_host_of_its_own(|host| {
        let image = host.image();
        for (path, id) in [("", 0), ("etc", 0), ("home", 0), ("home/user", 1000)] {
            let outer = MAP.outer(id);
            chown(image.join(path), outer, outer).unwrap();
        }
        let overlay = host.overlays().create(&persistent("a"), size(64)).unwrap();
        let (lower, mount_dir) = (host.base(), host.desktop(1));
        let plan =
            OpenPlan { lower: &lower, overlay: &overlay, mount_dir: &mount_dir, id_map: Some(MAP) };
        let opened = open_shifted_root(&plan).unwrap();
        let owner = |path: &str| opened.root.join(path).metadata().unwrap().uid();
        assert_eq!((owner("etc"), owner("home/user")), (100_000, 101_000));
        run_as(101_000, &opened.root.join("home/user"), &["touch", "mine"]);
        assert_eq!(owner("home/user/mine"), 101_000);
        // On disk it is user 1000's, as over a base root that is mapped.
        host.close(1);
        let opened = host.open(1, &overlay, None).unwrap();
        assert_eq!(opened.root.join("home/user/mine").metadata().unwrap().uid(), 1000);
        host.close(1);
    });
}
