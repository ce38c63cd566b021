//! The overlay mount itself, made on a thread of its own.
//!
//! The thread is needed twice:
//! - overlayfs works on its layers with the mounter's credentials. On an
//!   ID-mapped upper layer a file system uid outside of the map (root's) cannot
//!   make a file, and the kernel then mounts read-only without an error.
//! - Layers are named by paths, in which `,` `:` and `\` are special and which
//!   `fsconfig(2)` cuts off at 255 bytes. Seen from the directory they are
//!   mounted in they are constants, so no name from outside ever enters an
//!   option. For that the thread must have a working directory of its own.
//!
//! Both are per thread in the kernel, and end with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use caps::CapSet;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rolltop_sys::user_namespace::IdMap;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use thiserror::Error;

use crate::layout::{LOWER, ROOT, UPPER_IN_DIR, WORK_IN_DIR};
use crate::mounting::attach;
use crate::options::{Durability, OverlayOptions};

/// Shown as the source in the mount table.
const SOURCE: &str = "rolltop";

/// Why the layers could not be joined.
#[derive(Debug, Error)]
pub enum OverlayMountError {
    /// The thread could not be started.
    #[error("start the mounting thread")]
    Thread(#[source] io::Error),
    /// The thread could not take on the identity it mounts with.
    #[error("{step} for mounting")]
    Identity {
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// overlayfs refused an option or the layers.
    #[error("overlayfs: {step}{log}")]
    Mount {
        /// What was tried.
        step: &'static str,
        /// What the kernel wrote about it, with ": " in front; may be empty.
        log: String,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// The kernel mounted it read-only, although asked otherwise.
    #[error("overlayfs came up read-only; the kernel log tells why")]
    ReadOnly,
    /// A new file cannot be made in it.
    #[error("the fresh overlay cannot be written")]
    NotWritable(#[source] io::Error),
}

/// Joins the layers in `dir` and attaches the result there.
pub(crate) fn mount_overlay(
    dir: BorrowedFd<'_>,
    options: OverlayOptions,
    id_map: Option<IdMap>,
) -> Result<(), OverlayMountError> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("overlay-mount".to_owned())
            .spawn_scoped(scope, || {
                enter(dir, id_map)?;
                let mount = join_layers(options)?;
                check_writable(mount.as_fd())?;
                attach(&mount, dir, ROOT).map_err(|source| failed("attach", source))
            })
            .map_err(OverlayMountError::Thread)?;
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn identity(step: &'static str) -> impl FnOnce(io::Error) -> OverlayMountError {
    move |source| OverlayMountError::Identity { step, source }
}

fn failed(step: &'static str, source: io::Error) -> OverlayMountError {
    OverlayMountError::Mount { step, log: String::new(), source }
}

/// Gives this thread its working directory, and an identity inside the map.
fn enter(dir: BorrowedFd<'_>, id_map: Option<IdMap>) -> Result<(), OverlayMountError> {
    unshare(CloneFlags::CLONE_FS).map_err(|e| identity("unshare working directory")(e.into()))?;
    rustix::process::fchdir(dir).map_err(|e| identity("change directory")(e.into()))?;
    let Some(map) = id_map else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(map.first), Gid::from_raw(map.first));
    // The calls report no error; the second one returns what the first set.
    setfsgid(gid);
    setfsuid(uid);
    if setfsgid(gid) != gid || setfsuid(uid) != uid {
        return Err(identity("set fsuid and fsgid")(io::Error::from(Errno::PERM)));
    }
    // Leaving fsuid 0 took the file capabilities out of the effective set.
    let permitted = caps::read(None, CapSet::Permitted);
    permitted
        .and_then(|all| caps::set(None, CapSet::Effective, &all))
        .map_err(|e| identity("raise capabilities")(io::Error::other(e)))
}

/// A detached overlay mount of the layers in the working directory.
fn join_layers(options: OverlayOptions) -> Result<OwnedFd, OverlayMountError> {
    let context =
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| failed("fsopen", e.into()))?;
    let switch = |on| if on { "on" } else { "off" };
    let settings = [
        ("source", SOURCE),
        ("lowerdir", LOWER),
        ("upperdir", UPPER_IN_DIR),
        ("workdir", WORK_IN_DIR),
        // An upper layer must open over another version of its root too.
        ("index", "off"),
        ("xino", "off"),
        ("metacopy", switch(options.metacopy)),
        // "off" would still follow what it finds, where the kernel is built so.
        ("redirect_dir", if options.redirect_dir { "on" } else { "nofollow" }),
    ];
    for (key, value) in settings {
        fsconfig_set_string(context.as_fd(), key, value).map_err(|e| refused(&context, key, e))?;
    }
    if options.durability == Durability::Volatile {
        fsconfig_set_flag(context.as_fd(), "volatile")
            .map_err(|e| refused(&context, "volatile", e))?;
    }
    fsconfig_create(context.as_fd()).map_err(|e| refused(&context, "create", e))?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
        .map_err(|e| refused(&context, "fsmount", e))
}

fn refused(context: &OwnedFd, step: &'static str, error: Errno) -> OverlayMountError {
    let log = crate::fs_context::log(context);
    OverlayMountError::Mount { step, log, source: error.into() }
}

/// Makes a nameless file and lets it go.
fn check_writable(mount: BorrowedFd<'_>) -> Result<(), OverlayMountError> {
    let state = fstatvfs(mount).map_err(|e| failed("statvfs", e.into()))?;
    if state.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(OverlayMountError::ReadOnly);
    }
    match openat(mount, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR) {
        // A full overlay is still its owner's: it must open, to be cleared.
        // An overlayfs without nameless files (before 6.2) says EOPNOTSUPP.
        Ok(_) | Err(Errno::NOSPC | Errno::DQUOT | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(OverlayMountError::NotWritable(error.into())),
    }
}
