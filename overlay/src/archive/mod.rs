//! Kept overlays as one compressed file, to be stored elsewhere or carried to
//! another host. `docs/archive.md` has the format.

mod error;
mod header;
mod read;
mod sums;
mod tar_format;
mod write;

use std::fs::File;
use std::io::{Read, Write};

use crate::draft::Draft;
use crate::overlay_file::{CopySource, OverlayFile, OverlayKind};
use crate::places::{record, snapshot};
use crate::record::Record;
use crate::repair::{RepairError, Verdict, e2fsck, make_clean};
use crate::size::OverlaySize;
use crate::snapshots::kept_name;
use crate::sparse_copy::share_blocks;
use crate::step::Step;
use crate::store::{Overlays, now_ms};
use crate::store_error::StoreError;

pub use error::ArchiveError;
use header::Header;

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Length of the archive.
    pub archive_bytes: u64,
    /// How much of the overlay is in it: what is not a hole.
    pub data_bytes: u64,
    /// SHA-256 of the archive, in hexadecimal, as sha256sum(1) prints it.
    pub sha256: String,
}

// === impl Overlays ===

impl Overlays {
    /// Writes a kept overlay, as it is now or as of a snapshot, to `to`. One
    /// that is not in use does not open meanwhile, unless its file system can
    /// share blocks; one that is in use is copied first, as for a snapshot.
    ///
    /// # Errors
    /// See [`StoreError`]. What is in `to` by then is no archive.
    pub fn export(&self, source: &CopySource, to: &mut dyn Write) -> Result<Exported, StoreError> {
        let kind = &source.kind;
        let name = kept_name(kind)?;
        let path = self.places.overlay(kind);
        let about = Record::read(&record(&path))?;
        let mut write = |file: &File, path| {
            let size_bytes = file.metadata().step("stat", path)?.len();
            let header = Header::new(kind, &about, size_bytes, now_ms());
            Ok::<_, StoreError>(write::write(&header, file, path, to)?)
        };
        if let Some(of) = &source.snapshot {
            let file = self.open_snapshot(kind, of)?;
            return write(&file, &snapshot(&self.places.snapshots(kind, name), of));
        }
        let draft = Draft::create(&path)?;
        match self.lock(kind) {
            Ok(locked) if !share_blocks(locked.file(), draft.file()) => write(locked.file(), &path),
            Ok(locked) => {
                drop(locked);
                write(draft.file(), draft.path())
            }
            Err(StoreError::InUse(_)) => {
                self.copy_current(kind, &draft).map_err(|error| self.or_no_space(kind, error))?;
                write(draft.file(), draft.path())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a new kept overlay of an archive. It gets its name when all of it
    /// has been read, verified and checked, and a UUID of its own. Nothing
    /// larger than `limit` is taken in.
    ///
    /// # Errors
    /// See [`StoreError`] and [`ArchiveError`]; nothing is left then.
    pub fn import(
        &self,
        kind: &OverlayKind,
        from: &mut dyn Read,
        limit: OverlaySize,
    ) -> Result<OverlayFile, StoreError> {
        kept_name(kind)?;
        let path = self.places.overlay(kind);
        if path.exists() {
            return Err(StoreError::Exists(kind.clone()));
        }
        let mut reader = read::Reader::new(from)?;
        let header = reader.header()?;
        let size = header.accept(kind, limit)?;
        self.check_fits_disk(kind, size)?;
        let extents = reader.extents(size.bytes())?;
        self.check_room(extents.iter().map(|extent| extent.length).sum())?;
        let draft = Draft::create(&path)?;
        draft.file().set_len(size.bytes()).step("size", draft.path())?;
        reader.contents(&extents, draft.file(), draft.path()).map_err(|error| match error {
            ArchiveError::Step(error) => self.or_no_space(kind, error.into()),
            error => error.into(),
        })?;
        reader.sums()?;
        check_fully(&draft)?;
        let uuid = crate::copies::give_uuid(&draft)?;
        self.publish_new(kind, draft, uuid, header.options)
    }
}

/// What comes from elsewhere is not trusted to be a sound ext4: the kernel
/// expects one.
fn check_fully(draft: &Draft) -> Result<(), StoreError> {
    make_clean(draft.file(), draft.path())?;
    match e2fsck(draft.file(), draft.path(), &["-f", "-p"])? {
        Verdict::Sound(_) | Verdict::Corrected(_) => Ok(()),
        Verdict::Damaged(output) => {
            let (overlay, reason) = (draft.path().to_owned(), "found while it was imported");
            Err(RepairError::NotRepairable { overlay, reason, output }.into())
        }
    }
}
