//! Repairing what an open refuses: on a copy, and keeping the original.

use crate::draft::Draft;
use crate::overlay_file::OverlayKind;
use crate::places::record;
use crate::record::Record;
use crate::repair::{RepairError, Verdict, clear_mmp, e2fsck};
use crate::scratch_mount::ScratchMount;
use crate::snapshot::Snapshot;
use crate::snapshots::kept_name;
use crate::step::Step;
use crate::store::Overlays;
use crate::store_error::StoreError;
use crate::superblock::{Condition, Superblock};

/// Where the first backup of a superblock is, in blocks, and their size: so it
/// is in every overlay that is large enough to have one (128 MiB).
const BACKUP: [&str; 4] = ["-b", "32768", "-B", "4096"];

/// What repairing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What e2fsck wrote.
    pub report: String,
    /// The overlay as it was before.
    pub kept: Snapshot,
}

// === impl Overlays ===

impl Overlays {
    /// Repairs a kept overlay that [does not open](crate::OpenError::Damaged),
    /// as far as e2fsck can, which may cost files: it answers every question with
    /// yes, and starts from the backup if the superblock is lost. The overlay as
    /// it was stays, as an automatic snapshot.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be mounted even then; the overlay is
    /// as it was. [`StoreError::InUse`] while it is open.
    pub fn repair(&self, kind: &OverlayKind) -> Result<Mended, StoreError> {
        let path = self.places.overlay(kind);
        let dir = self.places.snapshots(kind, kept_name(kind)?);
        let locked = self.lock(kind)?;
        let recorded_bytes = Record::read(&record(&path))?.size_bytes;
        let draft = Draft::create(&path)?;
        self.copy_file(locked.file(), &draft).map_err(|error| self.or_no_space(kind, error))?;
        let report = mend(&draft, recorded_bytes)?;
        draft.file().sync_all().step("sync", draft.path())?;
        let names = self.kind_lock(kind)?;
        let kept = self.keep_present(kind, "as it was before it was repaired")?;
        self.replace_overlay(kind, draft)?;
        drop(names);
        drop(locked);
        Ok(Mended { report, kept: self.snapshot_in(&dir, &kept)? })
    }
}

/// Makes a damaged copy whole, or says that it cannot be.
fn mend(draft: &Draft, recorded_bytes: u64) -> Result<String, StoreError> {
    let (file, path) = (draft.file(), draft.path());
    let length = file.metadata().step("stat", path)?.len();
    if length < recorded_bytes {
        file.set_len(recorded_bytes).step("extend", path)?;
    }
    let block = Superblock::read(file).step("read superblock of", path)?;
    let condition = block.as_ref().map(|block| block.condition(length.max(recorded_bytes)));
    let mut flags = vec!["-f", "-y"];
    if matches!(condition, None | Some(Condition::Unknown(_))) {
        flags.extend(BACKUP);
    } else if block.is_some_and(|block| block.mmp_offset().is_some()) {
        clear_mmp(file, path)?;
    }
    let (Verdict::Sound(report) | Verdict::Corrected(report) | Verdict::Damaged(report)) =
        e2fsck(file, path, &flags)?;
    // Its own word for it does not suffice.
    match e2fsck(file, path, &["-f", "-p"])? {
        Verdict::Sound(_) | Verdict::Corrected(_) => {}
        Verdict::Damaged(_) => {
            let (overlay, reason) = (path.to_owned(), "also after e2fsck -y");
            return Err(RepairError::NotRepairable { overlay, reason, output: report }.into());
        }
    }
    drop(ScratchMount::new(file, path)?);
    Ok(report)
}
