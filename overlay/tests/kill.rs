//! `kill -9` before every step of every operation, after which a fresh process
//! finds everything right and nothing left over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rolltop_overlay::*;
use rustix::fs::{FlockOperation, flock};
use support::steps::{self, Outcome};
use support::{
    Host, loops_below, on_a_host_of_its_own, persistent, size, snapshot_name, tree, uuid_of_sound,
};

const DIR: &str = "ROLLTOP_TEST_KILL_DIR";
const WORK: &str = "ROLLTOP_TEST_KILL_WORK";

/// Not a test: the process that is killed.
#[test]
#[ignore = "started by other tests"]
fn helper_works() {
    let host = Host { dir: PathBuf::from(std::env::var_os(DIR).unwrap()) };
    let work = std::env::var(WORK).unwrap();
    let desk = persistent("desk");
    let archive = host.dir.join("archive");
    let overlays = host.overlays();
    let lower = host.base();
    steps::begin();
    match work.as_str() {
        "create" => drop(overlays.create(&persistent("twin"), size(64)).unwrap()),
        "open" => {
            let (overlay, mount_dir) = (overlays.get(&desk).unwrap(), host.desktop(1));
            let plan = OpenPlan {
                lower: &lower,
                overlay: &overlay,
                mount_dir: &mount_dir,
                id_map: Some(support::MAP),
            };
            open_root(&plan).unwrap();
        }
        "close" => assert!(close_root(&host.desktop(1)).is_clean()),
        "grow" => drop(overlays.grow(&desk, size(200)).unwrap()),
        "snapshot" | "snapshot of a running one" => {
            drop(overlays.snapshot(&desk, &snapshot_name("new"), "").unwrap());
        }
        "roll back" => {
            drop(overlays.roll_back(&desk, &snapshot_name("old"), PresentState::Keep).unwrap());
        }
        "clone" => {
            drop(overlays.clone_overlay(&desk.into(), &persistent("twin")).unwrap());
        }
        "export" | "export of a running one" => {
            overlays.export(&desk.into(), &mut File::create(&archive).unwrap()).unwrap();
        }
        "import" => {
            let mut from = File::open(&archive).unwrap();
            drop(overlays.import(&persistent("twin"), &mut from, size(1024)).unwrap());
        }
        "delete" => assert!(overlays.delete_with_snapshots(&desk).unwrap()),
        "trim" => assert!(overlays.trim(&desk).is_ok()),
        "recover" => drop(host.overlays()),
        other => panic!("{other}"),
    }
    steps::end();
}

