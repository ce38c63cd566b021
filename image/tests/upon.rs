//! A recipe upon a published version: its files and commands for real, in a
//! root that has little more than a shell.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends here when what it stands on fails"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rolltop_image::{BuildError, Published, Recipe, RootForm, RootKind, build};
use support::{Place, input};

const RECIPE: &str = r#"
format = 1
name = "upper"
description = ""
from = "lower:stable"
packages = []
commands = [
  "echo by-command > /etc/made",
  "echo x > /dev/null; test -c /dev/urandom; test -e /proc/self/fd/0; test ! -e /etc/passwd-of-host",
  "echo ssh > /etc/ssh/ssh_host_rsa_key",
]
[init]
kind = "builtin"
[session]
command = ["/usr/bin/session"]
[display]
protocol = "vnc"
socket = "vnc.sock"
"#;

/// The machine's shell and test(1)'s libraries, in a root otherwise our own.
fn lower(place: &Place, kind: RootForm) -> Published {
    let root = place.root();
    fs::create_dir_all(root.join("etc/ssh")).unwrap();
    fs::create_dir_all(root.join("proc")).unwrap();
    let libraries = Command::new("ldd").arg("/bin/sh").output().unwrap();
    let text = String::from_utf8(libraries.stdout).unwrap();
    let files = text.split_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/sh"]);
    for file in files {
        let target = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
    let store = place.store();
    let published = store.publish(&root, &input("lower"), kind, SystemTime::now()).unwrap();
    store.tag(&published.name, &"stable".parse().unwrap(), &published.version).unwrap();
    published
}

fn recipe(dir: &Path) -> Recipe {
    fs::create_dir_all(dir.join("files/etc")).unwrap();
    fs::write(dir.join("recipe.toml"), RECIPE).unwrap();
    fs::write(dir.join("files/etc/from-files"), "x").unwrap();
    Recipe::open(dir).unwrap()
}

#[test]
fn a_version_is_built_upon_another() {
    let Some(place) = Place::new() else { return };
    for kind in [RootKind::Erofs, RootKind::Directory] {
        lower(&place, kind.into());
        let (store, recipe) = (place.store(), recipe(&place.path("recipe")));
        let mut said = Vec::new();
        let built = build(&recipe, Some(&store), &place.path("work"), &mut |event| {
            said.push(format!("{event:?}"));
        })
        .unwrap_or_else(|error| panic!("{error:?} {said:?}"));
        let root = built.path();
        assert_eq!(fs::read_to_string(root.join("etc/made")).unwrap(), "by-command\n");
        assert!(root.join("etc/from-files").exists() && root.join("usr/bin/session").exists());
        assert!(!root.join("etc/ssh/ssh_host_rsa_key").exists(), "it was not prepared");
        assert_eq!(fs::read_dir(root.join("dev")).unwrap().count(), 0);
    }
    place.leave();
}

#[test]
fn the_digest_follows_the_version_below() {
    let Some(place) = Place::new() else { return };
    let first = lower(&place, RootKind::Directory.into());
    let (store, recipe) = (place.store(), recipe(&place.path("recipe")));
    let before = recipe.digest(Some(&store)).unwrap();
    assert_eq!(recipe.digest(Some(&store)).unwrap(), before);
    assert!(recipe.digest(None).is_err());
    fs::write(place.path("root/etc/changed"), "x").unwrap();
    let second = lower(&place, RootKind::Directory.into());
    assert_ne!(first.manifest.digest, second.manifest.digest);
    assert_ne!(recipe.digest(Some(&store)).unwrap(), before);
    place.leave();
}

#[test]
fn what_cannot_be_built_upon_is_named() {
    let Some(place) = Place::new() else { return };
    let recipe = recipe(&place.path("recipe"));
    let work = place.path("work");
    let nowhere = build(&recipe, None, &work, &mut |_| ());
    assert!(matches!(nowhere, Err(BuildError::NoStore)), "{nowhere:?}");
    let store = place.store();
    let unknown = build(&recipe, Some(&store), &work, &mut |_| ());
    assert!(matches!(unknown, Err(BuildError::Store(_))), "{unknown:?}");
    lower(&place, RootForm::Directory(Some("65536".parse().unwrap())));
    let shifted = build(&recipe, Some(&store), &work, &mut |_| ());
    assert!(matches!(shifted, Err(BuildError::Shifted { first: 65_536, .. })), "{shifted:?}");
    place.leave();
}
