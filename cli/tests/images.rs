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

#[test]
fn a_version_is_retired_verified_and_collected() {
    let (rig, version) = published();
    let reference = format!("demo@{version}");
    let run = |arguments: &[&str]| {
        rig.run(&[&["image"], arguments, &["--store", "images", "-o", "json"]].concat())
    };
    run(&["tag", &reference, "stable"]);
    let tagged = run(&["retire", &reference]);
    assert_eq!((tagged.code(), &tagged.error()["reason"]), (8, &json!("IMAGE_TAGGED")));
    assert_eq!(
        run(&["untag", "demo:stable"]).json(),
        json!({"image": "demo", "removed": "stable"})
    );
    assert_eq!(run(&["untag", "demo:stable"]).code(), 4);
    assert_eq!(run(&["retire", "demo:stable"]).code(), 2);
    assert_eq!(run(&["retire", &reference, "--reason", "a hole"]).json()["retired"], json!(true));
    let shown = run(&["show", &reference]).json();
    assert_eq!(shown["retired"]["reason"], "a hole");
    assert_eq!(run(&["verify"]).json(), json!({ "sound": [reference] }));

    let dry = run(&["gc", "--offline"]).json();
    assert_eq!((&dry["dry_run"], &dry["versions"][0]["reason"]), (&json!(true), &json!("retired")));
    // What a host has noted stays; a host that is gone for good is forgotten.
    let note = rig.path("images/.hosts/h1");
    fs::create_dir_all(&note).unwrap();
    fs::write(note.join(&reference), "").unwrap();
    let held = run(&["gc", "--offline", "--yes"]).json();
    assert_eq!(held["versions"][0]["by"], json!(["host h1"]));
    let gone = run(&["gc", "--offline", "--yes", "--forget-host", "h1"]).json();
    assert_eq!(gone["versions"][0]["removed"], json!(true));
    assert_eq!(run(&["list"]).json(), json!({ "images": [] }));
}

#[test]
fn nothing_is_collected_without_the_broker_or_against_its_hosts() {
    let (rig, version) = published();
    let retire = format!("demo@{version}");
    assert_eq!(rig.run(&["image", "retire", &retire, "--store", "images"]).code(), 0);
    let gc = ["image", "gc", "--store", "images", "--yes", "-o", "json"];
    let alone = rig.run(&gc);
    assert_eq!(alone.code(), 3);
    assert!(alone.error()["message"].as_str().unwrap().starts_with("cannot ask which versions"));

    let signed_in = Rig::signed_in();
    let store = rig.path("images");
    let server = signed_in.server();
    let gc = ["image", "gc", "--store", store.to_str().unwrap(), "--yes", "--server", &server];
    // This broker does not tell of its hosts.
    assert_eq!(signed_in.run(&gc).code(), 6);
    let left = rig.run(&["image", "list", "--store", "images", "-o", "json"]).json();
    assert_eq!(left["images"][0]["version"], json!(version));
}

#[test]
fn a_damaged_version_is_told() {
    let (rig, version) = published();
    let file = rig.path(&format!("images/demo/versions/{version}/root/usr/bin/session"));
    fs::write(file, "changed").unwrap();
    let done = rig.run(&["image", "verify", "--store", "images", "-o", "json"]);
    assert_eq!((done.code(), &done.error()["reason"]), (1, &json!("IMAGE_DAMAGED")));
}

#[test]
fn a_root_is_published_and_what_is_missing_is_named() {
    if !rustix::process::geteuid().is_root() {
        let rig = Rig::new();
        let done = rig.run(&["image", "publish", "own", "root", "--store", "images", "-o", "json"]);
        assert_eq!((done.code(), &done.error()["reason"]), (6, &json!("NEEDS_ROOT")));
        println!("skipped: the rest needs root");
        return;
    }
    let (rig, _) = published();
    let publish = ["image", "publish", "own", "root", "--store", "images", "--format", "directory"];
    let silent = rig.run(&[&publish[..], &["-o", "json"]].concat());
    assert_eq!(silent.code(), 2);
    let error = silent.stderr.lines().last().unwrap();
    assert!(error.contains("--manifest") && error.contains("/etc/rolltop/image.toml"), "{error}");
    let desktop = RECIPE.split_once("[init]").unwrap().1;
    let manifest = format!("format = 1\ndescription = 'Mine'\n[init]{desktop}");
    fs::write(rig.path("image.toml"), manifest).unwrap();
    let more =
        ["--manifest", "image.toml", "--tag", "stable", "--shift-ids", "131072", "-o", "json"];
    let done = rig.run(&[&publish[..], &more].concat());
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let last: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["image"]["first_id"], json!(131_072));
    assert_eq!(last["image"]["description"], "Mine");
    let erofs = ["image", "publish", "own", "root", "--store", "images", "--shift-ids", "131072"];
    assert_eq!(rig.run(&erofs).code(), 2);
}
