//! Giving the host back what a desktop no longer uses.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rolltop_sys::filesystem;

use crate::live::Live;
use crate::overlay_file::OverlayKind;
use crate::repair::make_mountable;
use crate::scratch_mount::ScratchMount;
use crate::step::{Step, StepError};
use crate::store::Overlays;
use crate::store_error::StoreError;

/// What trimming gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trimmed {
    /// What the file took on the disk of the host before.
    pub before_bytes: u64,
    /// What it takes now.
    pub after_bytes: u64,
}

// === impl Trimmed ===

impl Trimmed {
    /// What the host got back. A desktop that writes meanwhile makes it less.
    #[must_use]
    pub fn given_back_bytes(&self) -> u64 {
        self.before_bytes.saturating_sub(self.after_bytes)
    }
}

// === impl Overlays ===

impl Overlays {
    /// Makes holes of the blocks an overlay does not use, in use or not. One that
    /// is mounted does this by itself for what its desktop deletes; blocks are
    /// left over that were free before, in an imported or restored one, say.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Damaged`] if it cannot be mounted.
    pub fn trim(&self, kind: &OverlayKind) -> Result<Trimmed, StoreError> {
        let path = self.places.overlay(kind);
        match self.lock(kind) {
            Ok(locked) => {
                let before_bytes = allocated(&path)?;
                make_mountable(locked.file(), &path)?;
                let mount = ScratchMount::new(locked.file(), &path)?;
                filesystem::trim(mount.disk()).step("trim", &path)?;
                drop(mount);
                Ok(Trimmed { before_bytes, after_bytes: allocated(&path)? })
            }
            Err(StoreError::InUse(kind)) => {
                let live = Live::find(&path)?.ok_or(StoreError::InUse(kind))?;
                let before_bytes = allocated(&path)?;
                filesystem::trim(live.disk()).step("trim", &path)?;
                Ok(Trimmed { before_bytes, after_bytes: allocated(&path)? })
            }
            Err(error) => Err(error),
        }
    }
}

fn allocated(path: &Path) -> Result<u64, StepError> {
    Ok(path.metadata().step("stat", path)?.blocks() * 512)
}
