//! The words in which overlay files are spoken of.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::name::{OverlayName, SnapshotName};
use crate::options::OverlayOptions;

/// Which overlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OverlayKind {
    /// Kept under its name.
    Persistent(OverlayName),
    /// A home volume: an ext4 file of its own, kept under its name, which is
    /// mounted beside a root ([`open_volume`](crate::open_volume())).
    Home(OverlayName),
    /// Of the desktop with this number, and gone with it.
    Volatile(u32),
}

/// An overlay file that can be opened. Written down, it may be opened by
/// another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayFile {
    pub(crate) kind: OverlayKind,
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    pub(crate) options: OverlayOptions,
}

/// What is copied: a kept overlay as it is now, or one of its snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The overlay or home volume.
    pub kind: OverlayKind,
    /// One of its snapshots; `None`: as it is now, in use or not.
    pub snapshot: Option<SnapshotName>,
}

/// What an overlay takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayUsage {
    /// Size of its file.
    pub size_bytes: u64,
    /// What it takes on the disk of the host now.
    pub allocated_bytes: u64,
    /// How full its file system is; `None` if that is damaged.
    pub inside: Option<SpaceInside>,
}

/// How full a file system is. While it is mounted, as it is now; otherwise as
/// it was when it was last written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceInside {
    /// What files and directories take.
    pub used_bytes: u64,
    /// What can still be written.
    pub free_bytes: u64,
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

// === impl OverlayKind ===

impl OverlayKind {
    /// Its name, if it is kept under one.
    #[must_use]
    pub fn kept_name(&self) -> Option<&OverlayName> {
        match self {
            Self::Persistent(name) | Self::Home(name) => Some(name),
            Self::Volatile(_) => None,
        }
    }
}

impl std::fmt::Display for OverlayKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Persistent(name) => write!(f, "persistent overlay {name}"),
            Self::Home(name) => write!(f, "home volume {name}"),
            Self::Volatile(number) => write!(f, "volatile overlay {number}"),
        }
    }
}

// === impl CopySource ===

impl From<OverlayKind> for CopySource {
    fn from(kind: OverlayKind) -> Self {
        Self { kind, snapshot: None }
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
