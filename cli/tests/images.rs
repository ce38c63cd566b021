//! Images in a local store: no broker takes part.

#![allow(clippy::unwrap_used, reason = "a test ends here when what it stands on fails")]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use rolltop_image::{ImageStore, Recipe, RootKind};
use serde_json::{Value, json};
use support::Rig;

const RECIPE: &str = r#"
format = 1
name = "demo"
description = "A light desktop"
suite = "bookworm"
packages = []
[init]
kind = "builtin"
[session]
command = ["/usr/bin/session"]
[display]
protocol = "vnc"
socket = "vnc.sock"
"#;

/// A recipe in "recipe", and a store "images" with a version made from it.
fn published() -> (Rig, String) {
    let rig = Rig::new();
    let (recipe, root, store) = (rig.path("recipe"), rig.path("root"), rig.path("images"));
    fs::create_dir(&recipe).unwrap();
    fs::write(recipe.join("recipe.toml"), RECIPE).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    let session = root.join("usr/bin/session");
    fs::write(&session, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&session, fs::Permissions::from_mode(0o755)).unwrap();
    let input = Recipe::open(recipe).unwrap().manifest_input(None).unwrap();
    let when = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let store = ImageStore::create(store).unwrap();
    let version = store.publish(&root, &input, RootKind::Directory, when).unwrap().version;
    (rig, version.to_string())
}

#[test]
fn a_version_is_listed_tagged_and_shown() {
    let (rig, version) = published();
    let tagged =
        rig.run(&["image", "tag", &format!("demo@{version}"), "next", "--store", "images"]);
    assert_eq!(tagged.stdout, format!("demo:next is now {version}\n"));
    let moved =
        rig.run(&["image", "tag", "demo:next", "stable", "--store", "images", "-o", "json"]);
    assert_eq!(moved.json(), json!({"image": "demo", "tag": "stable", "version": version}));

    let list = rig.run(&["image", "list", "--store", "images", "-o", "json"]).json();
    let image = &list["images"][0];
    assert_eq!(image["tags"], json!(["next", "stable"]));
    assert_eq!(image["published_at"], "2026-01-02T03:04:05Z");
    assert_eq!((&image["host"], &image["display"]), (&json!(null), &json!("vnc")));
    let shown = rig.run(&["image", "show", "demo:stable", "--store", "images", "-o", "json"]);
    assert_eq!(&shown.json(), image);
}

#[test]
fn what_was_built_from_the_same_recipe_is_taken_again() {
    let (rig, version) = published();
    let build = ["image", "build", "recipe", "--store", "images", "--reuse", "--tag", "stable"];
    let done = rig.run(&[&build[..], &["--format", "directory", "-o", "json"]].concat());
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let lines: Vec<Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [last] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&last["event"], &last["reused"]), (&json!("published"), &json!(true)));
    assert_eq!(last["image"]["version"], json!(version));
    assert_eq!(last["image"]["tags"], json!(["stable"]));
}

#[test]
fn a_broken_version_is_told_beside_the_others() {
    let (rig, version) = published();
    let broken = rig.path("images/demo/versions/broken");
    fs::create_dir(Path::new(&broken)).unwrap();
    let done = rig.run(&["image", "list", "--store", "images"]);
    assert_eq!(done.code(), 0);
    assert!(done.stdout.contains(&version), "{}", done.stdout);
    assert!(done.stderr.contains("versions/broken cannot be used"), "{}", done.stderr);
}
