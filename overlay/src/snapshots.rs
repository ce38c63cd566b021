//! Snapshots of kept overlays: taking, listing, deleting, going back to one.
//!
//! A snapshot is a whole ext4 file of its own, sharing blocks where the file
//! system can. Going back gives the overlay's name a copy of the snapshot's
//! file, in one rename; the file that had the name before becomes a snapshot
//! itself. That takes a second name first: should a crash leave it at two
//! names, the one among the snapshots does not count ([`is_unfinished`]).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::deletion::remove;
use crate::draft::{Draft, DraftError, sync_dir};
use crate::name::{OverlayName, SnapshotName};
use crate::overlay_file::OverlayKind;
use crate::places::{record, snapshot};
use crate::record::{self as records, Record};
use crate::snapshot::{MAX_DESCRIPTION_BYTES, MAX_SNAPSHOTS, Snapshot, SnapshotRecord};
use crate::step::{Step, StepError};
use crate::store::{Overlays, now_ms};
use crate::store_error::StoreError;

/// What becomes of the state an overlay is in when it is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentState {
    /// It becomes an automatic snapshot.
    Keep,
    /// It is gone for good.
    Discard,
}

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
        self.copy_current(kind, &draft).map_err(|error| self.or_no_space(error))?;
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

    /// Puts an overlay that is not in use back to the state of a snapshot, which
    /// stays. Gives the automatic snapshot of the state before, if that is kept.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::InUse`] while it is open.
    pub fn roll_back(
        &self,
        kind: &OverlayKind,
        name: &SnapshotName,
        present: PresentState,
    ) -> Result<Option<Snapshot>, StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let locked = self.lock(kind)?;
        let from = self.open_snapshot(kind, name)?;
        let draft = Draft::create(&self.places.overlay(kind))?;
        self.copy_file(&from, &draft).map_err(|error| self.or_no_space(error))?;
        draft.file().sync_all().step("sync", draft.path())?;
        let names = self.kind_lock(kind)?;
        let description = format!("as it was before it was rolled back to {name}");
        let kept = match present {
            PresentState::Keep => Some(self.keep_present(kind, &description)?),
            PresentState::Discard => None,
        };
        self.replace_overlay(kind, draft)?;
        drop(names);
        drop(locked);
        kept.map(|name| self.snapshot_in(&dir, &name)).transpose()
    }

    /// Gives the present file of an overlay a second name, as a snapshot. The
    /// caller holds both locks and gives the first name to another file next.
    pub(crate) fn keep_present(
        &self,
        kind: &OverlayKind,
        description: &str,
    ) -> Result<SnapshotName, StoreError> {
        let dir = self.snapshot_dir(kind)?;
        let overlay = self.places.overlay(kind);
        self.clear_unfinished(kind)?;
        let now = now_ms();
        let name = SnapshotName::try_from(format!("auto-{now}").as_str())
            .map_err(io::Error::other)
            .step("name a snapshot in", &dir)?;
        self.check_room_for(kind, &name)?;
        let path = snapshot(&dir, &name);
        records::write(&record(&path), &SnapshotRecord::new(&name, description, now, true))?;
        std::fs::hard_link(&overlay, &path).step("keep", &overlay)?;
        sync_dir(&dir)?;
        Ok(name)
    }

    /// Removes what a crash left of rolling back. The caller holds the lock of
    /// the kind.
    pub(crate) fn clear_unfinished(&self, kind: &OverlayKind) -> Result<(), StoreError> {
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        for path in snapshot_paths(&dir)? {
            if is_unfinished(&path, &self.places.overlay(kind))? {
                remove(&path)?;
                remove(&record(&path))?;
            }
        }
        Ok(())
    }

    /// Puts `draft` in the place of an overlay's file. The caller holds both
    /// locks.
    pub(crate) fn replace_overlay(
        &self,
        kind: &OverlayKind,
        draft: Draft,
    ) -> Result<(), StoreError> {
        let size_bytes = draft.file().metadata().step("stat", draft.path())?.len();
        draft.replace()?;
        if kind.kept_name().is_some() {
            sync_dir(&self.places.kind_dir(kind))?;
            self.note_size(kind, size_bytes)?;
        }
        Ok(())
    }

    /// The record's size follows the file's.
    pub(crate) fn note_size(&self, kind: &OverlayKind, size_bytes: u64) -> Result<(), StoreError> {
        let path = record(&self.places.overlay(kind));
        let mut about = Record::read(&path)?;
        if about.size_bytes != size_bytes {
            about.size_bytes = size_bytes;
            about.write(&path)?;
        }
        Ok(())
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

    fn check_room_for(&self, kind: &OverlayKind, name: &SnapshotName) -> Result<(), StoreError> {
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
    fn snapshot_dir(&self, kind: &OverlayKind) -> Result<PathBuf, StoreError> {
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

/// Whether the file at `path` is that of the overlay itself: what a crash leaves
/// of rolling back.
pub(crate) fn is_unfinished(path: &Path, overlay: &Path) -> Result<bool, StepError> {
    let identity = |path: &Path| match path.symlink_metadata() {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).step("stat", path),
    };
    Ok(match identity(path)? {
        Some(found) => identity(overlay)? == Some(found),
        None => false,
    })
}

pub(crate) fn kept_name(kind: &OverlayKind) -> Result<&OverlayName, StoreError> {
    kind.kept_name().ok_or_else(|| StoreError::NotKept(kind.clone()))
}

fn taken(kind: &OverlayKind, name: &SnapshotName) -> StoreError {
    StoreError::SnapshotExists { kind: kind.clone(), name: name.clone() }
}

fn snapshot_paths(dir: &Path) -> Result<Vec<PathBuf>, StepError> {
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
