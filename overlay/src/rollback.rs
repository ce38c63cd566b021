//! Going back to a snapshot, and putting another file in an overlay's place.
//!
//! The overlay's name goes to a copy of the snapshot's file in one rename; the
//! file that had the name before becomes a snapshot itself. That takes a second
//! name first: should a crash leave it at two names, the one among the snapshots
//! does not count ([`is_unfinished`]).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::deletion::remove;
use crate::draft::{Draft, sync_dir};
use crate::name::SnapshotName;
use crate::overlay_file::OverlayKind;
use crate::places::{record, snapshot};
use crate::record::{self as records, Record};
use crate::snapshot::{Snapshot, SnapshotRecord};
use crate::snapshots::{kept_name, snapshot_paths};
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
        self.copy_file(&from, &draft).map_err(|error| self.or_no_space(kind, error))?;
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
