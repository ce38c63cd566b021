//! Roots from tar files that tar(1) made: what real archives hold.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends here when what it stands on fails"
)]

mod support;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use rolltop_image::{ImportError, PublishError, RootForm, RootKind, import, take_in};
use support::{Place, input, run, text};

/// cap_net_raw=ep, revision 2 (linux/capability.h).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn capability(path: &Path) -> Vec<u8> {
    let mut value = vec![0; 64];
    let length = rustix::fs::getxattr(path, "security.capability", &mut value[..]).unwrap();
    value.truncate(length);
    value
}

#[test]
fn whatever_tar_writes_is_read() {
    let Some(place) = Place::new() else { return };
    let root = place.root();
    let sparse = fs::File::create(root.join("usr/lib/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    for piece in 0..30 {
        sparse.write_all_at(b"data", piece * (2 << 20) + 4096).unwrap();
    }
    fs::hard_link(root.join("usr/bin/session"), root.join("usr/bin/also")).unwrap();
    let ping = root.join("usr/bin/ping");
    fs::write(&ping, "x").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&ping, "security.capability", &CAPABILITY, flags).unwrap();
    run("mknod", &[text(&root.join("dev/sda")), "b", "8", "0"]);
    let long = "l".repeat(200);
    fs::create_dir_all(root.join(&long)).unwrap();
    fs::write(root.join(&long).join(&long), "deep").unwrap();

    let base = ["--create", "--directory", text(&root), "--file"];
    for (name, options) in [
        ("plain.tar", &["--format=gnu", "--sparse"][..]),
        ("gnu.tar.gz", &["--format=gnu", "--gzip", "--sparse"]),
        ("posix.tar.xz", &["--format=posix", "--xz", "--sparse"]),
        ("sparse-0.0.tar", &["--format=posix", "--sparse-version=0.0", "--sparse"]),
        ("sparse-0.1.tar", &["--format=posix", "--sparse-version=0.1", "--sparse"]),
        (
            "xattrs.tar.zst",
            &["--format=posix", "--zstd", "--sparse", "--xattrs", "--xattrs-include=*"],
        ),
    ] {
        let file = place.path(name);
        run("tar", &[&base[..], &[text(&file)], options, &["."]].concat());
        let imported = place.import(&file, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let got = imported.root.path();
        let meta = |path: &str| fs::metadata(got.join(path)).unwrap();
        let same =
            |path: &str| fs::read(got.join(path)).unwrap() == fs::read(root.join(path)).unwrap();
        assert!(same("usr/lib/sparse"), "{name}");
        assert!(meta("usr/lib/sparse").blocks() * 512 < 4 << 20, "{name}: holes were filled");
        assert_eq!(meta("usr/bin/session").ino(), meta("usr/bin/also").ino(), "{name}");
        assert_eq!((meta("home/ada").uid(), meta("home/ada").gid()), (1000, 1000), "{name}");
        assert!(same(&format!("{long}/{long}")), "{name}");
        assert_eq!(fs::read_dir(got.join("dev")).unwrap().count(), 0, "{name}");
        assert_eq!(imported.unpacked.devices_skipped, 1, "{name}");
        assert_eq!(fs::read_to_string(got.join("etc/hostname")).unwrap(), "localhost\n", "{name}");
        if name.starts_with("xattrs") {
            assert_eq!(capability(&got.join("usr/bin/ping")), CAPABILITY);
        }
    }
    place.leave();
}

#[test]
fn a_refused_root_says_which_file_was_looked_for() {
    let Some(place) = Place::new() else { return };
    let root = place.root();
    for (file, sentence) in [
        ("usr/bin/server", "has no program /usr/bin/server, which [display] server names"),
        ("usr/bin/session", "has no program /usr/bin/session, which [session] command names"),
    ] {
        fs::remove_file(root.join(file)).unwrap();
        let archive = place.path("root.tar");
        run("tar", &["--create", "--directory", text(&root), "--file", text(&archive), "."]);
        let imported = place.import(&archive, None).unwrap();
        let refused = place.store().publish(
            &imported.root.path(),
            &input("demo"),
            RootKind::Directory,
            SystemTime::now(),
        );
        let error = refused.unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
        assert!(matches!(
            error,
            PublishError::NoSessionCommand { .. } | PublishError::NoDisplayServer { .. }
        ));
    }
    place.leave();
}

#[test]
fn an_archive_that_says_nothing_of_a_session_is_refused() {
    let Some(place) = Place::new() else { return };
    let root = place.root();
    let archive = place.path("root.tar");
    let tar = ["--create", "--directory", text(&root), "--file", text(&archive), "."];
    run("tar", &tar);
    let error = import(&archive, &place.path("work"), Default::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, ImportError::Spec(_)), "{error}");
    assert!(error.to_string().contains("/etc/rolltop/image.toml"), "{error}");
    // The root may say it itself.
    fs::create_dir(root.join("etc/rolltop")).unwrap();
    fs::write(root.join("etc/rolltop/image.toml"), support::SPEC).unwrap();
    run("tar", &tar);
    import(&archive, &place.path("work"), Default::default(), &mut |_| ()).unwrap();
    place.leave();
}

