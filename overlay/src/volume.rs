//! A home volume: an ext4 file mounted beside a root.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rolltop_sys::user_namespace::IdMap;
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;

use crate::layout::{DATA, DISK};
use crate::open::{DiskPlace, OpenError, make_dir, mount_disk, namespace_of, open_with};
use crate::overlay_file::OverlayFile;
use crate::repair::{Repaired, make_mountable};
use crate::step::Step;

/// What to mount, and where.
#[derive(Debug, Clone)]
pub struct VolumePlan<'a> {
    /// A volume of the kind [`OverlayKind::Home`](crate::OverlayKind::Home).
    pub volume: &'a OverlayFile,
    /// The directory that gets the mount, and nothing else; made if missing. It
    /// should lie under one that was [isolated](crate::isolate).
    pub mount_dir: &'a Path,
    /// As in [`OpenPlan`](crate::OpenPlan): the same map makes the same owners.
    pub id_map: Option<IdMap>,
}

/// An open volume. Dropping this closes nothing:
/// [`close_root`](crate::close_root()) of its directory does, from any process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVolume {
    /// The directory with the user's files, which is to be bound into the
    /// desktop. It belongs to id 0 of the map until somebody changes that.
    pub data: PathBuf,
    /// N of the /dev/loopN that holds the file.
    pub loop_number: u32,
    /// What was done to the volume before it was mounted.
    pub repaired: Repaired,
}

/// Mounts a home volume. It is locked from here until its loop device is gone,
/// as an overlay is.
///
/// # Errors
/// As for [`open_root`](crate::open_root()).
///
/// # Examples
/// ```no_run
/// use rolltop_overlay::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let overlays = Overlays::open("/var/lib/rolltop/overlays".as_ref())?;
/// let kind = OverlayKind::Home(OverlayName::try_from("alice")?);
/// let volume = overlays.create(&kind, OverlaySize::from_mib(10_240)?)?;
/// let mount_dir = std::path::Path::new("/run/rolltop/homes/7");
/// let id_map = Some(IdMap { first: 524_288, count: 65_536, kept: None });
/// let opened = open_volume(&VolumePlan { volume: &volume, mount_dir, id_map })?;
/// println!("to be bound into the desktop: {}", opened.data.display());
/// let report = close_root(mount_dir);
/// assert!(report.is_clean(), "{report:?}");
/// # Ok(()) }
/// ```
pub fn open_volume(plan: &VolumePlan<'_>) -> Result<OpenVolume, OpenError> {
    open_with(plan.volume, plan.mount_dir, |dir, file| build(plan, dir, file))
}

fn build(plan: &VolumePlan<'_>, dir: BorrowedFd<'_>, file: &File) -> Result<OpenVolume, OpenError> {
    let repaired = make_mountable(file, plan.volume.path())?;
    match mkdirat(dir, DISK, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).step("create", &plan.mount_dir.join(DISK))?,
    }
    let namespace = namespace_of(plan.id_map, plan.mount_dir)?;
    let place = DiskPlace {
        overlay: plan.volume,
        mount_dir: plan.mount_dir,
        dir,
        namespace: namespace.as_ref().map(OwnedFd::as_fd),
    };
    let loop_number = mount_disk(&place, file, |disk| {
        make_dir(disk, DATA).step("create the directory of the home in", plan.volume.path())
    })?;
    Ok(OpenVolume { data: plan.mount_dir.join(DISK).join(DATA), loop_number, repaired })
}
