//! What an overlay takes, outside and inside.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{makedev, stat, statvfs};

use crate::close::{LOOP_MAJOR, own_device};
use crate::layout::DISK;
use crate::live::loop_of;
use crate::mountinfo::{MountInfoError, mounts};
use crate::overlay_file::{OverlayKind, OverlayUsage, SpaceInside};
use crate::step::{Step, StepError};
use crate::store::Overlays;
use crate::store_error::StoreError;
use crate::superblock::Superblock;

/// Where loop devices are mounted as a whole: mount points by number.
#[derive(Debug)]
pub(crate) struct Mounted(HashMap<u32, PathBuf>);

// === impl Overlays ===

impl Overlays {
    /// What an overlay takes. While it is in use this looks at all loop devices
    /// and reads the mount table; for many at once, [`list`](Self::list) does so
    /// once, and for one that is known to be open there is
    /// [`usage_in`](Self::usage_in).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the step that failed.
    pub fn usage(&self, kind: &OverlayKind) -> Result<OverlayUsage, StoreError> {
        let (path, file) = self.file_of(kind)?;
        let device = loop_of(&path)?;
        let mounted = match device {
            Some(_) => Mounted::read()?,
            None => Mounted(HashMap::new()),
        };
        Ok(usage_of(&file, &path, device, &mounted)?)
    }

    /// What an overlay takes that is open in `mount_dir`: however many others
    /// there are, it takes no longer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the step that failed.
    pub fn usage_in(
        &self,
        kind: &OverlayKind,
        mount_dir: &Path,
    ) -> Result<OverlayUsage, StoreError> {
        let (path, file) = self.file_of(kind)?;
        let device = own_device(mount_dir)?;
        let mounted = device.map(|number| (number, mount_dir.join(DISK)));
        Ok(usage_of(&file, &path, device, &Mounted(mounted.into_iter().collect()))?)
    }

    fn file_of(&self, kind: &OverlayKind) -> Result<(PathBuf, File), StoreError> {
        let path = self.places.overlay(kind);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotFound(kind.clone()))
            }
            other => {
                let file = other.step("open", &path)?;
                Ok((path, file))
            }
        }
    }
}

// === impl Mounted ===

impl Mounted {
    pub(crate) fn read() -> Result<Self, MountInfoError> {
        let whole_loops = mounts()?
            .into_iter()
            .filter(|mount| mount.device.0 == LOOP_MAJOR && mount.root == Path::new("/"));
        Ok(Self(whole_loops.map(|mount| (mount.device.1, mount.mount_point)).collect()))
    }
}

/// Of the overlay in `file`, which is on /dev/loop`device` if on any.
pub(crate) fn usage_of(
    file: &File,
    path: &Path,
    device: Option<u32>,
    mounted: &Mounted,
) -> Result<OverlayUsage, StepError> {
    let found = file.metadata().step("stat", path)?;
    let live = device.and_then(|number| live_space(number, mounted.0.get(&number)?));
    let inside = match live {
        Some(space) => Some(space),
        None => Superblock::read(file).step("read superblock of", path)?.and_then(|b| b.space()),
    };
    // Blocks are counted in units of 512 bytes, whatever the file system's.
    Ok(OverlayUsage { size_bytes: found.len(), allocated_bytes: found.blocks() * 512, inside })
}

/// As the kernel counts; `None` if another file system is mounted there by now.
fn live_space(number: u32, mount_point: &Path) -> Option<SpaceInside> {
    if stat(mount_point).ok()?.st_dev != makedev(LOOP_MAJOR, number) {
        return None;
    }
    let disk = statvfs(mount_point).ok()?;
    Some(SpaceInside {
        used_bytes: disk.f_blocks.saturating_sub(disk.f_bfree).saturating_mul(disk.f_frsize),
        free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}
