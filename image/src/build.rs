//! Building a root by a recipe, with mmdebstrap.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, Mode, OFlags};
use tempfile::TempDir;
use thiserror::Error;

use crate::inside;
use crate::mirror::Mirror;
use crate::recipe::{Extra, ExtraKind, Recipe, RecipeError};
use crate::tool::{self, ToolError};

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
/// The environment of everything that runs in the root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the builder left in the root that belongs to the machine it ran on.
const LEFTOVERS: [&str; 7] = [
    "etc/hostname",
    "etc/resolv.conf",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/lib/dbus/machine-id",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
];

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
    dir: TempDir,
}

/// Why no root was built. Nothing of it is left.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Its `files/` cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
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

fn io_error(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.into();
    move |source| BuildError::Io { verb, path, source }
}

// === impl BuiltRoot ===

impl BuiltRoot {
    /// The root directory.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }
}

/// Builds the root of a recipe below `work_dir`, which is made if missing.
/// Needs root, mmdebstrap and util-linux.
pub fn build(
    recipe: &Recipe,
    work_dir: &Path,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<BuiltRoot, BuildError> {
    fs::create_dir_all(work_dir).map_err(io_error("make", work_dir))?;
    let dir = tempfile::Builder::new()
        .prefix(&format!("build-{}-", recipe.name))
        .tempdir_in(work_dir)
        .map_err(io_error("make a directory in", work_dir))?;
    let built = BuiltRoot { dir };
    let root = built.path();

    progress(BuildEvent::Step("installing packages"));
    install(recipe, &root, progress)?;
    progress(BuildEvent::Step("copying the recipe's files"));
    for extra in recipe.extras()? {
        copy(recipe, &extra, &root)?;
    }
    for (at, command) in recipe.commands.iter().enumerate() {
        progress(BuildEvent::Step(command.trim().lines().next().unwrap_or_default()));
        run(&root, command, progress).map_err(|source| BuildError::Command {
            number: at + 1,
            command: command.clone(),
            source,
        })?;
    }
    progress(BuildEvent::Step("cleaning up"));
    finish(recipe, &root)?;
    Ok(built)
}

fn install(
    recipe: &Recipe,
    root: &Path,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), BuildError> {
    let mirror = Mirror::of_this_machine(&recipe.suite);
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
    command.arg(&recipe.suite).arg(root).args(&mirror.sources);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    let image = recipe.name.to_string();
    tool::follow(&mut command, &mut |line| progress(BuildEvent::Line(line)))
        .map_err(|source| BuildError::Packages { image, source })
}

fn dpkg_options(recipe: &Recipe) -> impl Iterator<Item = &str> {
    DPKG_OPTIONS.into_iter().chain(recipe.dpkg_options.iter().map(String::as_str))
}

fn apt_options(recipe: &Recipe) -> impl Iterator<Item = &str> {
    APT_OPTIONS.into_iter().chain(recipe.apt_options.iter().map(String::as_str))
}

/// Runs a shell command in the root.
fn run(
    root: &Path,
    command: &str,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<(), ToolError> {
    let mut shell = Command::new("unshare");
    // unshare mounts /proc after it has changed its root.
    shell
        .args(ALONE)
        .arg("--mount-proc")
        .arg("--root")
        .arg(root)
        .args(["--wd=/", "sh", "-ec", command]);
    shell.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C.UTF-8");
    tool::follow(&mut shell, &mut |line| progress(BuildEvent::Line(line)))
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
fn finish(recipe: &Recipe, root: &Path) -> Result<(), BuildError> {
    for leftover in LEFTOVERS {
        remove_inside(root, leftover).map_err(io_error("remove", root.join(leftover)))?;
    }
    // One identity per desktop: the agent gives it. Debian's tools take an empty file for "not yet known".
    write_inside(root, "etc/machine-id", "")?;
    write_inside(root, "etc/fstab", "")?;
    let options = apt_options(recipe).map(|line| format!("{line}\n")).collect::<String>();
    write_inside(root, "etc/apt/apt.conf.d/99rolltop", &options)?;
    let options = dpkg_options(recipe).map(|line| format!("{line}\n")).collect::<String>();
    write_inside(root, "etc/dpkg/dpkg.cfg.d/99rolltop", &options)?;
    // The container brings its own; temporary files are nobody's.
    for dir in ["dev", "tmp", "run", "var/tmp"] {
        empty(&root.join(dir))?;
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Opens the directory of a path, resolved as inside the root, and gives the last name.
fn parent<'p>(root: &Path, path: &'p str) -> io::Result<(std::os::fd::OwnedFd, &'p str)> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let root = inside::open_dir(root)?;
    Ok((inside::open_in_root(root, dir, OFlags::DIRECTORY | OFlags::RDONLY)?, name))
}

fn remove_inside(root: &Path, path: &str) -> io::Result<()> {
    let (dir, name) = match parent(root, path) {
        Err(e) if inside::is_absent(&e) => return Ok(()),
        other => other?,
    };
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn write_inside(root: &Path, path: &str, text: &str) -> Result<(), BuildError> {
    let write = || {
        remove_inside(root, path)?;
        let (dir, name) = parent(root, path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            fs::File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?);
        file.set_permissions(Permissions::from_mode(0o644))?;
        io::Write::write_all(&mut &file, text.as_bytes())
    };
    write().map_err(io_error("write", root.join(path)))
}

/// Removes what is in a directory of the root. Nothing is mounted there any more.
fn empty(dir: &Path) -> Result<(), BuildError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let path = entry.path();
        let is_dir = entry.file_type().map_err(io_error("examine", &path))?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(io_error("remove", &path))?;
    }
    Ok(())
}
