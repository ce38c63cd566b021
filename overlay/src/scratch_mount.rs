//! An ext4 file mounted for a moment, where nobody sees it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rolltop_sys::loop_device::{LoopDevice, LoopError, LoopOptions};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use thiserror::Error;

/// ext4's block size in every overlay. Told to the loop device as well, direct
/// I/O works on disks with sectors of 512 and of 4096 bytes alike.
pub(crate) const BLOCK_BYTES: u32 = 4096;

/// Why the ext4 of a file did not mount.
#[derive(Debug, Error)]
pub enum ScratchMountError {
    /// No loop device.
    #[error("attach {}", overlay.display())]
    Loop {
        /// The overlay file.
        overlay: PathBuf,
        /// Why not.
        #[source]
        source: LoopError,
    },
    /// The kernel refused it.
    #[error("mount ext4 of {}{log}", overlay.display())]
    Ext4 {
        /// The overlay file.
        overlay: PathBuf,
        /// What the kernel wrote about it, with ": " in front; may be empty.
        log: String,
        /// The error.
        #[source]
        source: io::Error,
    },
}

/// A mount without a place in the tree. It and its loop device are gone when
/// this is dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct ScratchMount {
    /* dropped in this order */
    disk: OwnedFd,
    _mount: OwnedFd,
    _device: LoopDevice,
}

// === impl ScratchMount ===

impl ScratchMount {
    /// Mounts the ext4 in `file`, whose path is `path` and whose lock the
    /// caller holds.
    pub(crate) fn new(file: &File, path: &Path) -> Result<Self, ScratchMountError> {
        let overlay = || path.to_owned();
        let device = attach_ext4(file.as_fd())
            .map_err(|source| ScratchMountError::Loop { overlay: overlay(), source })?;
        let refused = |(log, error): (String, Errno)| ScratchMountError::Ext4 {
            overlay: overlay(),
            log,
            source: error.into(),
        };
        let mount = ext4(&device).map_err(refused)?;
        let disk = open_root_of(mount.as_fd()).map_err(|error| refused((String::new(), error)))?;
        Ok(Self { disk, _mount: mount, _device: device })
    }

    /// The root of the ext4.
    pub(crate) fn disk(&self) -> BorrowedFd<'_> {
        self.disk.as_fd()
    }
}

/// The root of a mount, open: what `fsmount` gives is but a path, on which no
/// `ioctl` works.
pub(crate) fn open_root_of(mount: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Attaches an overlay file as all of them are attached.
pub(crate) fn attach_ext4(file: BorrowedFd<'_>) -> Result<LoopDevice, LoopError> {
    let options = LoopOptions { read_only: false, direct_io: true, block_size: Some(BLOCK_BYTES) };
    LoopDevice::attach(file, options)
}

/// A detached mount of the ext4 on `device`; the error comes with the kernel's
/// messages.
pub(crate) fn ext4(device: &LoopDevice) -> Result<OwnedFd, (String, Errno)> {
    let context =
        fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| (String::new(), error))?;
    let refused = |error| (crate::fs_context::log(&context), error);
    fsconfig_set_string(context.as_fd(), "source", device.path()).map_err(refused)?;
    // What a desktop deletes, the host gets back at once.
    fsconfig_set_flag(context.as_fd(), "discard").map_err(refused)?;
    fsconfig_create(context.as_fd()).map_err(refused)?;
    // Whoever reaches it from the host gets no device and no set-uid program;
    // inside a desktop the flags of the overlay mount count, not these.
    let flags = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(refused)
}
