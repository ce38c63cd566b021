//! From a base root and an overlay file to a root a desktop can live in.
//!
//! A kernel object is made detached, completed, then attached, and the overlay
//! file is locked first. What is attached can be found from the directory
//! alone, so undoing a failed start is [`close_root`](crate::close_root()).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rolltop_sys::loop_device::LoopError;
use rolltop_sys::user_namespace::{IdMap, UserNamespaceError};
use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use thiserror::Error;

use crate::close::close_locked;
use crate::dir_lock::{DirLock, unlock};
use crate::grow;
use crate::layout::{DISK, LOWER, MOUNTS, UPPER, WORK};
use crate::lock::{NotLocked, lock_file};
use crate::mounting::{attach, detached_copy, is_mount_point, prepare};
use crate::options::Durability;
use crate::overlay_file::OverlayFile;
use crate::overlay_mount::{OverlayMountError, mount_overlay};
use crate::repair::{RepairError, Repaired, make_mountable};
use crate::scratch_mount::{attach_ext4, ext4};
use crate::sharing::holder;
use crate::step::{Step, StepError};

/// What to join, and where.
#[derive(Debug, Clone)]
pub struct OpenPlan<'a> {
    /// A mounted base root.
    pub lower: &'a Path,
    /// From [`Overlays`](crate::Overlays).
    pub overlay: &'a OverlayFile,
    /// The directory that gets the mounts; made if missing. It should lie under
    /// one that was [isolated](crate::isolate).
    pub mount_dir: &'a Path,
    /// With it, files of id 0 on disk belong to id `first` in the root, and so
    /// on for all layers. What is on disk does not depend on it.
    pub id_map: Option<IdMap>,
}

/// Whether the ID map of a root is laid over its base root as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lower {
    Mapped,
    AsItIs,
}

/// An open root. Dropping this closes nothing:
/// [`close_root`](crate::close_root()) does, from any process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRoot {
    /// The joined root, inside of the plan's `mount_dir`.
    pub root: PathBuf,
    /// N of the /dev/loopN that holds the overlay file.
    pub loop_number: u32,
    /// What was done to the overlay before it was mounted.
    pub repaired: Repaired,
}

/// Why a root did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Something is mounted in the directory already.
    #[error("{} is in use by an open root", .0.display())]
    Occupied(PathBuf),
    /// The overlay file is locked: open here, or being deleted.
    #[error("overlay {} is in use", .0.display())]
    InUse(PathBuf),
    /// The overlay file went away.
    #[error("overlay {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The overlay is damaged. It is kept as it is.
    #[error(transparent)]
    Damaged(#[from] RepairError),
    /// No loop device.
    #[error("attach {}", overlay.display())]
    Loop {
        /// The overlay file.
        overlay: PathBuf,
        /// Why not.
        #[source]
        source: LoopError,
    },
    /// No user namespace for the ID map.
    #[error("id map for {}", mount_dir.display())]
    IdMap {
        /// The directory of the root.
        mount_dir: PathBuf,
        /// Why not.
        #[source]
        source: UserNamespaceError,
    },
    /// The ext4 did not mount.
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
    /// Another host has it mounted, as ext4's multiple mount protection tells.
    #[error("overlay {} is in use on host {host:?}", overlay.display())]
    HeldElsewhere {
        /// The overlay file.
        overlay: PathBuf,
        /// What that host calls itself.
        host: String,
    },
    /// The layers could not be joined.
    #[error("join layers in {}", mount_dir.display())]
    Overlay {
        /// The directory of the root.
        mount_dir: PathBuf,
        /// Why not.
        #[source]
        source: OverlayMountError,
    },
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
    /// A failure whose undoing failed too.
    #[error("{} things left in {} after a failed open", left.len(), mount_dir.display())]
    LeftOver {
        /// The directory of the root.
        mount_dir: PathBuf,
        /// What could not be undone.
        left: Vec<StepError>,
        /// The failure itself.
        #[source]
        source: Box<OpenError>,
    },
}

