//! Where things lie. Every path of a desktop follows from its number, so that
//! a desktop can be taken down without its record.

use std::path::{Path, PathBuf};

use crate::address::Number;

/// Directory inside a desktop that the agent shares with it for its display.
pub const DISPLAY_DIR_INSIDE: &str = "/run/rolltop/display";
/// The init program inside a desktop.
pub const INIT_INSIDE: &str = "/run/rolltop/init";
/// Where an init of the image's own says that all is started.
pub const NOTIFY_INSIDE: &str = "/run/rolltop/notify";

/// The agent's directories.
#[derive(Clone, Debug)]
pub struct Paths {
    state: PathBuf,
    run: PathBuf,
    cgroup_parent: String,
}

/// One desktop's directories, all below the run directory.
#[derive(Clone, Debug)]
pub struct DesktopPaths {
    dir: PathBuf,
    cgroup: PathBuf,
}

impl Paths {
    /// From the configuration's `state_dir`, `run_dir` and `cgroup_parent`.
    pub fn new(state: &Path, run: &Path, cgroup_parent: &str) -> Self {
        Self { state: state.into(), run: run.into(), cgroup_parent: cgroup_parent.into() }
    }

    /// Parent of all desktops' control groups, in each hierarchy.
    pub fn cgroup_parent(&self) -> PathBuf {
        Path::new("/").join(&self.cgroup_parent)
    }

    /// The run directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Overlay files and templates.
    pub fn overlays(&self) -> PathBuf {
        self.state.join("overlays")
    }

    /// Mount points of base roots.
    pub fn bases(&self) -> PathBuf {
        self.run.join("bases")
    }

    /// Mount points of NFS exports.
    pub fn exports(&self) -> PathBuf {
        self.run.join("exports")
    }

    /// The init program, as desktops get to see it.
    pub fn init_program(&self) -> PathBuf {
        self.run.join("init")
    }

    /// State of OCI runtimes that are not built in.
    pub fn oci_runtime_root(&self, runtime: &str) -> PathBuf {
        self.run.join("runtimes").join(runtime)
    }

    /// Parent of the desktops' directories.
    pub fn desktops(&self) -> PathBuf {
        self.run.join("desktops")
    }

    /// One desktop's.
    pub fn desktop(&self, number: Number) -> DesktopPaths {
        DesktopPaths {
            dir: self.desktops().join(number.to_string()),
            cgroup: self.cgroup_parent().join(number.to_string()),
        }
    }
}

impl DesktopPaths {
    /// The desktop's own directory; gone when the desktop is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its record.
    pub fn record(&self) -> PathBuf {
        self.dir.join("record.json")
    }

    /// The OCI bundle.
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// Below it: everything `rolltop-overlay` mounts.
    pub fn mounts(&self) -> PathBuf {
        self.dir.join("mounts")
    }

    /// Below it: the home volume or directory, mounted.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A small tmpfs of the desktop's own for what follows.
    pub fn shared(&self) -> PathBuf {
        self.dir.join("shared")
    }

    /// Shared with the desktop: its display's socket appears here.
    pub fn display_dir(&self) -> PathBuf {
        self.shared().join("display")
    }

    /// What the session writes to standard output and error.
    pub fn session_log(&self) -> PathBuf {
        self.shared().join("session.log")
    }

    /// Where an init of the image's own says that all is started.
    pub fn notify_socket(&self) -> PathBuf {
        self.shared().join("notify")
    }

    /// Path of its control group in each hierarchy.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}
