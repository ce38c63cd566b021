//! A host of its own for each privileged test: a fresh mount namespace and a
//! temporary directory, and the check that both end as they began.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod steps;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rolltop_overlay::mountinfo::mounts;
use rolltop_overlay::*;

/// The id map most tests use: 100000 and on.
pub(crate) const MAP: IdMap = IdMap { first: 100_000, count: 65_536, kept: None };

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `body` in a mount namespace of its own, with an empty directory.
///
/// Threads and children that it starts are in the same namespace. Afterwards
/// nothing may be mounted below the directory that was not before, and no loop
/// device may hold a file in it.
pub(crate) fn on_a_host_of_its_own(body: impl FnOnce(&Host) + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    // A child that one test starts inherits, until it executes its program, what
    // another has open just then, and keeps its mounts busy.
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Outlives the thread, and with it the namespace: whatever a failed test
    // left mounted is gone before the directory is removed.
    let temp = tempfile::Builder::new().prefix("rolltop,test:\\").tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
                let before = mount_points(&dir);
                let host = Host { dir: dir.clone() };
                isolate(&host.run()).unwrap();
                body(&host);
                let errors = host.bases().unmount_all();
                assert!(errors.is_empty(), "{errors:?}");
                deisolate(&host.run()).unwrap();
                assert_eq!(before, mount_points(&dir), "mounts are left");
                loops_clear(&dir);
            })
            .join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Others come and go: an unmounted directory that is removed takes its mounts
/// in all namespaces with it.
fn mount_points(dir: &Path) -> Vec<PathBuf> {
    let mounts = mounts().unwrap().into_iter().map(|mount| mount.mount_point);
    mounts.filter(|point| point.starts_with(dir)).collect()
}

/// No loop device holds a file below `dir`; where udev runs, it may be reading one
/// that nothing else uses any more.
fn loops_clear(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !loops_below(dir).is_empty() {
        assert!(Instant::now() < deadline, "loop devices are left: {:?}", loops_below(dir));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Files below `dir` that loop devices hold. Others' devices do not matter, so
/// tests can run side by side.
pub(crate) fn loops_below(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let file = entry.unwrap().path().join("loop/backing_file");
        let Ok(backing) = fs::read_to_string(file) else {
            continue;
        };
        let backing = PathBuf::from(backing.trim_end());
        if backing.starts_with(dir) {
            found.insert(backing);
        }
    }
    found
}

/// All names below `dir`, relative to it.
pub(crate) fn tree(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            }
        }
    }
    found
}

/// What `command` prints, run as `id` in `dir`. Only root passes the directories
/// above, so the change of user comes after the change of directory.
pub(crate) fn run_as(id: u32, dir: &Path, command: &[&str]) -> String {
    let output = Command::new("setpriv")
        .args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()])
        .args(command)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn size(mib: i64) -> OverlaySize {
    OverlaySize::from_mib(mib).unwrap()
}

pub(crate) fn home(name: &str) -> OverlayKind {
    OverlayKind::Home(OverlayName::try_from(name).unwrap())
}

pub(crate) fn snapshot_name(name: &str) -> SnapshotName {
    SnapshotName::try_from(name).unwrap()
}

/// The UUID in an ext4 superblock, and whether a full check finds no fault.
pub(crate) fn uuid_of_sound(path: &Path) -> Vec<u8> {
    let check = Command::new("e2fsck").args(["-f", "-n"]).arg(path).output().unwrap();
    assert!(check.status.success(), "{check:?}");
    let mut bytes = [0; 2048];
    fs::File::open(path).unwrap().read_exact(&mut bytes).unwrap();
    bytes[1024 + 0x68..][..16].to_vec()
}

pub(crate) fn persistent(name: &str) -> OverlayKind {
    OverlayKind::Persistent(OverlayName::try_from(name).unwrap())
}

/// Directories of a host, all below one.
pub(crate) struct Host {
    pub(crate) dir: PathBuf,
}

// === impl Host ===

impl Host {
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub(crate) fn bases(&self) -> BaseRoots {
        BaseRoots::open(&self.run().join("bases")).unwrap()
    }

    pub(crate) fn overlays(&self) -> Overlays {
        Overlays::open(&self.dir.join("overlays")).unwrap()
    }

    /// Where desktop `n` is mounted.
    pub(crate) fn desktop(&self, n: u32) -> PathBuf {
        self.run().join("desktops").join(n.to_string())
    }

    /// A directory that stands for an image: a file of root's, one of user
    /// 1000's, a set-uid program.
    pub(crate) fn image(&self) -> PathBuf {
        let image = self.dir.join("image");
        if image.exists() {
            return image;
        }
        for sub in ["etc", "home/user", "bin"] {
            fs::create_dir_all(image.join(sub)).unwrap();
        }
        fs::write(image.join("etc/issue"), "image\n").unwrap();
        fs::write(image.join("home/user/notes"), "from the image\n").unwrap();
        for path in ["home/user", "home/user/notes"] {
            chown(image.join(path), Some(1000), Some(1000)).unwrap();
        }
        symlink("/etc/issue", image.join("etc/link")).unwrap();
        fs::copy("/usr/bin/id", image.join("bin/id")).unwrap();
        fs::set_permissions(image.join("bin/id"), PermissionsExt::from_mode(0o4755)).unwrap();
        image
    }

    /// The image as a mounted base root.
    pub(crate) fn base(&self) -> PathBuf {
        let key = BaseKey::try_from("image@1").unwrap();
        self.bases().mount(&key, &BaseSource::Directory(self.image())).unwrap()
    }

    /// Opens `overlay` over the image as desktop `n`.
    pub(crate) fn open(
        &self,
        n: u32,
        overlay: &OverlayFile,
        id_map: Option<IdMap>,
    ) -> Result<OpenRoot, OpenError> {
        let mount_dir = self.desktop(n);
        let lower = self.base();
        open_root(&OpenPlan { lower: &lower, overlay, mount_dir: &mount_dir, id_map })
    }

    /// No loop device holds a file of this host any more.
    pub(crate) fn loops_clear(&self) {
        loops_clear(&self.dir);
    }

    /// What `path` has in the overlay `kind`, read through a root of its own.
    pub(crate) fn read_in(&self, kind: &OverlayKind, path: &str) -> Option<String> {
        let overlay = self.overlays().get(kind).unwrap();
        let opened = self.open(99, &overlay, None).unwrap();
        let text = fs::read_to_string(opened.root.join(path)).ok();
        self.close(99);
        text
    }

    /// Writes `text` to `path` in the overlay `kind`, through a root of its own.
    pub(crate) fn write_in(&self, kind: &OverlayKind, path: &str, text: &str) {
        let overlay = self.overlays().get(kind).unwrap();
        let opened = self.open(99, &overlay, None).unwrap();
        fs::write(opened.root.join(path), text).unwrap();
        self.close(99);
    }

    /// Closes desktop `n`, of which nothing may stay.
    pub(crate) fn close(&self, n: u32) {
        let mount_dir = self.desktop(n);
        let report = close_root(&mount_dir);
        assert!(report.is_clean(), "{report:?}");
        assert!(!mount_dir.exists());
    }
}