/// All names, with the numbers of automatic snapshots made alike.
fn names(dir: &Path) -> BTreeSet<String> {
    tree(dir)
        .into_iter()
        .map(|name| match name.split_once("auto-") {
            Some((before, rest)) => {
                format!("{before}auto-N{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => name,
        })
        .collect()
}

/// Puts back the files as they were saved, holes included.
fn copy_all(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let status =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Waits for the loop device of a mount that is on its way out: its lock ends
/// with it.
fn wait_for_locks(dir: &Path) {
    for name in tree(dir).iter().filter(|name| name.ends_with(".ext4") || name.contains(".draft")) {
        let Ok(file) = File::open(dir.join(name)) else { continue };
        flock(&file, FlockOperation::LockExclusive).unwrap();
        flock(&file, FlockOperation::Unlock).unwrap();
    }
}

struct Case<'a> {
    work: &'a str,
    running: bool,
    /// Looks at what a fresh process finds; whether the work was done.
    check: &'a (dyn Fn(&Host) -> bool + Sync),
}

fn letter(host: &Host, name: &str) -> Option<String> {
    host.read_in(&persistent(name), "letter")
}

/// Kills `work` at every step of it, and says how many there are.
fn kill_everywhere(host: &Host, case: &Case<'_>) {
    let overlays_dir = host.dir.join("overlays");
    let desk = persistent("desk");
    host.base();
    let overlays = host.overlays();
    overlays.create(&desk, size(64)).unwrap();
    host.write_in(&desk, "letter", "old");
    overlays.snapshot(&desk, &snapshot_name("old"), "").unwrap();
    host.write_in(&desk, "letter", "new");
    if case.work == "import" {
        let mut archive = File::create(host.dir.join("archive")).unwrap();
        overlays.export(&desk.clone().into(), &mut archive).unwrap();
    }
    if case.work == "recover" {
        // What crashes leave, all of it.
        fs::write(overlays_dir.join("persistent/.draft-1"), "").unwrap();
        fs::write(overlays_dir.join("persistent/.deleted-gone.ext4"), "").unwrap();
        fs::write(overlays_dir.join("persistent/gone.json"), "").unwrap();
        let snapshots = overlays_dir.join("snapshots/persistent/desk");
        fs::write(snapshots.join(".draft-2"), "").unwrap();
        fs::write(snapshots.join("auto-1.json"), "").unwrap();
        fs::write(snapshots.join("auto-2.json"), "").unwrap();
        fs::write(overlays_dir.join("frozen/persistent.desk.ext4"), "").unwrap();
    }
    let saved = host.dir.join("saved");
    copy_all(&overlays_dir, &saved);
    let before = names(&saved);

    let dir = host.dir.to_str().unwrap().to_owned();
    let env = [(DIR, dir.as_str()), (WORK, case.work)];
    let run = |kill_at| {
        copy_all(&saved, &overlays_dir);
        if case.work == "recover" {
            // At two names, as roll_back leaves it.
            let link = overlays_dir.join("snapshots/persistent/desk/auto-2.ext4");
            fs::hard_link(overlays_dir.join("persistent/desk.ext4"), link).unwrap();
        }
        if case.running {
            host.open(1, &host.overlays().get(&desk).unwrap(), None).unwrap();
        }
        let outcome = steps::run("helper_works", &env, kill_at);
        if case.running && host.desktop(1).join("root").exists() {
            // The guard has thawed it by now: without, this would hang.
            if case.work != "close" {
                let root = host.desktop(1).join("root");
                fs::write(root.join("alive"), "").unwrap();
                File::open(&root).unwrap().sync_all().unwrap();
                fs::remove_file(root.join("alive")).unwrap();
                assert!(matches!(host.overlays().check(&desk), Ok(Health::InUse)));
            }
        }
        assert!(close_root(&host.desktop(1)).errors.is_empty());
        wait_for_locks(&overlays_dir);
        drop(host.overlays());
        assert_eq!(loops_below(&overlays_dir), BTreeSet::new());
        outcome
    };
    let Outcome::Ended { steps } = run(None) else { panic!("killed by another") };
    let after = names(&overlays_dir);
    assert!((case.check)(host), "{} was not done", case.work);
    assert!(steps > 3, "{steps} steps of {}", case.work);
    let clean = if case.work == "recover" { &after } else { &before };
    for step in 0..steps {
        let outcome = run(Some(step));
        // The very last steps of a thread may come in another order.
        assert!(outcome == Outcome::Killed || step + 3 > steps, "{} step {step}", case.work);
        let found = names(&overlays_dir);
        let partly = case.work == "delete" && found.is_subset(&before);
        assert!(
            found == *clean || found == after || partly,
            "{} step {step} of {steps} left {:?} and lacks {:?}",
            case.work,
            found.difference(clean).collect::<Vec<_>>(),
            clean.difference(&found).collect::<Vec<_>>()
        );
        (case.check)(host);
    }
    eprintln!("{}: killed at {steps} steps", case.work);
}

fn still_new(host: &Host) {
    assert_eq!(letter(host, "desk").unwrap(), "new");
    uuid_of_sound(host.overlays().get(&persistent("desk")).unwrap().path());
}

/// Whether there is a twin, which then is whole.
fn twin_is_whole(host: &Host) -> bool {
    still_new(host);
    let Ok(twin) = host.overlays().get(&persistent("twin")) else { return false };
    uuid_of_sound(twin.path());
    assert_eq!(letter(host, "twin").unwrap(), "new");
    true
}

fn has_new_snapshot(host: &Host) -> bool {
    still_new(host);
    let overlays = host.overlays();
    let found = overlays.snapshots(&persistent("desk")).unwrap();
    let new = found.iter().find(|snapshot| snapshot.name == snapshot_name("new"));
    new.is_some_and(|snapshot| {
        assert!(snapshot.created_at.is_some());
        let from = CopySource { kind: persistent("desk"), snapshot: Some(snapshot.name.clone()) };
        let twin = persistent("twin");
        overlays.clone_overlay(&from, &twin).unwrap();
        assert_eq!(letter(host, "twin").unwrap(), "new");
        overlays.delete(&twin).unwrap()
    })
}

fn case(work: &str, running: bool, check: &(dyn Fn(&Host) -> bool + Sync)) {
    on_a_host_of_its_own(|host| kill_everywhere(host, &Case { work, running, check }));
}

/// Carried across threads by reference.
macro_rules! cases {
    ($($name:ident: $work:literal, $running:literal, $check:expr;)*) => {
        $(#[test]
        fn $name() {
            case($work, $running, &$check);
        })*
    };
}

cases! {
    create: "create", false, |host| {
        still_new(host);
        let Ok(twin) = host.overlays().get(&persistent("twin")) else { return false };
        uuid_of_sound(twin.path());
        true
    };
    open: "open", false, |host| { still_new(host); true };
    close: "close", true, |host| { still_new(host); true };
    trim: "trim", false, |host| { still_new(host); true };
    recover: "recover", false, |host| { still_new(host); true };
    grow: "grow", false, |host| {
        still_new(host);
        let usage = host.overlays().usage(&persistent("desk")).unwrap();
        usage.inside.unwrap().free_bytes > 150 << 20
    };
    snapshot: "snapshot", false, has_new_snapshot;
    snapshot_of_a_running_one: "snapshot of a running one", true, has_new_snapshot;
    roll_back: "roll back", false, |host| {
        let overlays = host.overlays();
        let desk = persistent("desk");
        let found = overlays.snapshots(&desk).unwrap();
        match letter(host, "desk").unwrap().as_str() {
            "new" => {
                assert_eq!(found.len(), 1);
                false
            }
            "old" => {
                // What was before is not lost.
                let auto = found.iter().find(|snapshot| snapshot.automatic).unwrap();
                overlays.roll_back(&desk, &auto.name, PresentState::Discard).unwrap();
                still_new(host);
                true
            }
            other => panic!("{other}"),
        }
    };
    clone: "clone", false, twin_is_whole;
    import: "import", false, twin_is_whole;
    export: "export", false, |host| { still_new(host); true };
    export_of_a_running_one: "export of a running one", true, |host| { still_new(host); true };
    delete: "delete", false, |host| {
        match host.overlays().get(&persistent("desk")) {
            Ok(_) => {
                still_new(host);
                assert!(host.overlays().delete_with_snapshots(&persistent("desk")).unwrap());
                false
            }
            Err(StoreError::NotFound(_)) => true,
            Err(other) => panic!("{other}"),
        }
    };
}
