//! What the privileged tests stand on: a small root, archives of it, a store.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rolltop_image::{
    BuildEvent, ImageSpec, ImageStore, ImportError, ImportOptions, Imported, ManifestInput, import,
};
use tempfile::TempDir;

pub const SPEC: &str = "format = 1\n[init]\nkind = 'builtin'\n\
    [session]\ncommand = ['/usr/bin/session']\n\
    [display]\nprotocol = 'vnc'\nsocket = 'vnc.sock'\nserver = '/usr/bin/server'\n";

/// A place of one's own that is the same machine before and after.
pub struct Place {
    pub dir: TempDir,
    mounts: String,
    loops: usize,
}

impl Place {
    /// `None` without root, after saying so.
    pub fn new() -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("skipped: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mounts = own_mounts(dir.path());
        let loops = own_loops(dir.path());
        Some(Self { dir, mounts, loops })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> ImageStore {
        ImageStore::create(self.path("images")).unwrap()
    }

    /// A root with a session, a display server, and a bit of everything.
    pub fn root(&self) -> PathBuf {
        let root = self.path("root");
        for dir in ["usr/bin", "usr/lib", "etc", "dev", "tmp", "home/ada"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for program in ["session", "server"] {
            let path = root.join("usr/bin").join(program);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        if !root.join("bin").is_symlink() {
            std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
        }
        fs::write(root.join("etc/hostname"), "where-it-was-made\n").unwrap();
        std::os::unix::fs::chown(root.join("home/ada"), Some(1000), Some(1000)).unwrap();
        root
    }

    /// Nothing is mounted or attached that was not before.
    pub fn leave(self) {
        assert_eq!(own_mounts(self.dir.path()), self.mounts);
        assert_eq!(own_loops(self.dir.path()), self.loops);
        let work = self.path("work");
        if work.exists() {
            let left: Vec<_> = fs::read_dir(work)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .filter(|name| name != ".lock")
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    pub fn import(&self, file: &Path, reference: Option<&str>) -> Result<Imported, ImportError> {
        let options = ImportOptions {
            reference: reference.map(str::to_owned),
            spec: Some(spec()),
            ..ImportOptions::default()
        };
        import(file, &self.path("work"), options, &mut |_: BuildEvent<'_>| ())
    }
}

pub fn spec() -> ImageSpec {
    ImageSpec::parse(SPEC).unwrap()
}

pub fn input(name: &str) -> ManifestInput {
    ManifestInput {
        name: name.parse().unwrap(),
        description: String::new(),
        desktop: spec().desktop,
        recipe_digest: None,
    }
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn own_mounts(dir: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(text(dir))).collect()
}

/// Loop devices whose file lies in our place.
fn own_loops(dir: &Path) -> usize {
    fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(|entry| {
            fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok()
        })
        .filter(|file| file.contains(text(dir)))
        .count()
}
