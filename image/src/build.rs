//! Building a root by a recipe, with mmdebstrap.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::import::ImportError;
use crate::mirror::Mirror;
use crate::prepare::{PrepareError, prepare};
use crate::recipe::{Extra, ExtraKind, Origin, Recipe, RecipeError};
use crate::store::{ImageStore, StoreError};
use crate::tool::{self, ToolError};
use crate::tree::{InnerPath, Tree};
use crate::upon;
use crate::work::WorkDir;

/// What every root leaves out: nobody reads manuals in a throw-away disk, and
/// licences must stay.
const DPKG_OPTIONS: [&str; 4] = [
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];
const APT_OPTIONS: [&str; 1] = ["APT::Install-Recommends \"false\";"];
/// A private process and mount namespace: whatever a package or a command
/// leaves running or mounted ends with it, also when this process is killed.
const ALONE: [&str; 6] =
    ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc"];
/// Gives the root the devices that programs count on, whatever it has in /dev,
/// and its own view of the processes; then runs the command in it.
const ENTER: &str = r#"
mount -t tmpfs -o mode=755,nosuid,noexec,size=1m dev "$1/dev"
for device in null zero full random urandom tty; do
    : > "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
ln -s /proc/self/fd "$1/dev/fd"
mount -t proc proc "$1/proc"
exec chroot "$1" sh -ec "$2"
"#;
/// The environment of everything that runs in the root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What goes on while a root is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEvent<'e> {
    /// A step begins; a few words for a person.
    Step(&'e str),
    /// A line that a program of the current step printed.
    Line(&'e str),
}

/// A finished root. It is removed when this is dropped.
#[derive(Debug)]
pub struct BuiltRoot {
    dir: WorkDir,
}

/// Why no root was built. Nothing of it is left.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Its `files/` cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe builds upon another image, and no store was given.
    #[error("the recipe builds upon another image: name the store it is in")]
    NoStore,
    /// The image it builds upon is not to be had.
    #[error(transparent)]
    Store(StoreError),
    /// The image it builds upon cannot be copied.
    #[error(transparent)]
    Base(Box<ImportError>),
    /// The image it builds upon has moved owners.
    #[error(
        "the owners in {image} were moved to {first}: build upon a version without --shift-ids"
    )]
    Shifted {
        /// The image.
        image: String,
        /// Where root is in it.
        first: u32,
    },
    /// It could not be made fit for a container.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A file operation failed.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// mmdebstrap could not install the packages.
    #[error("the packages of image {image} could not be installed")]
    Packages {
        /// The image.
        image: String,
        /// What mmdebstrap said.
        #[source]
        source: ToolError,
    },
    /// A command of the recipe failed in the root.
    #[error("command {number} of the recipe failed: {command}")]
    Command {
        /// Its place in the recipe, counted from 1.
        number: usize,
        /// The command.
        command: String,
        /// What it said.
        #[source]
        source: ToolError,
    },
}

pub(crate) fn io_error(
    verb: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.into();
    move |source| BuildError::Io { verb, path, source }
}

// === impl BuiltRoot ===

impl BuiltRoot {
    /// The root directory.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A directory for one, in which it is still to be made.
    pub(crate) fn create(work_dir: &Path, name: &str) -> io::Result<Self> {
        Ok(Self { dir: WorkDir::create(work_dir, name)? })
    }

    /// Beside the root, for what is needed on the way.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Held while somebody works on it.
    pub(crate) fn lock(&self) -> &fs::File {
        self.dir.lock()
    }
}

