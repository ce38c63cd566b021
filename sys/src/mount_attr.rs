//! `mount_setattr(2)`: change the attributes of a mount through its descriptor.
//!
//! `rustix` wraps the rest of the mount API, but not this call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

/// What to change on a mount. Nothing by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct MountChange<'fd> {
    /// Attributes to turn on.
    pub set: Option<MountAttrFlags>,
    /// Attributes to turn off.
    pub clear: Option<MountAttrFlags>,
    /// The new propagation type: one of `SHARED`, `PRIVATE`, `DOWNSTREAM`,
    /// `UNBINDABLE`.
    pub propagation: Option<MountPropagationFlags>,
    /// The user namespace whose mapping the mount takes over. Allowed once in
    /// the life of a mount, and only while it is detached (`EINVAL` otherwise,
    /// or where the file system cannot be ID-mapped: NFS on every kernel so far).
    pub id_map: Option<BorrowedFd<'fd>>,
    /// Change everything mounted below as well.
    pub recursive: bool,
}

/// The first published layout of the kernel's structure, which every kernel
/// that has the call accepts (5.12 and later).
#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Applies `change` to the mount `mount` refers to.
///
/// `mount` comes from `fsmount(2)` or `open_tree(2)`, or is an `O_PATH`
/// descriptor of a mount's root.
///
/// # Errors
/// The error of `mount_setattr(2)`.
pub fn change_mount(mount: BorrowedFd<'_>, change: &MountChange<'_>) -> io::Result<()> {
    let bits = |flags: Option<MountAttrFlags>| u64::from(flags.map_or(0, |flags| flags.bits()));
    let mut attr = RawMountAttr {
        attr_set: bits(change.set),
        attr_clr: bits(change.clear),
        propagation: u64::from(change.propagation.map_or(0, |kind| kind.bits())),
        userns_fd: 0,
    };
    if let Some(namespace) = change.id_map {
        attr.attr_set |= u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        attr.userns_fd = namespace.as_raw_fd().unsigned_abs().into();
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: mount_setattr(2) reads a NUL-terminated path and `size_of` bytes
    // of the attribute structure, both alive across the call, and keeps
    // neither. The descriptors are borrowed, hence open. `rustix` and `libc`
    // have no safe wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&attr),
            size_of::<RawMountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_that_is_no_mount_root_is_refused() {
        let dir = std::env::current_exe().unwrap();
        let file = File::open(dir).unwrap();
        let change =
            MountChange { set: Some(MountAttrFlags::MOUNT_ATTR_RDONLY), ..MountChange::default() };
        let error = change_mount(file.as_fd(), &change).unwrap_err();
        // EPERM as a user, EINVAL as root: never done.
        assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)), "{error}");
    }
}
