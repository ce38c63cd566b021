//! `desktop cp`. The broker of these tests runs what it is asked to on this
//! machine, so paths "in the desktop" are in a directory of the test.

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _};

use support::{Rig, mode};

/// A directory that stands for one in the desktop.
fn inside(rig: &Rig) -> String {
    let dir = rig.path("inside");
    assert!(fs::create_dir_all(&dir).is_ok());
    format!("demo:{}", dir.display())
}

#[test]
fn a_tree_goes_in_and_comes_out_as_it_was() {
    let rig = Rig::signed_in();
    let there = inside(&rig);
    let tree = rig.path("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("sub/tool"), fs::Permissions::from_mode(0o750)).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(tree.join("big"), &big).unwrap();

    let here = tree.to_str().unwrap();
    let done = rig.run(&["desktop", "cp", here, &there]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(fs::read(rig.path("inside/tree/big")).unwrap(), big);
    // Under a new name, where nothing has it yet.
    let done = rig.run(&["desktop", "cp", here, &format!("{there}/other")]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(mode(&rig.path("inside/other/sub/tool")) & 0o777, 0o750);

    let out = rig.path("out");
    let out = out.to_str().unwrap();
    let done = rig.run(&["desktop", "cp", &format!("{there}/other"), out, "--output", "json"]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(done.json()["files"], 2);
    assert_eq!(fs::read(rig.path("out/big")).unwrap(), big);
    assert_eq!(mode(&rig.path("out/sub/tool")) & 0o777, 0o750);
    // All that is in a directory, into one that is there.
    let done = rig.run(&["desktop", "cp", &format!("{there}/other/."), out]);
    assert_eq!(done.code(), 0, "{}", done.stderr);
}

#[test]
fn one_file_goes_through_standard_streams() {
    let rig = Rig::signed_in();
    let file = format!("{}/file", inside(&rig));
    let done = rig.run_with_input(&["desktop", "cp", "-", &file], b"some\xff bytes");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    assert_eq!(fs::read(rig.path("inside/file")).unwrap(), b"some\xff bytes");
    fs::write(rig.path("inside/file"), "text").unwrap();
    let done = rig.run(&["desktop", "cp", &file, "-"]);
    assert_eq!((done.code(), done.stdout.as_str()), (0, "text"), "{}", done.stderr);
}

#[test]
fn what_is_wrong_over_there_is_told() {
    let rig = Rig::signed_in();
    let there = inside(&rig);
    let target = rig.path("nothing");
    let target = target.to_str().unwrap();
    let done = rig.run(&["desktop", "cp", &format!("{there}/missing"), target]);
    assert_ne!(done.code(), 0);
    assert!(done.stderr.contains("missing: Cannot stat"), "{}", done.stderr);
    assert!(!rig.path("nothing").exists());
    let done = rig.run(&["desktop", "cp", "/no/such/file", &there]);
    assert_eq!(done.code(), 2, "{}", done.stderr);
    let done = rig.run_with_input(&["desktop", "cp", "-", &format!("{there}/no/file")], b"x");
    assert_ne!(done.code(), 0);
    for wrong in [["a", "b"], ["demo:a", "demo:b"], ["-", "-"]] {
        let done = rig.run(&["desktop", "cp", wrong[0], wrong[1]]);
        assert_eq!(done.code(), 2, "{wrong:?}");
    }
}