/// Opens `plan`'s root. The overlay file is locked from here until its loop
/// device is gone, even if this process ends.
///
/// # Errors
/// See [`OpenError`]. Nothing stays mounted or attached then, unless
/// [`OpenError::LeftOver`] says so; the overlay file is unharmed in any case.
///
/// # Examples
/// ```no_run
/// use rolltop_overlay::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let run = std::path::Path::new("/run/rolltop");
/// isolate(&run.join("desktops"))?;
/// let bases = BaseRoots::open(&run.join("bases"))?;
/// let key = BaseKey::try_from("demo@1f3c")?;
/// let lower = bases.mount(&key, &BaseSource::Erofs("/srv/demo.erofs".into()))?;
///
/// let overlays = Overlays::open("/var/lib/rolltop/overlays".as_ref())?;
/// let overlay = overlays.create(&OverlayKind::Volatile(7), OverlaySize::from_mib(5120)?)?;
/// let mount_dir = run.join("desktops/7");
/// let opened = open_root(&OpenPlan {
///     lower: &lower,
///     overlay: &overlay,
///     mount_dir: &mount_dir,
///     id_map: Some(IdMap { first: 524_288, count: 65_536, kept: None }),
/// })?;
/// std::fs::write(opened.root.join("hello"), "from the host")?;
///
/// let report = close_root(&mount_dir);
/// assert!(report.is_clean(), "{report:?}");
/// overlays.delete(&OverlayKind::Volatile(7))?;
/// # Ok(()) }
/// ```
pub fn open_root(plan: &OpenPlan<'_>) -> Result<OpenRoot, OpenError> {
    open(plan, Lower::Mapped)
}

/// [`open_root`] for a base root whose files belong to the outer ids of the map
/// already: it was published that way, for file systems that cannot be
/// ID-mapped. The overlay file is mapped as always, so what is on disk there is
/// the same over either kind.
///
/// # Errors
/// As [`open_root`].
pub fn open_shifted_root(plan: &OpenPlan<'_>) -> Result<OpenRoot, OpenError> {
    open(plan, Lower::AsItIs)
}

fn open(plan: &OpenPlan<'_>, lower: Lower) -> Result<OpenRoot, OpenError> {
    open_with(plan.overlay, plan.mount_dir, |dir, file| build(plan, lower, dir, file))
}

/// The frame of every opening: directory and overlay file are locked, `build`
/// builds, and what it built is taken down when it fails.
pub(crate) fn open_with<T>(
    overlay: &OverlayFile,
    mount_dir: &Path,
    build: impl FnOnce(BorrowedFd<'_>, &File) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let dir = DirLock::create(mount_dir)?;
    for name in MOUNTS {
        let there = is_mount_point(dir.as_fd(), Path::new(name));
        if there.step("stat", &mount_dir.join(name))? {
            return Err(OpenError::Occupied(mount_dir.to_owned()));
        }
    }
    let file = match lock_overlay(overlay.path()) {
        Ok(file) => file,
        Err(failure) => return Err(undo(mount_dir, failure, None)),
    };
    build(dir.as_fd(), &file).map_err(|failure| undo(mount_dir, failure, Some(&file)))
}

/// Takes down what there is so far, and makes the error to return of it.
fn undo(mount_dir: &Path, failure: OpenError, locked: Option<&File>) -> OpenError {
    let report = close_locked(mount_dir);
    if let Some(file) = locked
        && report.is_clean()
    {
        unlock(file);
    }
    if report.errors.is_empty() {
        return failure;
    }
    let mount_dir = mount_dir.to_owned();
    OpenError::LeftOver { mount_dir, left: report.errors, source: Box::new(failure) }
}

/// A user namespace with the map, for ID-mapped mounts.
pub(crate) fn namespace_of(
    id_map: Option<IdMap>,
    mount_dir: &Path,
) -> Result<Option<OwnedFd>, OpenError> {
    id_map
        .map(|map| map.user_namespace())
        .transpose()
        .map_err(|source| OpenError::IdMap { mount_dir: mount_dir.to_owned(), source })
}

/// Where the ext4 of an overlay is attached.
pub(crate) struct DiskPlace<'a> {
    pub(crate) overlay: &'a OverlayFile,
    pub(crate) mount_dir: &'a Path,
    /// The same directory, open and locked.
    pub(crate) dir: BorrowedFd<'a>,
    /// Of the ID map.
    pub(crate) namespace: Option<BorrowedFd<'a>>,
}

