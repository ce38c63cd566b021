//! What is done in the namespaces of a container that runs already: each time on
//! a thread of its own, which ends in them.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Uid, setfsgid, setfsuid, sethostname},
};
use rolltop_sys::mount_attr::{MountChange, change_mount};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat2},
    mount::{
        MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree,
    },
};
use thiserror::Error;

use crate::process::Process;

/// A container could not be changed from outside.
#[derive(Debug, Error)]
pub(super) enum InsideError {
    /// Its init has the host's own namespace: what is meant for the container
    /// would happen to the host.
    #[error(
        "init has no {0} namespace of its own: a runtime of this kind cannot have warm desktops"
    )]
    NotApart(&'static str),
    /// The home's directory cannot be made, or is no directory.
    #[error("cannot make /{} in the desktop", .0.display())]
    Point(PathBuf, #[source] io::Error),
    /// A system call.
    #[error("cannot {verb}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Gives the container a host name.
pub(super) fn set_host_name(init: &Process, name: &str) -> Result<(), InsideError> {
    is_apart(init, "uts")?;
    on_a_thread(|| {
        setns(init.pidfd(), CloneFlags::CLONE_NEWUTS).map_err(failed("enter the UTS namespace"))?;
        sethostname(name).map_err(failed("set the host name"))
    })
}

/// Puts the mount at `from`, of the host, at `at` in the container: a relative
/// path, made if missing and owned by the container's root, which is `first_id`.
///
/// The copy of the mount is fetched here and travels as a descriptor; in the
/// container nothing is looked up but the place for it, and that within its root.
pub(super) fn attach(
    init: &Process,
    from: &Path,
    at: &str,
    first_id: u32,
) -> Result<(), InsideError> {
    is_apart(init, "mnt")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, from, flags).map_err(failed("copy the home's mount"))?;
    let change = MountChange {
        set: Some(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV),
        propagation: Some(MountPropagationFlags::PRIVATE),
        ..MountChange::default()
    };
    change_mount(mount.as_fd(), &change).map_err(failed("restrict the home's mount"))?;
    on_a_thread(|| {
        // A thread that shares its root and working directory cannot change
        // what they lie in.
        unshare(CloneFlags::CLONE_FS).map_err(failed("unshare the working directory"))?;
        setns(init.pidfd(), CloneFlags::CLONE_NEWNS).map_err(failed("enter the container"))?;
        act_as(first_id)?;
        let place = place(Path::new(at)).map_err(|error| InsideError::Point(at.into(), error))?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&mount, c"", &place, c"", flags).map_err(failed("mount the home"))
    })
}

/// The directory at `path` in this thread's root, made if missing. No link on
/// the way leads out, nor to where nothing is.
fn place(path: &Path) -> io::Result<OwnedFd> {
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open("/", flags, Mode::empty())?;
    let find = |path: &Path| openat2(&root, path, flags, Mode::empty(), within);
    let mut here = find(Path::new("."))?;
    let mut way = PathBuf::new();
    for name in path {
        way.push(name);
        here = match find(&way) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
                find(&way)?
            }
            found => found?,
        };
    }
    Ok(here)
}

/// What this thread makes belongs to the container's root. It keeps the right to
/// mount, and loses those over files, which it does not need there.
fn act_as(first_id: u32) -> Result<(), InsideError> {
    let (uid, gid) = (Uid::from_raw(first_id), Gid::from_raw(first_id));
    // The calls report no error; the second one returns what the first set.
    setfsgid(gid);
    setfsuid(uid);
    if setfsgid(gid) == gid && setfsuid(uid) == uid {
        Ok(())
    } else {
        Err(failed("act as the container's root")(Errno::EPERM))
    }
}

/// Whether the container has a namespace of this kind: with some runtimes init
/// is but a guard of a machine, in the host's own.
fn is_apart(init: &Process, kind: &'static str) -> Result<(), InsideError> {
    let of = |process: &str| {
        let link = format!("/proc/{process}/ns/{kind}");
        fs::metadata(link).map_err(failed("look at namespaces")).map(|status| status.ino())
    };
    let theirs = of(&init.id().pid.to_string())?;
    // The pid may be another's by now, unless init lives.
    if init.has_ended() {
        return Err(failed("enter the container")(Errno::ESRCH));
    }
    if of("self")? == theirs { Err(InsideError::NotApart(kind)) } else { Ok(()) }
}

fn on_a_thread(work: impl FnOnce() -> Result<(), InsideError> + Send) -> Result<(), InsideError> {
    thread::scope(|scope| {
        let begun = thread::Builder::new().name("inside".into()).spawn_scoped(scope, work);
        let thread = begun.map_err(failed("begin a thread"))?;
        thread.join().unwrap_or_else(|_panic| Err(failed("end the thread")(Errno::EIO)))
    })
}

fn failed<E: Into<io::Error>>(verb: &'static str) -> impl Fn(E) -> InsideError {
    move |error| InsideError::Io { verb, source: error.into() }
}
