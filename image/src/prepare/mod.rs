//! Taking the machine out of a root, and making it fit for a container.
//!
//! Each step may be done again: a root that has been prepared is left as it is.

mod services;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use thiserror::Error;

use crate::desktop::DesktopSpec;
use crate::init::Init;
use crate::tree::{InnerPath, Tree};

/// Mount points of every desktop, and directories that are nobody's; with their modes.
const EMPTIED: [(&str, u32); 4] =
    [("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777)];
const MOUNT_POINTS: [(&str, u32); 2] = [("proc", 0o555), ("sys", 0o555)];

/// What a desktop gets of its own, bound over these; empty, so that nobody's is seen before.
const OF_THE_DESKTOP: [&str; 2] = ["etc/machine-id", "etc/resolv.conf"];

/// What belongs to the machine a root was made on.
const LEFTOVERS: [&str; 14] = [
    ".dockerenv",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/ssh/ssh_host_*",
    "etc/udev/rules.d/70-persistent-*",
    "root/.bash_history",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/lib/urandom/random-seed",
    "var/log/apt/*",
    "var/log/journal/*",
    "var/log/lastlog",
    "var/log/wtmp",
];

/// What package managers fetch anew.
const CACHES: [&str; 8] = [
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/archives/partial/*",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*",
    "var/cache/dnf/*",
    "var/cache/yum/*",
    "var/cache/apk/*",
    "var/cache/debconf/*-old",
];

const POLICY: &str = "usr/sbin/policy-rc.d";
/// Packages that are installed in a desktop ask it; 101 means "do not start it".
const DENY: &str = "#!/bin/sh\n# There is no service manager in this desktop.\nexit 101\n";

/// Why a root could not be prepared.
#[derive(Debug, Error)]
#[error("cannot {verb} {path} of the root {root}")]
pub struct PrepareError {
    /// What was tried.
    pub verb: &'static str,
    /// Inside the root.
    pub path: String,
    /// The root.
    pub root: PathBuf,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

/// Prepares the root at `path` for desktops of `spec`, and tells what it
/// changed, a line each. Nothing outside of the root is touched, whatever
/// links it has. Services of `keep` are not masked.
///
/// # Errors
/// The first step that failed; the root is to be thrown away then.
pub fn prepare(
    path: &Path,
    spec: &DesktopSpec,
    keep: &[String],
) -> Result<Vec<String>, PrepareError> {
    let tree = Tree::open(path).map_err(|source| PrepareError {
        verb: "open",
        path: "/".to_owned(),
        root: path.to_owned(),
        source,
    })?;
    let mut work = Work { tree: &tree, root: path, changes: Vec::new() };
    for (dir, mode) in EMPTIED {
        work.empty(dir, mode)?;
    }
    for (dir, mode) in MOUNT_POINTS {
        work.empty(dir, mode)?;
    }
    for file in OF_THE_DESKTOP {
        work.write(file, "", 0o644)?;
    }
    work.write("etc/hostname", "localhost\n", 0o644)?;
    work.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644)?;
    work.write("etc/fstab", "", 0o644)?;
    for pattern in LEFTOVERS.iter().chain(&CACHES) {
        work.remove(pattern)?;
    }
    if spec.init == Init::Builtin && work.is_there("usr/sbin/invoke-rc.d")? {
        work.write(POLICY, DENY, 0o755)?;
    }
    services::mask(&mut work, keep)?;
    Ok(work.changes)
}

/// One preparation.
struct Work<'r> {
    tree: &'r Tree,
    root: &'r Path,
    changes: Vec<String>,
}

// === impl Work ===

impl Work<'_> {
    fn failed(
        &self,
        verb: &'static str,
        path: &InnerPath,
    ) -> impl Fn(io::Error) -> PrepareError + use<> {
        let (path, root) = (path.to_string(), self.root.to_owned());
        move |source| PrepareError { verb, path: path.clone(), root: root.clone(), source }
    }

    fn is_there(&self, path: &str) -> Result<bool, PrepareError> {
        self.tree.has(path).map_err(self.failed("look for", &InnerPath::fixed(path)))
    }

    /// Makes it a directory with nothing in it.
    fn empty(&mut self, path: &str, mode: u32) -> Result<(), PrepareError> {
        let path = InnerPath::fixed(path);
        let failed = self.failed("empty", &path);
        self.tree.directory(&path, mode).map_err(&failed)?;
        let gone = self.tree.empty(&path).map_err(&failed)?;
        if gone > 0 {
            self.changes.push(format!("{path}: emptied ({gone})"));
        }
        Ok(())
    }

    /// Makes it a plain file with this text.
    fn write(&mut self, path: &str, text: &str, mode: u32) -> Result<(), PrepareError> {
        let inner = InnerPath::fixed(path);
        let failed = self.failed("write", &inner);
        let found = self.tree.stat(&inner).map_err(&failed)?;
        let is_file =
            found.is_some_and(|stat| crate::inside::file_type(&stat) == FileType::RegularFile);
        // Longer than what is written here is not the same; so is what is no text.
        let same = is_file
            && matches!(self.tree.read_text(path, text.len() as u64), Ok(Some(now)) if now == text);
        if same {
            return Ok(());
        }
        self.tree.write(&inner, text, mode).map_err(&failed)?;
        let what = if text.is_empty() { "an empty file" } else { "written" };
        self.changes.push(format!("{inner}: {what}"));
        Ok(())
    }

    /// Removes what a pattern names; its last name may have one `*`.
    fn remove(&mut self, pattern: &str) -> Result<(), PrepareError> {
        let (dir, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let Some((before, after)) = name.split_once('*') else {
            let path = InnerPath::fixed(pattern);
            if self.tree.remove(&path).map_err(self.failed("remove", &path))? {
                self.changes.push(format!("{path}: removed"));
            }
            return Ok(());
        };
        let dir = InnerPath::fixed(dir);
        let mut gone = 0;
        for name in self.tree.names(&dir).map_err(self.failed("list", &dir))? {
            if fits(&name, before, after) {
                let path = dir.join(&name);
                let removed = self.tree.remove(&path).map_err(self.failed("remove", &path))?;
                gone += usize::from(removed);
            }
        }
        if gone > 0 {
            self.changes.push(format!("/{pattern}: removed ({gone})"));
        }
        Ok(())
    }
}

fn fits(name: &OsStr, before: &str, after: &str) -> bool {
    let name = name.as_bytes();
    name.len() >= before.len() + after.len()
        && name.starts_with(before.as_bytes())
        && name.ends_with(after.as_bytes())
}

#[cfg(test)]
mod tests;
