//! Base roots: mounted read-only, once per host, shared by all that use them.

mod known;
mod source;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rolltop_sys::loop_device::LoopError;
use rolltop_sys::user_namespace::{IdMap, UserNamespaceError};
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use thiserror::Error;

use self::known::{Known, Sight};
use self::source::{check_same, mount_source};
use crate::dir_lock::DirLock;
use crate::mountinfo::{Mount, MountInfoError, mounts_below};
use crate::mounting::{deisolate, detached_copy, is_mount_point, isolate, prepare};
use crate::name::BaseKey;
use crate::nfs::{NfsError, NfsTarget};
use crate::step::{Step, StepError};

/// In the directory of a key: its mount.
const ROOT: &str = "root";

/// Only to see whether a mount takes a map; never used by anybody.
const PROBE: IdMap = IdMap { first: 65_536, count: 65_536, kept: None };

/// Where the files of a base root come from. It must not change while it is
/// mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BaseSource {
    /// A directory; what is mounted below it is not seen.
    Directory(PathBuf),
    /// A file with an EROFS file system.
    Erofs(PathBuf),
    /// An NFS export. A key must not stand for two of them: which one is mounted
    /// cannot be seen.
    Nfs(NfsTarget),
}

/// Why a base root could not be mounted or unmounted.
#[derive(Debug, Error)]
pub enum BaseError {
    /// The key is taken by something else.
    #[error("base root {key} is mounted from {found}, not from {wanted}")]
    Mismatch {
        /// The key.
        key: BaseKey,
        /// What is mounted.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The directory or file cannot be used.
    #[error("base root {key}: mount {}", source_path.display())]
    Mount {
        /// The key.
        key: BaseKey,
        /// What was to be mounted.
        source_path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No loop device, which this kernel needs for EROFS.
    #[error("base root {key}: attach {}", image.display())]
    Loop {
        /// The key.
        key: BaseKey,
        /// The EROFS file.
        image: PathBuf,
        /// Why not.
        #[source]
        source: LoopError,
    },
    /// An NFS export, or its server.
    #[error("base root {key}")]
    Nfs {
        /// The key.
        key: BaseKey,
        /// Why not.
        #[source]
        source: NfsError,
    },
    /// No user namespace to try a map with.
    #[error("see whether base root {key} can be id-mapped")]
    IdMap {
        /// The key.
        key: BaseKey,
        /// Why not.
        #[source]
        source: UserNamespaceError,
    },
    /// The mount table could not be read.
    #[error(transparent)]
    MountInfo(#[from] MountInfoError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// The base roots mounted under one directory. What is mounted is known to the
/// kernel alone, so another process, or the next one, may go on with it.
///
/// Whatever is on NFS, or in a file on NFS, may keep a caller waiting for as
/// long as its server does not answer, for good if need be; see
/// [`nfs`](crate::nfs). [`BaseRoots::open`], [`BaseRoots::mounted`] and
/// [`BaseRoots::find`] never do.
#[derive(Debug)]
pub struct BaseRoots {
    dir: PathBuf,
    known: Known,
}

// === impl BaseRoots ===

impl BaseRoots {
    /// Uses `dir`, made if missing and [isolated](isolate).
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(dir: &Path) -> Result<Self, BaseError> {
        isolate(dir)?;
        let dir = dir.canonicalize().step("resolve", dir)?;
        Ok(Self { dir, known: Known::default() })
    }

    /// Mounts `source` under `key`, if it is not mounted already, and says
    /// where. Calls at the same time, from other processes too, mount once.
    ///
    /// # Errors
    /// See [`BaseError`]; nothing is mounted then that was not before.
    pub fn mount(&self, key: &BaseKey, source: &BaseSource) -> Result<PathBuf, BaseError> {
        // A no-op but after `unmount_all`.
        isolate(&self.dir)?;
        let dir = self.dir.join(key.as_str());
        let point = dir.join(ROOT);
        let lock = DirLock::create(&dir)?;
        if is_mount_point(CWD, &point).step("stat", &point)? {
            let sight = Sight::of(&point, source).step("stat", &point)?;
            if sight.as_ref().is_some_and(|sight| self.known.is(key, sight)) {
                return Ok(point);
            }
            check_same(key, &point, source)?;
            if let Some(sight) = sight {
                self.known.note(key, sight);
            }
            return Ok(point);
        }
        let made = mkdirat(CWD, &point, Mode::RWXU);
        if made != Err(Errno::EXIST) {
            made.step("create", &point)?;
        }
        if let Err(error) = mount_source(key, source, &lock, &point) {
            // The cause says more than a directory that stays behind would.
            drop(remove_dirs(&point, &dir));
            return Err(error);
        }
        Ok(point)
    }

    /// Unmounts `key`; fine if it is not mounted. Open roots that use it keep
    /// what they see.
    ///
    /// # Errors
    /// `EBUSY` while a program has a file of the mount itself open.
    pub fn unmount(&self, key: &BaseKey) -> Result<(), BaseError> {
        let dir = self.dir.join(key.as_str());
        let point = dir.join(ROOT);
        let Some(lock) = DirLock::existing(&dir)? else {
            return Ok(());
        };
        loop {
            match unmount(&point, UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT) => break,
                Err(error) => Err(error).step("unmount", &point)?,
            }
        }
        remove_dirs(&point, &dir)?;
        drop(lock);
        Ok(())
    }

    /// Unmounts `key` like [`BaseRoots::unmount`], but does not wait for a
    /// server that is gone: what waits for it gets `EIO`, and what still uses
    /// the mount keeps it alive, out of sight.
    ///
    /// # Errors
    /// Any but that something uses it.
    pub fn abandon(&self, key: &BaseKey) -> Result<(), BaseError> {
        self.give_up(key)?;
        let dir = self.dir.join(key.as_str());
        let point = dir.join(ROOT);
        match unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE | UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => Err(error).step("detach", &point)?,
        }
        Ok(remove_dirs(&point, &dir)?)
    }

    /// Gives `EIO` to everything that waits for the server of `key` now, whoever
    /// it belongs to. If nothing uses the mount, it is gone afterwards.
    ///
    /// # Errors
    /// The mount cannot be reached.
    pub fn give_up(&self, key: &BaseKey) -> Result<(), BaseError> {
        let point = self.point(key);
        match unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE) {
            Ok(()) | Err(Errno::BUSY | Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(error) => Ok(Err(error).step("force off", &point)?),
        }
    }

    /// Whether the mount of `key` can be ID-mapped: found out by trying it on a
    /// copy. Most file systems can, NFS cannot on any kernel so far.
    ///
    /// # Errors
    /// It is not mounted, or there is no user namespace to try it with.
    pub fn can_be_id_mapped(&self, key: &BaseKey) -> Result<bool, BaseError> {
        let point = self.point(key);
        let copy = detached_copy(&point).step("copy the mount of", &point)?;
        let namespace = PROBE
            .user_namespace()
            .map_err(|source| BaseError::IdMap { key: key.clone(), source })?;
        match prepare(copy.as_fd(), MountAttrFlags::empty(), Some(namespace.as_fd())) {
            Ok(()) => Ok(true),
            Err(error) => match Errno::from_io_error(&error) {
                // EPERM: what was mounted is a mapped mount itself.
                Some(Errno::INVAL | Errno::PERM) => Ok(false),
                _ => Ok(Err(error).step("id-map", &point)?),
            },
        }
    }

    /// Where `key` is mounted when it is.
    #[must_use]
    pub fn point(&self, key: &BaseKey) -> PathBuf {
        self.dir.join(key.as_str()).join(ROOT)
    }

    /// Where `key` is mounted, if it is.
    ///
    /// # Errors
    /// The mount table could not be read.
    pub fn find(&self, key: &BaseKey) -> Result<Option<PathBuf>, BaseError> {
        let point = self.point(key);
        let there = mounts_below(&point)?.iter().any(|mount| mount.mount_point == point);
        Ok(there.then_some(point))
    }

    /// The keys that are mounted.
    ///
    /// # Errors
    /// The mount table could not be read.
    pub fn mounted(&self) -> Result<Vec<BaseKey>, BaseError> {
        let mounts = mounts_below(&self.dir)?;
        Ok(mounts.iter().filter_map(|mount| self.key_of(mount)).collect())
    }

    fn key_of(&self, mount: &Mount) -> Option<BaseKey> {
        let inside = mount.mount_point.strip_prefix(&self.dir).ok()?;
        let key = inside.parent().filter(|_| inside.ends_with(ROOT))?;
        BaseKey::try_from(key.to_str()?).ok()
    }

    /// Unmounts all, and lifts the isolation of the directory. Goes on after
    /// an error; empty if all went well.
    #[must_use = "these are errors"]
    pub fn unmount_all(&self) -> Vec<BaseError> {
        let keys = match self.mounted() {
            Ok(keys) => keys,
            Err(error) => return vec![error],
        };
        let mut errors: Vec<_> = keys.iter().filter_map(|key| self.unmount(key).err()).collect();
        if errors.is_empty()
            && let Err(error) = deisolate(&self.dir)
        {
            errors.push(error.into());
        }
        errors
    }
}

fn remove_dirs(point: &Path, dir: &Path) -> Result<(), StepError> {
    for path in [point, dir] {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).step("remove", path),
        }
    }
    Ok(())
}
