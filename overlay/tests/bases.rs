//! Base roots: mounted once, read-only, found again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rolltop_overlay::mountinfo::mounts_below;
use rolltop_overlay::*;
use rustix::io::Errno;
use support::{Host, MAP, on_a_host_of_its_own, size, tree};

fn key(text: &str) -> BaseKey {
    BaseKey::try_from(text).unwrap()
}

fn erofs(host: &Host) -> PathBuf {
    let file = host.dir.join("image,1:\\.erofs");
    let output = Command::new("mkfs.erofs").arg(&file).arg(host.image()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    file
}

fn sources(host: &Host) -> [BaseSource; 2] {
    [BaseSource::Directory(host.image()), BaseSource::Erofs(erofs(host))]
}

#[test]
fn a_base_root_is_read_only_and_mounted_once() {
    on_a_host_of_its_own(|host| {
        for (index, source) in sources(host).iter().enumerate() {
            let (bases, key) = (host.bases(), key(&format!("image@{index}")));
            let points: Vec<_> = thread::scope(|scope| {
                let workers: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| bases.mount(&key, source).unwrap())).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            assert!(points.iter().all(|point| *point == points[0]));
            let found = mounts_below(&points[0]).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].options.starts_with("ro"), "{found:?}");
            assert!(!found[0].options.contains("nosuid") && !found[0].shared, "{found:?}");
            let error = fs::write(points[0].join("new"), "").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ROFS.raw_os_error()));

            // The next process finds it.
            let next = host.bases();
            assert_eq!(next.mount(&key, source).unwrap(), points[0]);
            assert_eq!(mounts_below(&points[0]).unwrap(), found);
            assert_eq!(next.mounted().unwrap(), std::slice::from_ref(&key));
            next.unmount(&key).unwrap();
            next.unmount(&key).unwrap();
            assert_eq!(next.mounted().unwrap(), []);
            assert!(tree(&host.run().join("bases")).is_empty());
        }
    });
}

#[test]
fn a_root_opens_over_either_source_and_outlives_its_base() {
    on_a_host_of_its_own(|host| {
        for source in sources(host) {
            let bases = host.bases();
            let lower = bases.mount(&key("image@1"), &source).unwrap();
            let kind = OverlayKind::Volatile(1);
            let overlay = host.overlays().create(&kind, size(64)).unwrap();
            let mount_dir = host.desktop(1);
            let plan = OpenPlan {
                lower: &lower,
                overlay: &overlay,
                mount_dir: &mount_dir,
                id_map: Some(MAP),
            };
            let opened = open_root(&plan).unwrap();
            let notes = opened.root.join("home/user/notes");
            fs::write(&notes, "changed").unwrap();
            bases.unmount(&key("image@1")).unwrap();
            assert_eq!(fs::read_to_string(opened.root.join("etc/issue")).unwrap(), "image\n");
            assert_eq!(fs::read_to_string(&notes).unwrap(), "changed");
            host.close(1);
            host.overlays().delete(&kind).unwrap();
        }
    });
}

#[test]
fn a_key_stands_for_one_source() {
    on_a_host_of_its_own(|host| {
        let [directory, image] = sources(host);
        let bases = host.bases();
        bases.mount(&key("a"), &directory).unwrap();
        bases.mount(&key("b"), &image).unwrap();
        let other = BaseSource::Directory(host.image().join("etc"));
        for (taken, wanted) in [
            ("a", &image),
            ("a", &other),
            ("b", &directory),
            ("b", &BaseSource::Erofs(host.image())),
        ] {
            let error = bases.mount(&key(taken), wanted).unwrap_err();
            assert!(matches!(error, BaseError::Mismatch { .. }), "{taken}: {error}");
        }
        // What was found right is not looked at again, unless it is another mount.
        for _ in 0..2 {
            bases.mount(&key("b"), &image).unwrap();
        }
        let others = host.bases();
        others.unmount(&key("b")).unwrap();
        others.mount(&key("b"), &directory).unwrap();
        let error = bases.mount(&key("b"), &image).unwrap_err();
        assert!(matches!(error, BaseError::Mismatch { .. }), "{error}");
        assert!(bases.unmount_all().is_empty());
        assert!(bases.unmount_all().is_empty());
        // Also usable after that.
        bases.mount(&key("a"), &image).unwrap();
    });
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    on_a_host_of_its_own(|host| {
        let bases = host.bases();
        let garbage = host.dir.join("garbage");
        fs::write(&garbage, vec![7; 8192]).unwrap();
        for source in [
            BaseSource::Directory(host.dir.join("missing")),
            BaseSource::Directory(garbage.clone()),
            BaseSource::Erofs(host.dir.join("missing")),
            BaseSource::Erofs(garbage),
            BaseSource::Erofs(host.image()),
        ] {
            let error = bases.mount(&key("x"), &source).unwrap_err();
            assert!(matches!(error, BaseError::Mount { .. }), "{source:?}: {error}");
            assert!(tree(&host.run().join("bases")).is_empty());
        }
    });
}

#[test]
fn a_base_root_with_an_open_file_is_not_torn_away() {
    on_a_host_of_its_own(|host| {
        let bases = host.bases();
        let point = bases.mount(&key("a"), &BaseSource::Directory(host.image())).unwrap();
        let open = fs::File::open(point.join("etc/issue")).unwrap();
        let error = bases.unmount(&key("a")).unwrap_err();
        assert!(matches!(error, BaseError::Step(_)), "{error}");
        assert_eq!(bases.unmount_all().len(), 1);
        assert!(point.join("etc/issue").exists());
        drop(open);
        assert!(bases.unmount_all().is_empty());
    });
}

#[test]
fn what_can_be_id_mapped_is_found_out() {
    on_a_host_of_its_own(|host| {
        let bases = host.bases();
        for (index, source) in sources(host).iter().enumerate() {
            let key = key(&format!("image@{index}"));
            bases.mount(&key, source).unwrap();
            assert!(bases.can_be_id_mapped(&key).unwrap(), "{source:?}");
        }
        // Like NFS, it has no maps.
        let never = key("proc@1");
        bases.mount(&never, &BaseSource::Directory("/proc".into())).unwrap();
        assert!(!bases.can_be_id_mapped(&never).unwrap());
        assert_eq!(bases.mounted().unwrap().len(), 3, "trying leaves nothing");
        assert!(bases.can_be_id_mapped(&key("none@1")).is_err());
        assert_eq!(bases.find(&never).unwrap().unwrap(), host.run().join("bases/proc@1/root"));
        assert_eq!(bases.find(&key("none@1")).unwrap(), None);
    });
}

#[test]
fn a_busy_base_root_can_be_abandoned() {
    on_a_host_of_its_own(|host| {
        let (bases, key) = (host.bases(), key("image@1"));
        let point = bases.mount(&key, &BaseSource::Directory(host.image())).unwrap();
        let user = fs::File::open(point.join("etc/issue")).unwrap();
        assert!(bases.unmount(&key).is_err(), "it is in use");
        bases.give_up(&key).unwrap();
        assert_eq!(bases.mounted().unwrap(), std::slice::from_ref(&key), "still in use");
        bases.abandon(&key).unwrap();
        bases.abandon(&key).unwrap();
        assert_eq!(bases.mounted().unwrap(), []);
        assert!(!point.exists());
        drop(user);
    });
}