/// Builds the root of a recipe below `work_dir`, which is made if missing. A
/// recipe that builds upon another image finds it in `store`. Needs root,
/// mmdebstrap and util-linux.
pub fn build(
    recipe: &Recipe,
    store: Option<&ImageStore>,
    work_dir: &Path,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<BuiltRoot, BuildError> {
    let built = BuiltRoot::create(work_dir, recipe.name.as_str())
        .map_err(io_error("make a directory in", work_dir))?;
    let root = built.path();

    match &recipe.origin {
        Origin::Suite(suite) => {
            progress(BuildEvent::Step("installing packages"));
            install(recipe, suite, &built, progress)?;
        }
        Origin::Image(from) => {
            upon::copy(from, store, &built, progress)?;
            upon::install(recipe, &built, progress)?;
        }
    }
    progress(BuildEvent::Step("copying the recipe's files"));
    for extra in recipe.extras()? {
        copy(recipe, &extra, &root)?;
    }
    for (at, command) in recipe.commands.iter().enumerate() {
        progress(BuildEvent::Step(command.trim().lines().next().unwrap_or_default()));
        follow_in_root(&built, command, progress).map_err(|source| BuildError::Command {
            number: at + 1,
            command: command.clone(),
            source,
        })?;
    }
    progress(BuildEvent::Step("cleaning up"));
    finish(recipe, &root, progress)?;
    Ok(built)
}

fn install(
    recipe: &Recipe,
    suite: &str,
    built: &BuiltRoot,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), BuildError> {
    let mirror = match recipe.sources.is_empty() {
        true => Mirror::of_this_machine(suite),
        false => Mirror::of_sources(&recipe.sources),
    };
    let mut command = Command::new("unshare");
    command.args(ALONE).args([
        "--mount-proc",
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--format=directory",
    ]);
    // It is all thrown away on a crash: no need to wait for the disk.
    command.arg("--dpkgopt=force-unsafe-io");
    for option in dpkg_options(recipe) {
        command.arg(format!("--dpkgopt={option}"));
    }
    for option in apt_options(recipe).chain(mirror.options.iter().map(String::as_str)) {
        command.arg(format!("--aptopt={option}"));
    }
    if !recipe.packages.is_empty() {
        command.arg(format!("--include={}", recipe.packages.join(",")));
    }
    command.arg(suite).arg(built.path()).args(&mirror.sources);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    let image = recipe.name.to_string();
    tool::follow(&mut command, built.lock(), &mut |line| progress(BuildEvent::Line(line)))
        .map_err(|source| BuildError::Packages { image, source })
}

fn dpkg_options(recipe: &Recipe) -> impl Iterator<Item = &str> {
    DPKG_OPTIONS.into_iter().chain(recipe.dpkg_options.iter().map(String::as_str))
}

pub(crate) fn apt_options(recipe: &Recipe) -> impl Iterator<Item = &str> {
    APT_OPTIONS.into_iter().chain(recipe.apt_options.iter().map(String::as_str))
}

/// Runs a shell command in the root.
pub(crate) fn follow_in_root(
    built: &BuiltRoot,
    command: &str,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), ToolError> {
    let mut shell = Command::new("unshare");
    shell
        .args(ALONE)
        .args(["--mount-proc", "sh", "-ec", ENTER, "sh"])
        .arg(built.path())
        .arg(command);
    shell.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C.UTF-8");
    tool::follow(&mut shell, built.lock(), &mut |line| progress(BuildEvent::Line(line)))
}

/// Puts one thing of `files/` into the root: owned by root, and readable by
/// all, whatever the umask of whoever checked the recipe out.
fn copy(recipe: &Recipe, extra: &Extra, root: &Path) -> Result<(), BuildError> {
    let target = root.join(&extra.path);
    let failed = || io_error("write", &target);
    match &extra.kind {
        ExtraKind::Directory => {
            if target.is_dir() {
                return Ok(());
            }
            fs::create_dir(&target).map_err(failed())?;
            fs::set_permissions(&target, Permissions::from_mode(0o755)).map_err(failed())
        }
        ExtraKind::Link(to) => {
            remove_file(&target).map_err(failed())?;
            symlink(to, &target).map_err(failed())
        }
        ExtraKind::File { executable } => {
            // First removed: what a package put there may be a link.
            remove_file(&target).map_err(failed())?;
            fs::copy(recipe.extra_source(extra), &target).map_err(failed())?;
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&target, Permissions::from_mode(mode)).map_err(failed())
        }
    }
}

/// Takes the machine out of the root and makes it fit for a container.
fn finish(
    recipe: &Recipe,
    root: &Path,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), BuildError> {
    let options = apt_options(recipe).map(|line| format!("{line}\n")).collect::<String>();
    write_inside(root, "etc/apt/apt.conf.d/99rolltop", &options)?;
    let options = dpkg_options(recipe).map(|line| format!("{line}\n")).collect::<String>();
    write_inside(root, "etc/dpkg/dpkg.cfg.d/99rolltop", &options)?;
    for change in prepare(root, &recipe.desktop, &recipe.keep_services)? {
        progress(BuildEvent::Line(&change));
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn write_inside(root: &Path, path: &str, text: &str) -> Result<(), BuildError> {
    Tree::open(root)
        .and_then(|tree| tree.write(&InnerPath::fixed(path), text, 0o644))
        .map_err(io_error("write", root.join(path)))
}
