//! What a base root is mounted from.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rolltop_sys::loop_device::{LoopDevice, LoopOptions};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, MountPropagationFlags, mount, mount_change};

use super::{BaseError, BaseSource, ROOT};
use crate::close::backing_file;
use crate::dir_lock::DirLock;
use crate::mountinfo::mounts_below;
use crate::mounting::{attach, detached_copy, prepare};
use crate::name::BaseKey;
use crate::nfs::{is_nfs, mount_nfs};
use crate::step::Step;

const EROFS: &str = "erofs";

/// Mounts `source` at `point`, in the directory `dir`.
pub(super) fn mount_source(
    key: &BaseKey,
    source: &BaseSource,
    dir: &DirLock,
    point: &Path,
) -> Result<(), BaseError> {
    match source {
        BaseSource::Directory(path) => mount_directory(key, path, dir),
        BaseSource::Erofs(path) => mount_erofs(key, path, point),
        BaseSource::Nfs(target) => {
            mount_nfs(target, point).map_err(|source| BaseError::Nfs { key: key.clone(), source })
        }
    }
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
pub(super) fn check_same(
    key: &BaseKey,
    point: &Path,
    wanted: &BaseSource,
) -> Result<(), BaseError> {
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
        BaseSource::Nfs(_) => is_nfs(&found),
    };
    if same {
        return Ok(());
    }
    let wanted = match wanted {
        BaseSource::Directory(path) | BaseSource::Erofs(path) => path.display().to_string(),
        BaseSource::Nfs(target) => target.url.to_string(),
    };
    let found = format!("{} ({})", found.source.display(), found.file_system);
    Err(BaseError::Mismatch { key: key.clone(), found, wanted })
}

fn bytes_of(path: PathBuf) -> Vec<u8> {
    path.into_os_string().into_encoded_bytes()
}

fn loop_number(device: &Path) -> Option<u32> {
    device.to_str()?.strip_prefix("/dev/loop")?.parse().ok()
}
