//! Copies of kept overlays, which share blocks where the file system can.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{statvfs, syncfs};
use uuid::Uuid;

use crate::draft::{Draft, DraftError};
use crate::freeze::{FreezeError, Frozen};
use crate::live::Live;
use crate::overlay_file::{CopySource, OverlayFile, OverlayKind};
use crate::places::record;
use crate::record::Record;
use crate::repair::make_clean;
use crate::snapshots::kept_name;
use crate::sparse_copy::{Copied, copy_changes, copy_data, share_blocks};
use crate::step::Step;
use crate::store::{Overlays, set_uuid};
use crate::store_error::StoreError;

// === impl Overlays ===

impl Overlays {
    /// Makes a new kept overlay (or home volume) of another one, which may be in
    /// use, or of a snapshot. It has the same options, and its own UUID.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Exists`] if there is one of that name.
    pub fn clone_overlay(
        &self,
        from: &CopySource,
        to: &OverlayKind,
    ) -> Result<OverlayFile, StoreError> {
        kept_name(&from.kind)?;
        kept_name(to)?;
        if std::mem::discriminant(&from.kind) != std::mem::discriminant(to) {
            return Err(StoreError::OtherKind { from: from.kind.clone(), to: to.clone() });
        }
        let path = self.places.overlay(to);
        if path.exists() {
            return Err(StoreError::Exists(to.clone()));
        }
        let options = self.options_of(&from.kind)?;
        let draft = Draft::create(&path)?;
        self.copy_of(from, &draft).map_err(|error| self.or_no_space(to, error))?;
        let uuid = give_uuid(&draft)?;
        self.publish_new(to, draft, uuid, options)
    }

    /// [`publish_overlay`](Self::publish_overlay), where an overlay of that name
    /// is an error.
    pub(crate) fn publish_new(
        &self,
        kind: &OverlayKind,
        draft: Draft,
        uuid: Uuid,
        options: crate::options::OverlayOptions,
    ) -> Result<OverlayFile, StoreError> {
        match self.publish_overlay(kind, draft, uuid, options) {
            Err(StoreError::Draft(DraftError::Exists(_))) => Err(StoreError::Exists(kind.clone())),
            other => other.map_err(|error| self.or_no_space(kind, error)),
        }
    }

    /// How a kept overlay is mounted, and its snapshots were.
    pub(crate) fn options_of(
        &self,
        kind: &OverlayKind,
    ) -> Result<crate::options::OverlayOptions, StoreError> {
        Ok(Record::read(&record(&self.places.overlay(kind)))?.options)
    }

    /// Makes `draft` a clean copy of `source`.
    pub(crate) fn copy_of(&self, source: &CopySource, draft: &Draft) -> Result<(), StoreError> {
        match &source.snapshot {
            None => self.copy_current(&source.kind, draft),
            Some(name) => {
                let from = self.open_snapshot(&source.kind, name)?;
                self.copy_file(&from, draft)
            }
        }
    }

    /// Makes `draft` a clean copy of an overlay as it is now, in use or not.
    pub(crate) fn copy_current(&self, kind: &OverlayKind, draft: &Draft) -> Result<(), StoreError> {
        kept_name(kind)?;
        let path = self.places.overlay(kind);
        match self.lock(kind) {
            Ok(locked) => self.copy_file(locked.file(), draft)?,
            Err(StoreError::InUse(_)) => self.copy_live(kind, &path, draft)?,
            Err(error) => return Err(error),
        }
        Ok(make_clean(draft.file(), draft.path())?)
    }

    /// Makes `draft` a copy of a file that nobody changes.
    pub(crate) fn copy_file(&self, from: &File, draft: &Draft) -> Result<(), StoreError> {
        if share_blocks(from, draft.file()) {
            return Ok(());
        }
        self.check_room_for_copy(from)?;
        Ok(copy_data(from, draft.file()).step("copy to", draft.path())?)
    }

    /// Makes `draft` a copy of one instant of an overlay that is in use.
    fn copy_live(&self, kind: &OverlayKind, path: &Path, draft: &Draft) -> Result<(), StoreError> {
        let in_use = || StoreError::InUse(kind.clone());
        let from = File::open(path).step("open", path)?;
        // Locked by another call, or in use where we cannot see it.
        let live = Live::find(path)?.ok_or_else(in_use)?;
        // So that little is left to be written out below.
        syncfs(live.disk()).step("sync the file system in", path)?;
        // The file system does this at one instant, between two writes.
        if share_blocks(&from, draft.file()) {
            return Ok(());
        }
        // The desktop may end while most is copied.
        drop(live);
        self.check_room_for_copy(&from)?;
        copy_data(&from, draft.file()).step("copy to", draft.path())?;
        let Some(live) = Live::find(path)? else {
            // It did: then nobody writes any more.
            let locked = self.lock(kind)?;
            return match copy_changes(locked.file(), draft.file(), None) {
                Ok(_) => Ok(()),
                Err(error) => Ok(Err(error).step("copy to", draft.path())?),
            };
        };
        // It may have been rolled back meanwhile.
        let from = File::open(path).step("open", path)?;
        syncfs(live.disk()).step("sync the file system in", path)?;
        let frozen = Frozen::new(&self.places, kind, &live, path)?;
        let copied = copy_changes(&from, draft.file(), Some(frozen.until()));
        frozen.thaw()?;
        match copied.step("copy to", draft.path())? {
            Copied::All => Ok(()),
            Copied::OutOfTime => Err(FreezeError::TooLong { overlay: path.to_owned() }.into()),
        }
    }

    /// Before a copy is begun that would fill the disk for everybody.
    pub(crate) fn check_room_for_copy(&self, from: &File) -> Result<(), StoreError> {
        let dir = &self.places.kept;
        let needed_bytes = from.metadata().step("stat", dir)?.blocks() * 512;
        self.check_room(needed_bytes)
    }

    pub(crate) fn check_room(&self, needed_bytes: u64) -> Result<(), StoreError> {
        let dir = &self.places.kept;
        let disk = statvfs(dir).step("statvfs", dir)?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed_bytes > free_bytes {
            return Err(StoreError::NoSpaceForCopy { dir: dir.clone(), needed_bytes, free_bytes });
        }
        Ok(())
    }
}

/// Gives a clean copy a UUID of its own.
pub(crate) fn give_uuid(draft: &Draft) -> Result<Uuid, StoreError> {
    let uuid = Uuid::new_v4();
    set_uuid(draft.file(), uuid)
        .step("write superblock of", draft.path())?
        .ok_or_else(|| StoreError::Foreign(draft.path().to_owned()))?;
    Ok(uuid)
}
