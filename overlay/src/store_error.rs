//! What can go wrong with overlay files.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::archive::ArchiveError;
use crate::draft::DraftError;
use crate::freeze::FreezeError;
use crate::name::SnapshotName;
use crate::overlay_file::OverlayKind;
use crate::record::RecordError;
use crate::repair::RepairError;
use crate::scratch_mount::ScratchMountError;
use crate::size::OverlaySize;
use crate::snapshot::MAX_SNAPSHOTS;
use crate::step::StepError;
use crate::template::TemplateError;
use crate::tool::ToolError;

/// Why something about the overlay files failed. Unless a variant says
/// otherwise, everything is as it was before the call.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No file of this size fits on the disk, were it empty.
    #[error("size {size} is more than the {total_bytes} bytes of the disk of {}", dir.display())]
    LargerThanDisk {
        /// What was asked for.
        size: OverlaySize,
        /// Size of the file system the overlays are on.
        total_bytes: u64,
        /// Where the overlays are.
        dir: PathBuf,
    },
    /// The disk filled up while an overlay was made. Nothing of it is left.
    #[error("no space left for an overlay in {}", dir.display())]
    NoSpace {
        /// Where the overlays are.
        dir: PathBuf,
        /// The step that found out.
        #[source]
        source: Box<StoreError>,
    },
    /// A copy was not begun, because it would fill the disk.
    #[error(
        "a copy needs {needed_bytes} bytes, and {free_bytes} are free in {}; \
         delete snapshots or overlays that are not needed",
        dir.display()
    )]
    NoSpaceForCopy {
        /// Where the overlays are.
        dir: PathBuf,
        /// What the copy takes.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The name is taken, and what has it is not replaced.
    #[error("{0} exists already")]
    Exists(OverlayKind),
    /// There is no such overlay.
    #[error("{0} does not exist")]
    NotFound(OverlayKind),
    /// A desktop has it, here or on another host, or another call works on it.
    #[error("{0} is in use")]
    InUse(OverlayKind),
    /// Only what is kept under a name can have snapshots and copies.
    #[error("{0} is not kept: it ends with its desktop")]
    NotKept(OverlayKind),
    /// A home volume cannot become an overlay, nor the other way round.
    #[error("{from} cannot become {to}")]
    OtherKind {
        /// What was to be copied.
        from: OverlayKind,
        /// What it was to become.
        to: OverlayKind,
    },
    /// Overlays grow and never shrink.
    #[error("{kind} has {present_bytes} bytes already and cannot shrink to {asked}")]
    Shrink {
        /// The overlay.
        kind: OverlayKind,
        /// Its size.
        present_bytes: u64,
        /// What was asked for.
        asked: OverlaySize,
    },
    /// The kernel does not grow the mounted file system. The file is longer by
    /// now, which harms nothing and is made use of by the next call.
    #[error("{kind} cannot grow while it is in use here ({reason}); grow it while it is stopped")]
    GrowStopped {
        /// The overlay.
        kind: OverlayKind,
        /// Why not.
        reason: &'static str,
    },
    /// resize2fs refused. The overlay is as it was.
    #[error("{kind} did not grow: {output}")]
    Resize {
        /// The overlay.
        kind: OverlayKind,
        /// What resize2fs wrote.
        output: String,
    },
    /// There is no such snapshot.
    #[error("{kind} has no snapshot {name}")]
    NoSnapshot {
        /// The overlay.
        kind: OverlayKind,
        /// The snapshot.
        name: SnapshotName,
    },
    /// The snapshot's name is taken.
    #[error("{kind} has a snapshot {name} already")]
    SnapshotExists {
        /// The overlay.
        kind: OverlayKind,
        /// The snapshot.
        name: SnapshotName,
    },
    /// The number of snapshots is bounded.
    #[error("{0} has {MAX_SNAPSHOTS} snapshots, which is the limit; delete one first")]
    TooManySnapshots(OverlayKind),
    /// Deleting an overlay does not delete its snapshots unasked.
    #[error("{kind} has {count} snapshots; delete them first, or all together")]
    HasSnapshots {
        /// The overlay.
        kind: OverlayKind,
        /// How many.
        count: usize,
    },
    /// The description of a snapshot is bounded.
    #[error("the description has {length} bytes, and may have {limit}")]
    Description {
        /// Its length.
        length: usize,
        /// The most it may have.
        limit: usize,
    },
    /// Without the feature `metadata_csum_seed`, a copy could not get a UUID of
    /// its own.
    #[error("{} is no ext4 that Rolltop made: it lacks metadata_csum_seed", .0.display())]
    Foreign(PathBuf),
    /// The template is not one that was made here.
    #[error("the template of {size} in {} is damaged; remove it", dir.display())]
    BadTemplate {
        /// The size of the template.
        size: OverlaySize,
        /// Where it is.
        dir: PathBuf,
    },
    /// The ext4 in it is damaged, and what was to be done is not done to a
    /// damaged one. It is kept as it is.
    #[error(transparent)]
    Damaged(#[from] RepairError),
    /// The desktop's disk could not be held still for a copy.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// An archive could not be written or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The ext4 could not be mounted for a moment.
    #[error(transparent)]
    Mount(#[from] ScratchMountError),
    /// A program of e2fsprogs did not run to its end.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The template could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The record of an overlay is missing or unreadable. The overlay is kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file could not be put in its place.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The mount table could not be read.
    #[error(transparent)]
    MountInfo(#[from] crate::mountinfo::MountInfoError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

// === impl StoreError ===

impl StoreError {
    /// Whether the file of something that was found went away.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Step(error) if error.source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether a full disk is at the bottom of it.
    pub(crate) fn is_no_space(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(current) = cause {
            let kind = current.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return true;
            }
            cause = current.source();
        }
        matches!(self, Self::Template(error) if error.is_no_space())
    }
}
