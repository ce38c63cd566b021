//! Whether an overlay can be mounted, and making it so.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use thiserror::Error;

use crate::step::{Step, StepError};
use crate::superblock::{Condition, Superblock};
use crate::tool::{self, Answer, ToolError};

/// A full check of a large overlay that is full of files takes minutes.
const DEADLINE: Duration = Duration::from_secs(600);

/// Exit statuses of e2fsck, e2fsck(8).
const CLEAN: i32 = 0;
const CORRECTED: i32 = 1;
const CORRECTED_REBOOT: i32 = 2;

/// What was done to an overlay before it was mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// It was clean.
    Nothing,
    /// It was not unmounted; the kernel replays the journal.
    Journal,
    /// e2fsck went over it.
    Checked {
        /// Why it had to.
        reason: &'static str,
        /// What it wrote.
        output: String,
    },
}

/// Why an overlay must not be mounted. Its file is kept.
#[derive(Debug, Error)]
pub enum RepairError {
    /// There is no ext4 in the file that could be checked.
    #[error(
        "overlay {} is damaged ({reason}) and was left as it is; have it repaired, or roll it back",
        overlay.display()
    )]
    Unknown {
        /// The overlay file.
        overlay: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// e2fsck gave up.
    #[error(
        "overlay {} is damaged ({reason}), and what e2fsck does unasked is not enough: {output}; \
         have it repaired, or roll it back",
        overlay.display()
    )]
    NotRepairable {
        /// The overlay file.
        overlay: PathBuf,
        /// Why it was checked.
        reason: &'static str,
        /// What e2fsck wrote.
        output: String,
    },
    /// e2fsck did not run to its end.
    #[error("check overlay {}", overlay.display())]
    Tool {
        /// The overlay file.
        overlay: PathBuf,
        /// Why not.
        #[source]
        source: ToolError,
    },
    /// The superblock could not be read.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// Checks the ext4 in `file`, and has it repaired where that is needed and
/// safe. `path` is the path of the same file; the caller holds its lock.
pub(crate) fn make_mountable(file: &File, path: &Path) -> Result<Repaired, RepairError> {
    let length = file.metadata().step("stat", path)?.len();
    let condition = Superblock::read(file)
        .step("read superblock of", path)?
        .map_or(Condition::Unknown("too short"), |block| block.condition(length));
    match condition {
        Condition::Clean => Ok(Repaired::Nothing),
        Condition::Replay => Ok(Repaired::Journal),
        Condition::Unknown(reason) => {
            Err(RepairError::Unknown { overlay: path.to_owned(), reason })
        }
        Condition::NeedsCheck(reason) => preen(file, path, reason),
    }
}

/// Makes a copy, which is nobody else's, clean: journal replayed, faults
/// repaired that can be unasked.
pub(crate) fn make_clean(file: &File, path: &Path) -> Result<(), RepairError> {
    let length = file.metadata().step("stat", path)?.len();
    let Some(block) = Superblock::read(file).step("read superblock of", path)? else {
        return Err(RepairError::Unknown { overlay: path.to_owned(), reason: "too short" });
    };
    if block.mmp_offset().is_some() {
        clear_mmp(file, path)?;
    }
    match block.condition(length) {
        Condition::Unknown(reason) => {
            Err(RepairError::Unknown { overlay: path.to_owned(), reason })
        }
        Condition::NeedsCheck(reason) => preen(file, path, reason).map(drop),
        // A clean one may still have files that were deleted while open.
        Condition::Clean | Condition::Replay => preen(file, path, "it is a copy").map(drop),
    }
}

/// A copy of a mounted file system carries its owner's mark.
pub(crate) fn clear_mmp(file: &File, path: &Path) -> Result<(), RepairError> {
    let mut command = Command::new("tune2fs");
    command.args(["-f", "-E", "clear_mmp"]).arg(path);
    let answer = run(file, path, "tune2fs", &mut command)?;
    if answer.status.success() {
        return Ok(());
    }
    let reason = "its multiple mount protection cannot be cleared";
    Err(RepairError::NotRepairable { overlay: path.to_owned(), reason, output: answer.output })
}

fn preen(file: &File, path: &Path, reason: &'static str) -> Result<Repaired, RepairError> {
    // -p: only what is safe to do unasked.
    match e2fsck(file, path, &["-p"])? {
        Verdict::Sound(output) | Verdict::Corrected(output) => {
            Ok(Repaired::Checked { reason, output })
        }
        Verdict::Damaged(output) => {
            Err(RepairError::NotRepairable { overlay: path.to_owned(), reason, output })
        }
    }
}

/// What e2fsck says, with what it wrote.
#[derive(Debug)]
pub(crate) enum Verdict {
    Sound(String),
    Corrected(String),
    Damaged(String),
}

/// Runs e2fsck. The caller holds the lock of `file`, whose path is `path`.
pub(crate) fn e2fsck(file: &File, path: &Path, flags: &[&str]) -> Result<Verdict, RepairError> {
    let mut command = Command::new("e2fsck");
    command.args(flags).arg(path);
    let answer = run(file, path, "e2fsck", &mut command)?;
    Ok(match answer.status.code() {
        Some(CLEAN) => Verdict::Sound(answer.output),
        Some(CORRECTED | CORRECTED_REBOOT) => Verdict::Corrected(answer.output),
        Some(_) | None => Verdict::Damaged(answer.output),
    })
}

fn run(
    file: &File,
    path: &Path,
    program: &'static str,
    command: &mut Command,
) -> Result<Answer, RepairError> {
    tool::run_on(file, program, command, DEADLINE)
        .map_err(|source| RepairError::Tool { overlay: path.to_owned(), source })
}
