use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::manifest::RootKind;
use crate::name::{HostName, Tag};
use crate::publish::ManifestInput;
use crate::uses::Noted;

const POLICY: Policy = Policy { keep: 1, older_than: Duration::from_secs(86_400 * 30) };

/// Days after a first one.
fn day(days: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + days * 86_400)
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

/// A store with three versions of one image, a day apart.
fn three() -> (TempDir, ImageStore, Vec<Published>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/session"), "").unwrap();
    std::os::unix::fs::chown(root.join("bin/session"), None, None).unwrap();
    fs::set_permissions(
        root.join("bin/session"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let spec = "format = 1\n[init]\nkind = 'builtin'\n[session]\ncommand = ['/bin/session']\n\
                [display]\nprotocol = 'vnc'\nsocket = 's'\n";
    let input = ManifestInput {
        name: "demo".parse().unwrap(),
        description: String::new(),
        desktop: crate::ImageSpec::parse(spec).unwrap().desktop,
        recipe_digest: None,
    };
    let store = ImageStore::create(dir.path().join("images")).unwrap();
    let versions = (0..3)
        .map(|at| store.publish(&root, &input, RootKind::Directory, day(at)).unwrap())
        .collect();
    (dir, store, versions)
}

fn verdicts(store: &ImageStore) -> Vec<Verdict> {
    let uses = store.noted_uses(&[]).unwrap();
    let judgement = store.judge(&uses, POLICY, day(10)).unwrap();
    judgement.versions.into_iter().map(|judged| judged.verdict).collect()
}

fn names(store: &ImageStore) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.path().join("demo/versions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_a_host_uses_stays_until_it_lets_go() {
    let (_dir, store, versions) = three();
    assert_eq!(verdicts(&store), [Verdict::Surplus, Verdict::Surplus, Verdict::Recent]);
    assert_eq!(store.hold(&host("h1"), &versions[0]).unwrap(), Noted::InTheStore);
    store.hold(&host("h1"), &versions[0]).unwrap();
    store.hold(&host("h2"), &versions[0]).unwrap();
    let users = vec!["host h1".to_owned(), "host h2".to_owned()];
    assert_eq!(verdicts(&store)[0], Verdict::InUse(users));
    let hidden = store.hide(&versions[0].name, &versions[0].version, &[]);
    assert!(matches!(hidden, Err(StoreError::InUse { .. })), "{hidden:?}");

    store.release_all_but(&host("h1"), &[]).unwrap();
    store.release_all_but(&host("h3"), &[]).unwrap();
    assert_eq!(verdicts(&store)[0], Verdict::InUse(vec!["host h2".to_owned()]));
    let uses = store.noted_uses(&["h2".to_owned()]).unwrap();
    assert_eq!(uses, Uses::default());
    assert!(store.hide(&versions[0].name, &versions[0].version, &["h2".to_owned()]).is_ok());
}

#[test]
fn a_hidden_version_can_neither_be_found_nor_held_and_comes_back() {
    let (_dir, store, versions) = three();
    let first = &versions[0];
    let reference = format!("demo@{}", first.version).parse().unwrap();
    let hidden = store.hide(&first.name, &first.version, &[]).unwrap();
    assert!(matches!(store.resolve(&reference), Err(StoreError::NoVersion(..))));
    assert!(matches!(store.hold(&host("h1"), first), Err(StoreError::NoVersion(..))));
    assert_eq!(store.list().unwrap().versions.len(), 2);
    hidden.restore().unwrap();
    assert_eq!(store.resolve(&reference).unwrap(), *first);
}

#[test]
fn what_was_interrupted_is_brought_back_or_removed() {
    let (_dir, store, versions) = three();
    // Killed after it was hidden.
    drop(store.hide(&versions[0].name, &versions[0].version, &[]).unwrap());
    // Killed while it was removed.
    let hidden = store.hide(&versions[1].name, &versions[1].version, &[]).unwrap();
    let dead = store.move_version(&hidden.name, HIDDEN, DEAD, &hidden.version).unwrap();
    fs::create_dir(store.path().join("demo/versions/.new-interrupted")).unwrap();

    let judgement = store.judge(&Uses::default(), POLICY, day(10)).unwrap();
    assert_eq!(judgement.versions.len(), 1);
    assert_eq!(judgement.drafts, [dead.clone(), dead.with_file_name(".new-interrupted")]);
    let back = store.bring_back().unwrap();
    assert_eq!(back, [(versions[0].name.clone(), versions[0].version.clone())]);
    assert_eq!(store.remove_drafts().unwrap().len(), 2);
    assert_eq!(names(&store), [versions[0].version.as_str(), versions[2].version.as_str()]);
}

#[test]
fn what_is_destroyed_leaves_nothing() {
    let (_dir, store, versions) = three();
    let first = &versions[0];
    store.retire(&first.name, &first.version, "too old\nby far", day(3)).unwrap();
    assert_eq!(verdicts(&store)[0], Verdict::Retired);
    store.hide(&first.name, &first.version, &[]).unwrap().destroy().unwrap();
    assert_eq!(names(&store), [versions[1].version.as_str(), versions[2].version.as_str()]);
    assert_eq!(fs::read_dir(store.path().join("demo/retired")).unwrap().count(), 0);
}

#[test]
fn a_version_under_publication_is_no_draft() {
    let (_dir, store, _versions) = three();
    fs::create_dir(store.path().join("demo/versions/.new-living")).unwrap();
    let lock = store.lock(&"demo".parse().unwrap()).unwrap();
    let judgement = store.judge(&Uses::default(), POLICY, day(10)).unwrap();
    assert_eq!((judgement.drafts.len(), judgement.busy.len()), (0, 1));
    assert!(store.remove_drafts().unwrap().is_empty());
    drop(lock);
    assert_eq!(store.remove_drafts().unwrap().len(), 1);
}

#[test]
fn a_retired_version_is_not_started_and_not_tagged() {
    let (_dir, store, versions) = three();
    let (name, version) = (&versions[0].name, &versions[0].version);
    let tag: Tag = "stable".parse().unwrap();
    store.tag(name, &tag, version).unwrap();
    let refused = store.retire(name, version, "", day(3));
    assert!(matches!(&refused, Err(StoreError::Tagged { tags, .. }) if *tags == [tag.clone()]));
    assert!(store.untag(name, &tag).unwrap() && !store.untag(name, &tag).unwrap());
    store.retire(name, version, "a fault\nin it", day(3)).unwrap();
    store.retire(name, version, "again", day(4)).unwrap();
    let retirement = store.retirement(name, version).unwrap().unwrap();
    assert_eq!((retirement.at, retirement.reason.as_str()), (day(3), "a fault in it"));
    let reference = format!("{name}@{version}").parse().unwrap();
    assert!(matches!(store.resolve(&reference), Err(StoreError::Retired(..))));
    assert_eq!(store.find(&reference).unwrap(), versions[0]);
    assert!(matches!(store.tag(name, &tag, version), Err(StoreError::Retired(..))));
    assert!(store.reinstate(name, version).unwrap() && !store.reinstate(name, version).unwrap());
    store.resolve(&reference).unwrap();
}
