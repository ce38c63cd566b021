use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::*;
use crate::desktop::{Display, DisplayProtocol, Session};
use crate::init::OwnInit;
use crate::store::Root;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_383_326_500)
}

fn input(session: &str, init: Init) -> ManifestInput {
    ManifestInput {
        name: "demo".parse().unwrap(),
        description: "for tests".to_owned(),
        desktop: DesktopSpec {
            init,
            session: Session { command: vec![session.to_owned()], environment: Default::default() },
            display: Display {
                protocol: DisplayProtocol::Vnc,
                socket: "vnc.sock".to_owned(),
                server: None,
            },
        },
        recipe_digest: None,
    }
}

/// A root with one program, `/usr/bin/session`, reached by several links.
fn root_with_session() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("usr/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("session"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(bin.join("session"), Permissions::from_mode(0o755)).unwrap();
    fs::write(bin.join("data"), "x").unwrap();
    fs::set_permissions(bin.join("data"), Permissions::from_mode(0o644)).unwrap();
    symlink("usr/bin", root.path().join("bin")).unwrap();
    symlink("/usr/bin/session", bin.join("absolute")).unwrap();
    symlink("../../../../../../usr/bin/session", bin.join("climbing")).unwrap();
    symlink("/etc/hostname-of-the-host", bin.join("dangling")).unwrap();
    symlink("loop", bin.join("loop")).unwrap();
    root
}

fn store() -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::create(dir.path().join("images")).unwrap();
    (dir, store)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_directory_is_published_whole_and_sealed() {
    let (dir, store) = store();
    let root = root_with_session();
    let published = store
        .publish(root.path(), &input("/usr/bin/session", Init::Builtin), RootKind::Directory, now())
        .unwrap();
    let Root::Directory(path) = &published.root else { panic!("{:?}", published.root) };
    assert!(published.version.as_str().starts_with("20261122-213526-"), "{}", published.version);
    assert_eq!(fs::read(path.join("usr/bin/session")).unwrap(), b"#!/bin/sh\n");
    assert_eq!(fs::read_link(path.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(published.manifest.published_at, UNIX_EPOCH + Duration::from_secs(1_795_383_326));
    store.verify(&published).unwrap();

    let version = path.parent().unwrap();
    assert_eq!(fs::metadata(version).unwrap().mode() & 0o777, 0o555);
    assert_eq!(fs::metadata(version.join(MANIFEST)).unwrap().mode() & 0o777, 0o444);
    assert_eq!(names(&dir.path().join("images/demo/versions")), [published.version.as_str()]);
}

#[test]
fn an_erofs_file_is_published_with_digest_and_size() {
    let (_dir, store) = store();
    let root = root_with_session();
    let published = store
        .publish(root.path(), &input("/usr/bin/session", Init::Builtin), RootKind::Erofs, now())
        .unwrap();
    let meta = fs::metadata(published.root.path()).unwrap();
    assert_eq!(meta.len(), published.manifest.size_bytes);
    assert_eq!(meta.mode() & 0o777, 0o444);
    store.verify(&published).unwrap();
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let (dir, store) = store();
    let root = root_with_session();
    for session in ["/bin/session", "/usr/bin/absolute", "/usr/bin/climbing"] {
        store
            .publish(root.path(), &input(session, Init::Builtin), RootKind::Directory, now())
            .unwrap();
    }
    // The host has these; the root has not.
    for session in [
        "/bin/sh",
        "/usr/bin/dangling",
        "/usr/bin/loop",
        "/usr/bin/data",
        "/usr/bin",
        "/usr/bin/session/x",
    ] {
        let result =
            store.publish(root.path(), &input(session, Init::Builtin), RootKind::Directory, now());
        assert!(
            matches!(result, Err(PublishError::NoSessionCommand { .. })),
            "{session}: {result:?}"
        );
    }
    assert_eq!(names(&dir.path().join("images/demo/versions")).len(), 3);
}

#[test]
fn a_missing_init_is_refused() {
    let (_dir, store) = store();
    let root = root_with_session();
    let with_init = |path: &str| input("/usr/bin/session", Init::Own(OwnInit::new(path)));
    let result = store.publish(root.path(), &with_init("/sbin/init"), RootKind::Directory, now());
    assert!(matches!(result, Err(PublishError::NoInit { .. })), "{result:?}");
    store.publish(root.path(), &with_init("/bin/session"), RootKind::Directory, now()).unwrap();
}

#[test]
fn the_same_content_in_the_same_second_gets_another_name() {
    let (_dir, store) = store();
    let root = root_with_session();
    let publish = || {
        store
            .publish(
                root.path(),
                &input("/usr/bin/session", Init::Builtin),
                RootKind::Directory,
                now(),
            )
            .unwrap()
    };
    let (first, second) = (publish(), publish());
    assert_eq!(second.version.as_str(), format!("{}-2", first.version));
    assert_eq!(store.list().unwrap().versions.len(), 2);
}

#[test]
fn a_failure_leaves_nothing_and_the_next_call_clears_up() {
    let (dir, store) = store();
    let root = root_with_session();
    let versions = dir.path().join("images/demo/versions");
    fs::create_dir_all(versions.join(".new-interrupted/root")).unwrap();
    // mkfs.erofs refuses a root that is a file; opening it fails before.
    let file = root.path().join("usr/bin/data");
    assert!(store.publish(&file, &input("/x", Init::Builtin), RootKind::Erofs, now()).is_err());
    assert_eq!(names(&versions), [".new-interrupted"]);

    let published = store
        .publish(root.path(), &input("/usr/bin/session", Init::Builtin), RootKind::Directory, now())
        .unwrap();
    assert_eq!(names(&versions), [published.version.as_str()]);
}

#[test]
fn tags_move_from_version_to_version() {
    let (dir, store) = store();
    let root = root_with_session();
    let input = input("/usr/bin/session", Init::Builtin);
    let first = store.publish(root.path(), &input, RootKind::Directory, now()).unwrap();
    let second = store
        .publish(root.path(), &input, RootKind::Directory, now() + Duration::from_secs(9))
        .unwrap();
    let tag: Tag = "stable".parse().unwrap();
    for published in [&first, &second, &second, &first] {
        store.tag(&first.name, &tag, &published.version).unwrap();
        assert_eq!(store.resolve(&"demo:stable".parse().unwrap()).unwrap(), *published);
    }
    let link = fs::read_link(dir.path().join("images/demo/tags/stable")).unwrap();
    assert_eq!(link, Path::new("../versions").join(&first.version));
    let gone = "gone".parse().unwrap();
    assert!(matches!(store.tag(&first.name, &tag, &gone), Err(StoreError::NoVersion(_, _))));
    assert_eq!(names(&dir.path().join("images/demo/tags")), ["stable"]);
}

#[test]
fn two_publishers_at_once_both_succeed() {
    let (_dir, store) = store();
    let root = root_with_session();
    let input = input("/usr/bin/session", Init::Builtin);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.publish(root.path(), &input, RootKind::Directory, now()).unwrap());
        }
    });
    let listing = store.list().unwrap();
    assert_eq!((listing.versions.len(), listing.broken.len()), (4, 0));
}

#[test]
fn a_description_of_two_lines_is_refused() {
    let (_dir, store) = store();
    let mut input = input("/usr/bin/session", Init::Builtin);
    input.description = "a\nb".to_owned();
    let root = root_with_session();
    let result = store.publish(root.path(), &input, RootKind::Directory, now());
    assert!(matches!(result, Err(PublishError::Description(_))));
}