fn build(
    plan: &OpenPlan<'_>,
    map_lower: Lower,
    dir: BorrowedFd<'_>,
    file: &File,
) -> Result<OpenRoot, OpenError> {
    let repaired = make_mountable(file, plan.overlay.path())?;
    for name in MOUNTS {
        match mkdirat(dir, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step("create", &plan.mount_dir.join(name))?,
        }
    }
    let namespace = namespace_of(plan.id_map, plan.mount_dir)?;
    let namespace = namespace.as_ref().map(OwnedFd::as_fd);

    let lower = detached_copy(plan.lower).step("copy the mount of", plan.lower)?;
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let lower_namespace = namespace.filter(|_| map_lower == Lower::Mapped);
    prepare(lower.as_fd(), read_only, lower_namespace).step("id-map", plan.lower)?;
    attach(&lower, dir, LOWER).step("attach", &plan.mount_dir.join(LOWER))?;

    let place = DiskPlace { overlay: plan.overlay, mount_dir: plan.mount_dir, dir, namespace };
    let loop_number = mount_disk(&place, file, |disk| furnish_layers(disk, plan.overlay))?;
    mount_overlay(dir, plan.overlay.options(), plan.id_map)
        .map_err(|source| OpenError::Overlay { mount_dir: plan.mount_dir.to_owned(), source })?;
    Ok(OpenRoot { root: plan.mount_dir.join(crate::layout::ROOT), loop_number, repaired })
}

/// [`lock_file`], with the words of who wants to open it.
pub(crate) fn lock_overlay(path: &Path) -> Result<File, OpenError> {
    lock_file(path).map_err(|error| match error {
        NotLocked::Missing => OpenError::Missing(path.to_owned()),
        NotLocked::InUse => OpenError::InUse(path.to_owned()),
        NotLocked::Step(error) => error.into(),
    })
}

/// Mounts the ext4 in `file`, has `furnish` make what must be in it, and
/// attaches it in `dir`. The loop device keeps `file`, and with it the lock.
pub(crate) fn mount_disk(
    place: &DiskPlace<'_>,
    file: &File,
    furnish: impl FnOnce(BorrowedFd<'_>) -> Result<(), StepError>,
) -> Result<u32, OpenError> {
    let overlay = place.overlay.path();
    let device = attach_ext4(file.as_fd())
        .map_err(|source| OpenError::Loop { overlay: overlay.to_owned(), source })?;
    let disk = ext4(&device).map_err(|(log, error)| match holder(file) {
        Some(host) if error == Errno::BUSY => {
            OpenError::HeldElsewhere { overlay: overlay.to_owned(), host }
        }
        _ => OpenError::Ext4 { overlay: overlay.to_owned(), log, source: error.into() },
    })?;
    grow::complete(file, disk.as_fd(), overlay)?;
    furnish(disk.as_fd())?;
    prepare(disk.as_fd(), MountAttrFlags::empty(), place.namespace)
        .step("id-map ext4 of", overlay)?;
    attach(&disk, place.dir, DISK).step("attach", &place.mount_dir.join(DISK))?;
    Ok(device.number())
}

/// Makes sure the directories of the upper layer are there.
fn furnish_layers(disk: BorrowedFd<'_>, overlay: &OverlayFile) -> Result<(), StepError> {
    if overlay.options().durability == Durability::Volatile {
        forget_volatile_mark(disk).step("clear the work directory of", overlay.path())?;
    }
    for name in [UPPER, WORK] {
        make_dir(disk, name).step("create upper layer in", overlay.path())?;
    }
    Ok(())
}

/// Makes a directory of an ext4, as in a root: readable for all, since the mount
/// directory keeps them out. Fine if it is there.
pub(crate) fn make_dir(disk: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    match mkdirat(disk, name, mode) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// overlayfs marks the work directory of a `volatile` mount, and refuses a
/// marked one, since a crash may have cost data. Here that is agreed.
fn forget_volatile_mark(disk: BorrowedFd<'_>) -> Result<(), Errno> {
    const MARK: &str = "work/work/incompat/volatile";
    for (path, flags) in
        [(format!("{MARK}/dirty"), AtFlags::empty()), (MARK.to_owned(), AtFlags::REMOVEDIR)]
    {
        match unlinkat(disk, path, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
