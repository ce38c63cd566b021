//! Base roots: mounted read-only, once per host, shared by all that use them.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rolltop_sys::loop_device::{LoopDevice, LoopError, LoopOptions};
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use thiserror::Error;

use crate::close::backing_file;
use crate::dir_lock::DirLock;
use crate::mountinfo::{MountInfoError, mounts_below};
use crate::mounting::{attach, deisolate, detached_copy, is_mount_point, isolate, prepare};
use crate::name::BaseKey;
use crate::step::{Step, StepError};

/// In the directory of a key: its mount.
const ROOT: &str = "root";

const EROFS: &str = "erofs";

/// Where the files of a base root come from. It must not change while it is
/// mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BaseSource {
    /// A directory; what is mounted below it is not seen.
    Directory(PathBuf),
    /// A file with an EROFS file system.
    Erofs(PathBuf),
}

/// Why a base root could not be mounted or unmounted.
#[derive(Debug, Error)]
pub enum BaseError {
    /// The key is taken by something else.
    #[error("base root {key} is mounted from {found}, not from {}", wanted.display())]
    Mismatch {
        /// The key.
        key: BaseKey,
        /// What is mounted.
        found: String,
        /// What was asked for.
        wanted: PathBuf,
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
    /// The mount table could not be read.
    #[error(transparent)]
    MountInfo(#[from] MountInfoError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// The base roots mounted under one directory. What is mounted is known to the
/// kernel alone, so another process, or the next one, may go on with it.
#[derive(Debug)]
pub struct BaseRoots {
    dir: PathBuf,
}

// === impl BaseSource ===

impl BaseSource {
    fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Erofs(path) => path,
        }
    }
}

// === impl BaseRoots ===

impl BaseRoots {
    /// Uses `dir`, made if missing and [isolated](isolate).
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(dir: &Path) -> Result<Self, BaseError> {
        isolate(dir)?;
        Ok(Self { dir: dir.canonicalize().step("resolve", dir)? })
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
            check_same(key, &point, source)?;
            return Ok(point);
        }
        let made = mkdirat(CWD, &point, Mode::RWXU);
        if made != Err(Errno::EXIST) {
            made.step("create", &point)?;
        }
        let mounted = match source {
            BaseSource::Directory(path) => mount_directory(key, path, &lock),
            BaseSource::Erofs(path) => mount_erofs(key, path, &point),
        };
        if let Err(error) = mounted {
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

    /// The keys that are mounted.
    ///
    /// # Errors
    /// The mount table could not be read.
    pub fn mounted(&self) -> Result<Vec<BaseKey>, BaseError> {
        let mounts = mounts_below(&self.dir)?;
        let keys = mounts.iter().filter_map(|mount| {
            let inside = mount.mount_point.strip_prefix(&self.dir).ok()?;
            let key = inside.parent().filter(|_| inside.ends_with(ROOT))?;
            BaseKey::try_from(key.to_str()?).ok()
        });
        Ok(keys.collect())
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

fn cannot(key: &BaseKey, path: &Path, source: io::Error) -> BaseError {
    BaseError::Mount { key: key.clone(), source_path: path.to_owned(), source }
}

fn mount_directory(key: &BaseKey, path: &Path, dir: &DirLock) -> Result<(), BaseError> {
    let failed = |source| cannot(key, path, source);
    if !path.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    let tree = detached_copy(path).map_err(|error| failed(error.into()))?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    prepare(tree.as_fd(), flags, None).map_err(failed)?;
    attach(&tree, dir.as_fd(), ROOT).map_err(failed)
}

fn mount_erofs(key: &BaseKey, image: &Path, point: &Path) -> Result<(), BaseError> {
    let failed = |error: Errno| cannot(key, image, error.into());
    // Or the kernel would ask for a block device, and a loop device be tried.
    if !image.metadata().map_err(|source| cannot(key, image, source))?.is_file() {
        return Err(cannot(key, image, io::ErrorKind::InvalidInput.into()));
    }
    // mount(2), not fsconfig(2), whose strings end at 255 bytes.
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    match mount(image, point, EROFS, flags, None) {
        // Before Linux 6.12, EROFS needs a block device.
        Err(Errno::NOTBLK) => {
            let file = std::fs::File::open(image).step("open", image)?;
            let options = LoopOptions { read_only: true, direct_io: true, block_size: None };
            let device = LoopDevice::attach(file.as_fd(), options).map_err(|source| {
                BaseError::Loop { key: key.clone(), image: image.to_owned(), source }
            })?;
            mount(device.path(), point, EROFS, flags, None).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    mount_change(point, MountPropagationFlags::PRIVATE).map_err(failed)
}

/// Whether what is mounted at `point` is what `wanted` would mount.
fn check_same(key: &BaseKey, point: &Path, wanted: &BaseSource) -> Result<(), BaseError> {
    let found = mounts_below(point)?.into_iter().rfind(|mount| mount.mount_point == point);
    let Some(found) = found else { return Ok(()) };
    let same = match wanted {
        BaseSource::Directory(path) => {
            let (a, b) =
                (path.metadata().step("stat", path)?, point.metadata().step("stat", point)?);
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        }
        BaseSource::Erofs(path) => {
            let real = path.canonicalize().step("resolve", path)?;
            let file = match loop_number(&found.source) {
                Some(number) => backing_file(number).unwrap_or_default(),
                None => found.source.canonicalize().map(bytes_of).unwrap_or_default(),
            };
            found.file_system == EROFS && file == real.as_os_str().as_bytes()
        }
    };
    if same {
        return Ok(());
    }
    let found = format!("{} ({})", found.source.display(), found.file_system);
    Err(BaseError::Mismatch { key: key.clone(), found, wanted: wanted.path().to_owned() })
}

fn bytes_of(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_encoded_bytes()
}

fn loop_number(device: &Path) -> Option<u32> {
    device.to_str()?.strip_prefix("/dev/loop")?.parse().ok()
}
