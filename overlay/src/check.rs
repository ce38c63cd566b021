//! Telling how an overlay is, without changing it.

use crate::draft::Draft;
use crate::overlay_file::OverlayKind;
use crate::repair::{Verdict, e2fsck};
use crate::step::Step;
use crate::store::Overlays;
use crate::store_error::StoreError;
use crate::superblock::{Condition, Superblock};

/// How an overlay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// A full check found no fault.
    Sound,
    /// It was not unmounted, or has faults that the next open repairs.
    Repairable {
        /// What e2fsck wrote.
        report: String,
    },
    /// It will not be opened.
    Damaged {
        /// What was found.
        report: String,
    },
    /// It is mounted, and so cannot be checked. The kernel has found no fault.
    InUse,
    /// It is mounted, and the kernel has found a fault: it is read-only by now,
    /// and is checked at the next open.
    FaultInUse,
}

// === impl Overlays ===

impl Overlays {
    /// Checks an overlay as a whole, on a copy if it is not clean. This takes
    /// seconds for a large one, which does not open meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`]. Damage is not an error.
    pub fn check(&self, kind: &OverlayKind) -> Result<Health, StoreError> {
        let path = self.places.overlay(kind);
        let locked = match self.lock(kind) {
            Err(StoreError::InUse(_)) => {
                let file = std::fs::File::open(&path).step("open", &path)?;
                let block = Superblock::read(&file).step("read superblock of", &path)?;
                let fault = block.is_some_and(|block| block.has_errors());
                return Ok(if fault { Health::FaultInUse } else { Health::InUse });
            }
            other => other?,
        };
        let length = locked.file().metadata().step("stat", &path)?.len();
        let block = Superblock::read(locked.file()).step("read superblock of", &path)?;
        match block.map_or(Condition::Unknown("too short"), |block| block.condition(length)) {
            Condition::Unknown(reason) => Ok(Health::Damaged { report: reason.to_owned() }),
            Condition::Clean => match e2fsck(locked.file(), &path, &["-f", "-n"])? {
                Verdict::Sound(_) => Ok(Health::Sound),
                // -n corrects nothing.
                Verdict::Corrected(_) | Verdict::Damaged(_) => self.try_on_copy(kind, &locked),
            },
            Condition::Replay | Condition::NeedsCheck(_) => self.try_on_copy(kind, &locked),
        }
    }

    /// What the next open would come to.
    fn try_on_copy(
        &self,
        kind: &OverlayKind,
        locked: &crate::lock::Locked,
    ) -> Result<Health, StoreError> {
        let draft = Draft::create(&self.places.overlay(kind))?;
        self.copy_file(locked.file(), &draft).map_err(|error| self.or_no_space(kind, error))?;
        Ok(match e2fsck(draft.file(), draft.path(), &["-f", "-p"])? {
            Verdict::Sound(report) | Verdict::Corrected(report) => Health::Repairable { report },
            Verdict::Damaged(report) => Health::Damaged { report },
        })
    }
}
