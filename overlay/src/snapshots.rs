//! Snapshots of kept overlays: taking, listing, deleting.
//!
//! A snapshot is a whole ext4 file of its own, sharing blocks where the file
//! system can. `rollback` goes back to one.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::deletion::remove;
use crate::draft::{Draft, DraftError, sync_dir};
use crate::name::{OverlayName, SnapshotName};
use crate::overlay_file::OverlayKind;
use crate::places::{record, snapshot};
use crate::record as records;
use crate::rollback::is_unfinished;
use crate::snapshot::{MAX_DESCRIPTION_BYTES, MAX_SNAPSHOTS, Snapshot, SnapshotRecord};
use crate::step::{Step, StepError};
use crate::store::{Overlays, now_ms};
use crate::store_error::StoreError;

// === impl Overlays ===

impl Overlays {
    /// Takes a snapshot of a kept overlay, in use or not.
    ///
    /// One that is in use is caught as of one instant, with everything that was
    /// synced by then: at once where the file system can share blocks,
    /// otherwise by copying, with its desktop held still at the end for as long
    /// as it takes to copy what changed meanwhile (10 s at most, or it fails).
    ///
    /// # Errors
    /// See [`StoreError`]; nothing of the snapshot is left then.
    pub fn snapshot(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
        description: &str,
    ) -> Result<Snapshot, StoreError> {
        if description.len() > MAX_DESCRIPTION_BYTES {
            let (length, limit) = (description.len(), MAX_DESCRIPTION_BYTES);
            return Err(StoreError::Description { length, limit });
        }
        // Once more below; here it saves a copy.
        self.check_room_for(kind, name)?;
        if !self.places.overlay(kind).exists() {
            return Err(StoreError::NotFound(kind.clone()));
        }
        let names = self.kind_lock(kind)?;
        let dir = self.snapshot_dir(kind)?;
        let draft = Draft::create(&snapshot(&dir, name))?;
        drop(names);
        let taken = self.fill_snapshot(kind, name, description, draft);
        if taken.is_err() {
            // The error says more than what this could.
            drop(self.tidy_snapshots(kind));
        }
        taken?;
        self.snapshot_in(&dir, name)
    }

    fn fill_snapshot(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
        description: &str,
        draft: Draft,
    ) -> Result<(), StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let path = snapshot(&dir, name);
        self.copy_current(kind, &draft).map_err(|error| self.or_no_space(kind, error))?;
        draft.file().sync_all().step("sync", draft.path())?;
        let names = self.kind_lock(kind)?;
        if !self.places.overlay(kind).exists() {
            return Err(StoreError::NotFound(kind.clone()));
        }
        self.check_room_for(kind, name)?;
        let about = SnapshotRecord::new(name, description, now_ms(), false);
        records::write(&record(&path), &about)?;
        draft.publish().map_err(|error| match error {
            DraftError::Exists(_) => taken(kind, name),
            error @ DraftError::Step(_) => error.into(),
        })?;
        sync_dir(&dir)?;
        drop(names);
        Ok(())
    }

    fn tidy_snapshots(&self, kind: &OverlayKind) -> Result<(), StoreError> {
        let names = self.kind_lock(kind)?;
        self.remove_snapshot_dir(kind, kept_name(kind)?)?;
        drop(names);
        Ok(())
    }

    /// The snapshots of a kept overlay, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the step that failed.
    pub fn snapshots(&self, kind: &OverlayKind) -> Result<Vec<Snapshot>, StoreError> {
        let names = self.snapshot_files(kind)?;
        if names.is_empty() && !self.places.overlay(kind).exists() {
            return Err(StoreError::NotFound(kind.clone()));
        }
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let mut found = Vec::new();
        for name in names {
            match self.snapshot_in(&dir, &name) {
                // Deleted in the meantime.
                Err(error) if error.is_not_found() => {}
                other => found.push(other?),
            }
        }
        found.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Ok(found)
    }

    /// Deletes a snapshot for good; whether there was one.
    ///
    /// # Errors
    /// The step that failed.
    pub fn delete_snapshot(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
    ) -> Result<bool, StoreError> {
        let names = self.kind_lock(kind)?;
        if !self.snapshot_files(kind)?.contains(name) {
            return Ok(false);
        }
        self.remove_snapshot(kind, name)?;
        self.remove_snapshot_dir(kind, kept_name(kind)?)?;
        drop(names);
        Ok(true)
    }

    /// The names of the finished snapshots of an overlay, which may be gone.
    pub(crate) fn snapshot_files(
        &self,
        kind: &OverlayKind,
    ) -> Result<Vec<SnapshotName>, StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let overlay = self.places.overlay(kind);
        let mut found = Vec::new();
        for path in snapshot_paths(&dir)? {
            if let Some(name) = name_of(&path)
                && !is_unfinished(&path, &overlay)?
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// File and record of a snapshot. The caller holds the lock of the kind.
    pub(crate) fn remove_snapshot(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
    ) -> Result<(), StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let path = snapshot(&dir, name);
        remove(&path)?;
        remove(&record(&path))?;
        Ok(sync_dir(&dir)?)
    }

    pub(crate) fn open_snapshot(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
    ) -> Result<File, StoreError> {
        let path = snapshot(&self.places.snapshots(kind, kept_name(kind)?), name);
        let missing = || StoreError::NoSnapshot { kind: kind.clone(), name: name.clone() };
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Ok(_) if is_unfinished(&path, &self.places.overlay(kind))? => Err(missing()),
            other => Ok(other.step("open", &path)?),
        }
    }

    pub(crate) fn check_room_for(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
    ) -> Result<(), StoreError> {
        let names = self.snapshot_files(kind)?;
        if names.contains(name) {
            return Err(taken(kind, name));
        }
        if names.len() >= MAX_SNAPSHOTS {
            return Err(StoreError::TooManySnapshots(kind.clone()));
        }
        Ok(())
    }

    /// The directory of an overlay's snapshots, made if missing.
    pub(crate) fn snapshot_dir(&self, kind: &OverlayKind) -> Result<PathBuf, StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.step("create", &dir)?,
        }
        Ok(dir)
    }

    pub(crate) fn snapshot_in(
        &self,
        dir: &Path,
        name: &SnapshotName,
    ) -> Result<Snapshot, StoreError> {
        let path = snapshot(dir, name);
        let found = path.metadata().step("stat", &path)?;
        let about = match records::read(&record(&path)) {
            Ok(about) => Some(about),
            Err(error) => {
                // The snapshot is as good without.
                tracing::warn!(snapshot = %path.display(), %error, "no record");
                None
            }
        };
        Ok(Snapshot::new(name.clone(), about, found.len(), found.blocks() * 512))
    }
}

pub(crate) fn kept_name(kind: &OverlayKind) -> Result<&OverlayName, StoreError> {
    kind.kept_name().ok_or_else(|| StoreError::NotKept(kind.clone()))
}

fn taken(kind: &OverlayKind, name: &SnapshotName) -> StoreError {
    StoreError::SnapshotExists { kind: kind.clone(), name: name.clone() }
}

pub(crate) fn snapshot_paths(dir: &Path) -> Result<Vec<PathBuf>, StepError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.step("list", dir)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.step("list", dir)?.path();
        if name_of(&path).is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

fn name_of(path: &Path) -> Option<SnapshotName> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ext4")?;
    SnapshotName::try_from(name).ok()
}
