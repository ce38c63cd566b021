//! Deleting, which a crash must not leave half done for good.

use std::io;
use std::path::Path;

use crate::draft::sync_dir;
use crate::name::OverlayName;
use crate::overlay_file::OverlayKind;
use crate::places::record;
use crate::step::{Step, StepError};
use crate::store::Overlays;
use crate::store_error::StoreError;

// === impl Overlays ===

impl Overlays {
    /// Deletes an overlay for good; whether there was one.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while it is open, [`StoreError::HasSnapshots`]
    /// while it has snapshots.
    pub fn delete(&self, kind: &OverlayKind) -> Result<bool, StoreError> {
        self.delete_overlay(kind, false)
    }

    /// Deletes an overlay and all of its snapshots for good; whether there was
    /// one.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while it is open.
    pub fn delete_with_snapshots(&self, kind: &OverlayKind) -> Result<bool, StoreError> {
        self.delete_overlay(kind, true)
    }

    fn delete_overlay(&self, kind: &OverlayKind, snapshots: bool) -> Result<bool, StoreError> {
        let locked = match self.lock(kind) {
            Err(StoreError::NotFound(_)) => return Ok(false),
            other => other?,
        };
        let path = self.places.overlay(kind);
        let Some(name) = kind.kept_name() else {
            remove(&path)?;
            return Ok(true);
        };
        let names = self.kind_lock(kind)?;
        // First, or a crash would leave them to the next overlay of this name.
        let mine = self.snapshot_files(kind)?;
        if !snapshots && !mine.is_empty() {
            return Err(StoreError::HasSnapshots { kind: kind.clone(), count: mine.len() });
        }
        self.clear_unfinished(kind)?;
        for snapshot in mine {
            self.remove_snapshot(kind, &snapshot)?;
        }
        self.remove_snapshot_dir(kind, name)?;
        let deleted = self.places.deleted(kind, name);
        std::fs::rename(&path, &deleted).step("delete", &path)?;
        finish(&path, &deleted)?;
        drop(names);
        drop(locked);
        Ok(true)
    }
}

/// The rest of a deletion, once the file has lost its name `path`. The caller
/// holds the lock of the kind.
pub(crate) fn finish(path: &Path, deleted: &Path) -> Result<(), StepError> {
    // There may be a new one by now.
    if !path.exists() {
        remove(&record(path))?;
    }
    remove(deleted)?;
    match path.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

pub(crate) fn remove(path: &Path) -> Result<(), StepError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.step("remove", path),
    }
}

// === impl Overlays ===

impl Overlays {
    /// The directory of the snapshots of an overlay; not if something is in it,
    /// such as the copy in the making of another call. The caller holds the lock
    /// of the kind.
    pub(crate) fn remove_snapshot_dir(
        &self,
        kind: &OverlayKind,
        name: &OverlayName,
    ) -> Result<(), StepError> {
        let dir = self.places.snapshots(kind, name);
        match std::fs::remove_dir(&dir) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            other => other.step("remove", &dir),
        }
    }
}
