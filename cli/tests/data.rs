//! `rolltop data` against a scripted broker.

mod support;

use std::fs;

use serde_json::json;
use support::{ARCHIVE, Rig};

#[test]
fn data_is_listed_and_worked_on() {
    let rig = Rig::signed_in();
    let list = rig.run(&["data", "list", "-o", "json"]).json();
    assert_eq!(list["data"][0]["id"], "demo/ada");
    let made = rig.run(&["data", "snapshot", "create", "demo", "s1", "--description", "why"]);
    assert_eq!(made.stdout, "demo is kept as snapshot s1\n");
    let back = rig.run(&["data", "rollback", "demo", "s1", "--yes", "-o", "json"]).json();
    assert_eq!(back["before"], "auto-1");
    let trimmed = rig.run(&["data", "trim", "demo"]);
    assert_eq!(trimmed.stdout, "the host got back 4.0 KiB of demo\n");
    let checked = rig.run(&["data", "check", "demo"]);
    assert_eq!(checked.stdout, "demo is damaged\n  bad magic \u{fffd}[31mnumber\n");
    let cloned = rig.run(&["data", "clone", "demo", "demo/bob", "-o", "json"]).json();
    assert_eq!(cloned["data"]["id"], "demo/bob");
    let grown = rig.run(&["data", "grow", "demo", "2GiB", "-o", "json"]);
    assert_eq!((grown.code(), &grown.error()["reason"]), (6, &json!("OPERATORS_ONLY")));
    let adopted = rig.run(&["data", "adopt", "host-1", "-o", "json"]).json();
    assert_eq!(
        (&adopted["adopted"][0]["id"], &adopted["left"]),
        (&json!("demo-keep/ada"), &json!([]))
    );
    let nowhere = rig.run(&["data", "adopt", "host-9"]);
    assert_eq!(nowhere.stderr, "error: there is no host host-9\n");
    let deleted = rig.run(&["data", "delete", "demo/ada", "--yes"]);
    assert_eq!(deleted.code(), 8);
    let sentence = "error: demo/ada is in use by desktop demo/ada; stop that first\n";
    assert_eq!(deleted.stderr, sentence);
}

#[test]
fn an_export_is_whole_or_not_there() {
    let rig = Rig::signed_in();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ada.rto");
    let name = file.to_str().unwrap();
    for data in ["cut/ada", "torn/ada"] {
        let failed = rig.run(&["data", "export", data, name]);
        assert_eq!(failed.code(), 1, "{data}: {}", failed.stderr);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{data}");
    }
    let done = rig.run(&["data", "export", "demo/ada", name, "-o", "json"]).json();
    assert_eq!(done["bytes"], ARCHIVE.len());
    assert_eq!(fs::read(&file).unwrap(), ARCHIVE);
    let again = rig.run(&["data", "export", "demo/ada", name, "-o", "json"]);
    assert_eq!(again.error()["reason"], "FILE_EXISTS");
    let printed = rig.run(&["data", "export", "demo/ada", "-"]);
    assert_eq!(printed.stdout.as_bytes(), ARCHIVE);
    let sum = done["sha256"].as_str().unwrap();
    assert!(printed.stderr.contains(sum), "{}", printed.stderr);
}

#[test]
fn an_import_sends_the_whole_file() {
    let rig = Rig::signed_in();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ada.rto");
    let name = file.to_str().unwrap();
    let missing = rig.run(&["data", "import", "demo/ada", name, "-o", "json"]);
    assert_eq!(missing.error()["reason"], "FILE_FAILED");
    fs::write(&file, ARCHIVE).unwrap();
    let done = rig.run(&["data", "import", "demo/ada", name, "-o", "json"]).json();
    assert_eq!(done["data"]["id"], "demo/ada");
    let taken = rig.run(&["data", "import", "taken/ada", name, "-o", "json"]);
    assert_eq!((taken.code(), &taken.error()["reason"]), (8, &json!("DATA_EXISTS")));
}
