use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::desktop::{DesktopSpec, Display, DisplayProtocol, Session};
use crate::init::Init;

const VERSION_1: &str = "20260101-000000-aaaaaaaa";
const VERSION_2: &str = "20260102-000000-bbbbbbbb";

fn manifest(name: &str, published_at: u64) -> Manifest {
    Manifest {
        name: name.parse().unwrap(),
        description: String::new(),
        root: RootKind::Erofs,
        first_id: None,
        digest: Digest::of_bytes(b"root"),
        size_bytes: 4,
        published_at: UNIX_EPOCH + Duration::from_secs(published_at),
        recipe_digest: Some(Digest::of_bytes(b"recipe")),
        desktop: DesktopSpec {
            init: Init::Builtin,
            session: Session {
                command: vec!["/bin/session".to_owned()],
                environment: Default::default(),
            },
            display: Display {
                protocol: DisplayProtocol::Vnc,
                socket: "vnc.sock".to_owned(),
                server: None,
            },
        },
    }
}

/// A version laid down by hand.
fn put_version(store: &TempDir, name: &str, version: &str, manifest: &Manifest) -> PathBuf {
    let dir = store.path().join(name).join(VERSIONS).join(version);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(MANIFEST), manifest.to_toml()).unwrap();
    fs::write(dir.join("root.erofs"), "root").unwrap();
    dir
}

fn put_tag(store: &TempDir, name: &str, tag: &str, target: &str) {
    let tags = store.path().join(name).join(TAGS);
    fs::create_dir_all(&tags).unwrap();
    symlink(target, tags.join(tag)).unwrap();
}

/// Image `demo` with two versions; `stable` is the older one.
fn store_tagged() -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    put_version(&dir, "demo", VERSION_1, &manifest("demo", 1));
    put_version(&dir, "demo", VERSION_2, &manifest("demo", 2));
    put_tag(&dir, "demo", "stable", &format!("../versions/{VERSION_1}"));
    let store = ImageStore::open(dir.path()).unwrap();
    (dir, store)
}

fn resolve(store: &ImageStore, image: &str) -> Result<Published, StoreError> {
    store.resolve(&image.parse().unwrap())
}

#[test]
fn tags_and_versions_are_resolved() {
    let (dir, store) = store_tagged();
    let published = resolve(&store, "demo:stable").unwrap();
    assert_eq!(published.version.as_str(), VERSION_1);
    assert_eq!(
        published.root,
        Root::Erofs(dir.path().join(format!("demo/versions/{VERSION_1}/root.erofs")))
    );
    assert_eq!(resolve(&store, &format!("demo@{VERSION_2}")).unwrap().version.as_str(), VERSION_2);
}

#[test]
fn what_is_missing_is_named() {
    let (_dir, store) = store_tagged();
    assert!(matches!(resolve(&store, "other:stable"), Err(StoreError::NoImage(_))));
    assert!(matches!(resolve(&store, "other@1"), Err(StoreError::NoImage(_))));
    assert!(matches!(resolve(&store, "demo:next"), Err(StoreError::NoTag(_, _))));
    assert!(matches!(resolve(&store, "demo@1"), Err(StoreError::NoVersion(_, _))));
}

#[test]
fn tags_that_point_elsewhere_are_refused() {
    let (dir, store) = store_tagged();
    put_version(&dir, "other", VERSION_1, &manifest("other", 1));
    for (tag, target) in [
        ("out", "/etc"),
        ("up", "../../other/versions/20260101-000000-aaaaaaaa"),
        ("absolute", "/versions/1"),
        ("dots", "../versions/.."),
        ("hidden", "../versions/.new-x"),
        ("deep", "../versions/a/b"),
    ] {
        put_tag(&dir, "demo", tag, target);
        assert!(
            matches!(resolve(&store, &format!("demo:{tag}")), Err(StoreError::BadTag { .. })),
            "{tag}"
        );
    }
    put_tag(&dir, "demo", "dangling", "../versions/gone");
    assert!(matches!(resolve(&store, "demo:dangling"), Err(StoreError::NoVersion(_, _))));
    fs::write(dir.path().join("demo/tags/file"), VERSION_1).unwrap();
    assert!(resolve(&store, "demo:file").is_err());
}

