//! `kill -9` before each change that publishing and collecting make: a store
//! never shows half of a version, and the next call clears up.
//!
//! One test alone: it waits for whatever child there is.

#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends here when what it stands on fails"
)]

#[path = "support/killed.rs"]
#[allow(unreachable_pub, reason = "shared by path")]
mod killed;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use killed::{End, run_until};
use rolltop_image::{ImageRef, ImageStore};

const MANIFEST: &str = "format = 1\n[init]\nkind = 'builtin'\n[session]\ncommand = ['/bin/session']\n\
    [display]\nprotocol = 'vnc'\nsocket = 'vnc.sock'\n";
const PROGRAM: &str = env!("CARGO_BIN_EXE_rolltop");

struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn publish(&self) -> Vec<String> {
        let (root, manifest, store) =
            (self.text("root"), self.text("manifest"), self.text("images"));
        ["image", "publish", "demo", &root, "--manifest", &manifest, "--store", &store]
            .into_iter()
            .chain(["--format", "directory", "--tag", "stable"])
            .map(str::to_owned)
            .collect()
    }

    fn run(&self, arguments: &[String]) {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn store(&self) -> ImageStore {
        ImageStore::create(self.path("images")).unwrap()
    }

    /// How many versions there are; each of them must be whole.
    fn sound(&self) -> usize {
        let store = self.store();
        let listing = store.list().unwrap();
        assert!(listing.broken.is_empty(), "{:?}", listing.broken);
        for listed in &listing.versions {
            store.verify(&listed.published).unwrap();
        }
        if self.path("images/demo/tags/stable").is_symlink() {
            store.resolve(&"demo:stable".parse::<ImageRef>().unwrap()).unwrap();
        }
        listing.versions.len()
    }

    /// Nothing but versions and locks is left in the store.
    fn tidy(&self) {
        for dir in
            ["images/demo/versions", "images/demo/tags", "images/demo/retired", "images/.build"]
        {
            let Ok(entries) = fs::read_dir(self.path(dir)) else { continue };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.starts_with('.') || name == ".lock", "{dir}/{name} was left");
                assert!(!name.starts_with("build-"), "{dir}/{name} was left");
            }
        }
    }
}

fn ground() -> Ground {
    let ground = Ground { dir: tempfile::tempdir().unwrap() };
    fs::create_dir_all(ground.path("root/bin")).unwrap();
    fs::write(ground.path("root/bin/session"), "#!/bin/sh\n").unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(ground.path("root/bin/session"), mode).unwrap();
    fs::write(ground.path("manifest"), MANIFEST).unwrap();
    ground
}

fn as_text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn a_store_is_sound_whenever_it_is_looked_at() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    publishing(&ground());
    collecting(&ground());
}

fn publishing(ground: &Ground) {
    let arguments = ground.publish();
    for at in 1.. {
        let end = run_until(at, PROGRAM, &as_text(&arguments));
        ground.sound();
        if let End::Finished { changes, code } = end {
            assert_eq!(code, 0);
            // Making, copying, preparing, sealing, naming and tagging.
            assert!(changes > 30, "only {changes} changes were seen");
            println!("publishing makes {changes} changes");
            break;
        }
    }
    assert!(ground.sound() >= 1);
    ground.run(&arguments);
    ground.tidy();
}

fn collecting(ground: &Ground) {
    let template = ground.path("template");
    ground.run(&ground.publish());
    ground.run(&ground.publish());
    let retired = {
        let store = ground.store();
        let tagged = store.resolve(&"demo:stable".parse().unwrap()).unwrap().version;
        let all = store.list().unwrap().versions;
        let others = all.into_iter().map(|listed| listed.published).filter(|p| p.version != tagged);
        let others: Vec<_> = others.collect();
        for other in &others {
            store.retire(&other.name, &other.version, "", std::time::SystemTime::now()).unwrap();
        }
        others.len()
    };
    assert_eq!(retired, 1);
    copy(&ground.path("images"), &template);
    let store = ground.text("images");
    let gc: Vec<String> =
        ["image", "gc", "--store", &store, "--offline", "--yes"].map(str::to_owned).into();
    let mut last = 0;
    for at in 1.. {
        fs::remove_dir_all(ground.path("images")).unwrap();
        copy(&template, &ground.path("images"));
        let end = run_until(at, PROGRAM, &as_text(&gc));
        let left = ground.sound();
        assert!(left >= 1, "the tagged version went");
        if at > 200 {
            panic!("it does not end");
        }
        // A second call finishes what the first began.
        ground.run(&gc);
        assert_eq!(ground.sound(), 1);
        ground.tidy();
        last = at;
        if matches!(end, End::Finished { .. }) {
            break;
        }
    }
    assert!(last > 5, "only {last} changes were seen");
    println!("collecting makes {} changes", last - 1);
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--archive").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