#[test]
fn rubbish_and_empty_files_are_refused() {
    let Some(place) = Place::new() else { return };
    let file = place.path("file");
    for bytes in
        [&b"not a tar file, but text that is long enough"[..], &[0x1f, 0x8b, 1, 2, 3], &[7; 2000]]
    {
        fs::write(&file, bytes).unwrap();
        assert!(matches!(
            place.import(&file, None),
            Err(ImportError::Archive(_) | ImportError::Io { .. })
        ));
    }
    assert!(matches!(place.import(&place.root(), None), Err(ImportError::NotAnImage(_))));
    assert!(matches!(place.import(&place.path("gone"), None), Err(ImportError::Io { .. })));
    place.leave();
}

#[test]
fn a_directory_is_published_with_moved_owners() {
    let Some(place) = Place::new() else { return };
    let root = place.root();
    let store = place.store();
    let taken = take_in(&root, &place.path("work"), Some(support::spec()), &mut |_| ()).unwrap();
    let form = RootForm::Directory(Some("131072".parse().unwrap()));
    let published =
        store.publish(&taken.root.path(), &input("demo"), form, SystemTime::now()).unwrap();
    assert_eq!(published.manifest.first_id.unwrap().get(), 131_072);
    let ada = fs::metadata(published.root.path().join("home/ada")).unwrap();
    assert_eq!((ada.uid(), ada.gid()), (132_072, 132_072));
    store.verify(&published).unwrap();
    // The digest covers owners.
    std::os::unix::fs::chown(published.root.path().join("home/ada"), Some(1), None).unwrap();
    assert!(store.verify(&published).is_err());
    // What was given is as it was.
    assert_eq!(fs::read_to_string(root.join("etc/hostname")).unwrap(), "where-it-was-made\n");
    drop(taken);
    place.leave();
}

#[test]
fn an_erofs_file_is_checked_and_taken_as_it_is() {
    let Some(place) = Place::new() else { return };
    let file = place.path("made-elsewhere.erofs");
    run("mkfs.erofs", &["--quiet", text(&file), text(&place.root())]);
    let take = |file: &Path| take_in(file, &place.path("work"), Some(support::spec()), &mut |_| ());
    let taken = take(&file).unwrap();
    let store = place.store();
    let now = SystemTime::now();
    let published = store.publish_erofs(&file, &taken.root.path(), &input("demo"), now).unwrap();
    assert_eq!(fs::read(published.root.path()).unwrap(), fs::read(&file).unwrap());
    store.verify(&published).unwrap();
    drop(taken);

    let mut bytes = fs::read(&file).unwrap();
    bytes[1024..1100].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    assert!(matches!(take(&file), Err(ImportError::Tool { .. })));
    place.leave();
}
