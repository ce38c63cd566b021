//! Full disks, outside and inside; file systems that share blocks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rolltop_overlay::*;
use support::{Host, on_a_host_of_its_own, persistent, size, snapshot_name, tree, uuid_of_sound};

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect()
}

fn letter(host: &Host, overlay: &OverlayFile) -> String {
    let opened = host.open(99, overlay, None).unwrap();
    let text = fs::read_to_string(opened.root.join("letter")).unwrap();
    host.close(99);
    text
}

#[test]
fn nothing_is_left_of_what_does_not_fit_on_the_host() {
    on_a_host_of_its_own(|host| {
        let dir = host.dir.join("small");
        fs::create_dir(&dir).unwrap();
        let data = Some("size=200m,huge=never");
        mount(Some("small"), &dir, Some("tmpfs"), MsFlags::empty(), data).unwrap();
        let overlays = Overlays::open(&dir).unwrap();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(100)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("letter"), "dear").unwrap();
        fs::write(opened.root.join("noise"), noise(40 << 20)).unwrap();
        host.close(1);
        let mut archive = Vec::new();
        overlays.export(&desk.clone().into(), &mut archive).unwrap();
        let free = || {
            let disk = rustix::fs::statvfs(&dir).unwrap();
            disk.f_bavail * disk.f_frsize
        };
        let filler = File::create(dir.join("filler")).unwrap();
        let fill = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&filler, fill, 0, free() - (20 << 20)).unwrap();
        let before = tree(&dir);
        let twin = persistent("twin");
        let grow_result = overlays.grow(&desk, size(150)).map(drop);
        let grows_in_place =
            caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE)
                .unwrap();
        for (what, result) in [
            ("snapshot", overlays.snapshot(&desk, &snapshot_name("s"), "").map(drop)),
            ("clone", overlays.clone_overlay(&desk.clone().into(), &twin).map(drop)),
            ("import", overlays.import(&twin, &mut archive.as_slice(), size(100)).map(drop)),
            ("grow", grow_result),
        ] {
            if what == "grow" && grows_in_place {
                result.unwrap();
                continue;
            }
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::NoSpaceForCopy { .. }), "{what}: {error}");
            assert_eq!(tree(&dir), before, "{what}");
        }
        // Running, too.
        let opened = host.open(1, &overlay, None).unwrap();
        let error = overlays.snapshot(&desk, &snapshot_name("s"), "").unwrap_err();
        assert!(matches!(error, StoreError::NoSpaceForCopy { .. }), "{error}");
        fs::write(opened.root.join("alive"), "").unwrap();
        host.close(1);

        // Room that is gone before a copy comes to it.
        let room = File::create(dir.join("room")).unwrap();
        rustix::fs::fallocate(
            &filler,
            rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
            0,
            60 << 20,
        )
        .unwrap();
        struct Thief<'a>(&'a [u8], &'a File, u64);
        impl std::io::Read for Thief<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if self.0.len() < 30 << 20 && self.2 > 0 {
                    let flags = rustix::fs::FallocateFlags::empty();
                    rustix::fs::fallocate(self.1, flags, 0, std::mem::take(&mut self.2))?;
                }
                std::io::Read::read(&mut self.0, buffer)
            }
        }
        let before = tree(&dir);
        let steal = free() - (25 << 20);
        let error =
            overlays.import(&twin, &mut Thief(&archive, &room, steal), size(100)).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
        assert_eq!(tree(&dir), before);
        assert_eq!(letter(host, &overlay), "dear");
        drop((filler, room));
        umount2(&dir, MntFlags::empty()).unwrap();
    });
}

#[test]
fn a_full_overlay_opens_keeps_what_was_synced_and_grows() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let overlay = overlays.create(&desk, size(64)).unwrap();
        host.write_in(&desk, "letter", "dear");
        let opened = host.open(1, &overlay, None).unwrap();
        let mut filler = File::create(opened.root.join("filler")).unwrap();
        let piece = noise(1 << 20);
        let full =
            (0..100).find_map(|_| filler.write_all(&piece).and_then(|()| filler.sync_all()).err());
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
        drop(filler);
        overlays.snapshot(&desk, &snapshot_name("full"), "").unwrap();
        host.close(1);
        assert_eq!(letter(host, &overlay), "dear");
        overlays.grow(&desk, size(128)).unwrap();
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("more"), noise(10 << 20)).unwrap();
        File::open(opened.root.join("more")).unwrap().sync_all().unwrap();
        host.close(1);
        assert_eq!(letter(host, &overlay), "dear");
        uuid_of_sound(overlay.path());
    });
}

/// A file system of the type, mounted at `dir`; whether its tools are there.
fn mounted(host: &Host, file_system: &str, dir: &Path) -> bool {
    let disk = host.dir.join(format!("{file_system}.disk"));
    File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let mkfs = format!("mkfs.{file_system}");
    match Command::new(&mkfs).arg("-q").arg(&disk).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            eprintln!("skipped: no {mkfs}");
            return false;
        }
    }
    fs::create_dir(dir).unwrap();
    assert!(
        Command::new("mount").args(["-o", "loop"]).args([&disk, dir]).status().unwrap().success()
    );
    true
}

#[test]
fn copies_share_blocks_where_the_file_system_can() {
    on_a_host_of_its_own(|host| {
        for file_system in ["xfs", "btrfs"] {
            let dir = host.dir.join(file_system);
            if !mounted(host, file_system, &dir) {
                continue;
            }
            let overlays = Overlays::open(&dir.join("overlays")).unwrap();
            let desk = persistent("desk");
            let overlay = overlays.create(&desk, size(256)).unwrap();
            let opened = host.open(1, &overlay, None).unwrap();
            fs::write(opened.root.join("letter"), "dear").unwrap();
            fs::write(opened.root.join("noise"), noise(100 << 20)).unwrap();
            File::open(opened.root.join("noise")).unwrap().sync_all().unwrap();
            // Five copies of 100 MiB would not fit.
            for n in 0..4 {
                overlays.snapshot(&desk, &snapshot_name(&format!("s{n}")), "").unwrap();
                fs::write(opened.root.join("letter"), format!("dear {n}")).unwrap();
            }
            let twin = overlays.clone_overlay(&desk.clone().into(), &persistent("twin")).unwrap();
            host.close(1);
            assert_eq!(letter(host, &twin), "dear 3");
            overlays.roll_back(&desk, &snapshot_name("s1"), PresentState::Keep).unwrap();
            assert_eq!(letter(host, &overlay), "dear 0");
            uuid_of_sound(overlay.path());
            umount2(&dir, MntFlags::empty()).unwrap();
        }
    });
}