#[test]
fn links_in_a_version_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("root.erofs"), "root").unwrap();
    fs::write(outside.path().join(MANIFEST), manifest("demo", 1).to_toml()).unwrap();

    for file in [MANIFEST, "root.erofs"] {
        let (dir, store) = store_tagged();
        let path = dir.path().join(format!("demo/versions/{VERSION_1}")).join(file);
        fs::remove_file(&path).unwrap();
        symlink(outside.path().join(file), &path).unwrap();
        assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::Io { .. })), "{file}");
    }

    let (dir, store) = store_tagged();
    fs::remove_dir_all(dir.path().join("demo/versions").join(VERSION_1)).unwrap();
    symlink(outside.path(), dir.path().join("demo/versions").join(VERSION_1)).unwrap();
    assert!(resolve(&store, "demo:stable").is_err());
    symlink(dir.path().join("demo"), dir.path().join("alias")).unwrap();
    assert!(resolve(&store, "alias:stable").is_err());
}

#[test]
fn a_fifo_for_a_manifest_does_not_hang() {
    let (dir, store) = store_tagged();
    let path = dir.path().join(format!("demo/versions/{VERSION_1}/manifest.toml"));
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::Io { .. })));
}

#[test]
fn oversized_and_faulty_manifests_are_refused() {
    let (dir, store) = store_tagged();
    let path = dir.path().join(format!("demo/versions/{VERSION_1}/manifest.toml"));
    fs::write(&path, "#".repeat(MAX_MANIFEST_BYTES as usize + 1)).unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::Io { .. })));
    fs::write(&path, format!("{}\n[stray]\nkey = 1\n", manifest("demo", 1).to_toml())).unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::Manifest { .. })));
    fs::write(&path, manifest("other", 1).to_toml()).unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::WrongName { .. })));
}

#[test]
fn a_root_must_be_what_the_manifest_says() {
    let (dir, store) = store_tagged();
    let root = dir.path().join(format!("demo/versions/{VERSION_1}/root.erofs"));
    fs::write(&root, "longer than before").unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::WrongRoot { .. })));
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    assert!(matches!(resolve(&store, "demo:stable"), Err(StoreError::WrongRoot { .. })));
}

#[test]
fn verification_finds_a_changed_byte() {
    let (dir, store) = store_tagged();
    let published = resolve(&store, "demo:stable").unwrap();
    store.verify(&published).unwrap();
    fs::write(dir.path().join(format!("demo/versions/{VERSION_1}/root.erofs")), "r00t").unwrap();
    assert!(matches!(store.verify(&published), Err(StoreError::WrongRoot { .. })));
}

#[test]
fn the_list_has_the_good_and_reports_the_broken() {
    let (dir, store) = store_tagged();
    put_tag(&dir, "demo", "first", &format!("../versions/{VERSION_1}"));
    put_tag(&dir, "demo", "dangling", "../versions/gone");
    put_version(&dir, "demo", ".new-1", &manifest("demo", 3));
    put_version(&dir, "demo", "Bad Name", &manifest("demo", 3));
    fs::create_dir_all(dir.path().join("demo/versions/empty")).unwrap();
    fs::write(dir.path().join("README.txt"), "").unwrap();

    let listing = store.list().unwrap();
    let versions: Vec<_> = listing.versions.iter().map(|l| l.published.version.as_str()).collect();
    assert_eq!(versions, [VERSION_1, VERSION_2]);
    let tags: Vec<_> = listing.versions[0].tags.iter().map(Tag::as_str).collect();
    assert_eq!(tags, ["first", "stable"]);
    let mut broken: Vec<_> = listing
        .broken
        .iter()
        .map(|b| b.path.strip_prefix(dir.path()).unwrap().to_string_lossy())
        .collect();
    broken.sort();
    assert_eq!(
        broken,
        ["README.txt", "demo/tags/dangling", "demo/versions/Bad Name", "demo/versions/empty"]
    );
}

#[test]
fn the_newest_of_a_recipe_is_found() {
    let (_dir, store) = store_tagged();
    let found = store.find_by_recipe(&Digest::of_bytes(b"recipe")).unwrap().unwrap();
    assert_eq!(found.version.as_str(), VERSION_2);
    assert_eq!(store.find_by_recipe(&Digest::of_bytes(b"another")).unwrap(), None);
}

#[test]
fn a_store_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none");
    assert!(ImageStore::open(&path).unwrap_err().to_string().contains("none"));
    assert!(ImageStore::create(&path).unwrap().list().unwrap().versions.is_empty());
}
