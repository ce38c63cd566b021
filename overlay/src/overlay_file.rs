//! The words in which overlay files are spoken of.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::draft::DraftError;
use crate::name::OverlayName;
use crate::options::OverlayOptions;
use crate::record::RecordError;
use crate::size::OverlaySize;
use crate::step::StepError;
use crate::template::TemplateError;

/// Why something about the overlay files failed.
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
    /// A volatile overlay is made once per desktop.
    #[error("{0} exists already")]
    Exists(OverlayKind),
    /// There is no such overlay.
    #[error("{0} does not exist")]
    NotFound(OverlayKind),
    /// A desktop has it.
    #[error("{0} is in use")]
    InUse(OverlayKind),
    /// The template is not one that was made here.
    #[error("the template of {size} in {} is damaged; remove it", dir.display())]
    BadTemplate {
        /// The size of the template.
        size: OverlaySize,
        /// Where it is.
        dir: PathBuf,
    },
    /// The template could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The record of an overlay is missing or unreadable. The overlay is kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file could not be put in its place.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// Any other call.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// Which overlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverlayKind {
    /// Kept under its name.
    Persistent(OverlayName),
    /// Of the desktop with this number, and gone with it.
    Volatile(u32),
}

/// An overlay file that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayFile {
    pub(crate) kind: OverlayKind,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    pub(crate) options: OverlayOptions,
}

/// What an overlay takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayUsage {
    /// Size of its file system.
    pub size_bytes: u64,
    /// What it takes on the disk of the host now.
    pub allocated_bytes: u64,
}

/// An overlay in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayEntry {
    /// Which one.
    pub kind: OverlayKind,
    /// What it takes.
    pub usage: OverlayUsage,
    /// When it was made; unknown for a volatile one, and if the record of a
    /// persistent one cannot be read.
    pub created_at: Option<SystemTime>,
    /// It is attached to a loop device.
    pub in_use: bool,
}

// === impl StoreError ===

impl StoreError {
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

// === impl OverlayKind ===

impl std::fmt::Display for OverlayKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Persistent(name) => write!(f, "persistent overlay {name}"),
            Self::Volatile(number) => write!(f, "volatile overlay {number}"),
        }
    }
}

// === impl OverlayFile ===

impl OverlayFile {
    /// Which overlay it is.
    #[must_use]
    pub fn kind(&self) -> &OverlayKind {
        &self.kind
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file system in it. For an overlay that existed already not
    /// necessarily the one that was asked for.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How it is mounted.
    #[must_use]
    pub fn options(&self) -> OverlayOptions {
        self.options
    }
}
