//! What desktops keep, and what is being done to it.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::{
    clock::Timestamp,
    names::{DesktopId, HostName, UserName},
};

/// The storage that has kept data, as its host told when the data was last taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageRecord {
    /// Its name: see `HostInfo.storage_id`.
    pub id: String,
    /// Other hosts reach it.
    pub shared: bool,
}

/// A persistent overlay and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// The desktop it belongs to.
    pub desktop: DesktopId,
    /// Where it is.
    pub host: HostName,
    /// What of that host it lies on; none: no start has noted it yet.
    #[serde(default)]
    pub storage: Option<StorageRecord>,
    /// Set while it is being deleted: no desktop may take it any more.
    pub deleting: bool,
    /// Set while it is being cloned or imported: not to be taken yet.
    #[serde(default)]
    pub making: bool,
    /// Request that cloned it; empty: none did.
    #[serde(default)]
    pub made_by: String,
}

/// A home volume and the host that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRecord {
    /// Whose it is.
    pub user: UserName,
    /// Where it is.
    pub host: HostName,
    /// As in [`OverlayRecord`].
    #[serde(default)]
    pub storage: Option<StorageRecord>,
    /// The last start that claimed it: it has one writer.
    pub claim: Option<HomeClaim>,
    /// As in [`OverlayRecord`].
    pub deleting: bool,
    /// As in [`OverlayRecord`].
    pub making: bool,
    /// As in [`OverlayRecord`].
    pub made_by: String,
}

/// A start that took a home. It holds as long as that life of the desktop does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeClaim {
    /// The desktop.
    pub desktop: DesktopId,
    /// Which life of it.
    pub epoch: u64,
}

/// Something that is being done to kept data. Under a lease of the broker that
/// has it done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRecord {
    /// What.
    pub kind: WorkKind,
    /// Who asked for it.
    pub by: UserName,
    /// When.
    pub since: Timestamp,
    /// Chosen by the caller; may be empty.
    pub request_id: String,
}

/// What can be done to kept data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// Made larger.
    Grow,
    /// Unused blocks given back.
    Trim,
    /// Looked through.
    Check,
    /// Deleted.
    Delete,
    /// A snapshot made.
    Snapshot,
    /// A snapshot deleted.
    DeleteSnapshot,
    /// Made what it was.
    RollBack,
    /// Copied, or made by copying.
    Clone,
    /// Written to a stream.
    Export,
    /// Made from a stream.
    Import,
}

impl Record for OverlayRecord {}
impl Record for HomeRecord {}
impl Record for WorkRecord {}

// === impl WorkKind ===

impl std::fmt::Display for WorkKind {
    /// "it is being ...".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Grow => "grown",
            Self::Trim => "trimmed",
            Self::Check => "checked",
            Self::Delete => "deleted",
            Self::Snapshot => "kept as a snapshot",
            Self::DeleteSnapshot => "freed of a snapshot",
            Self::RollBack => "rolled back",
            Self::Clone => "cloned",
            Self::Export => "exported",
            Self::Import => "imported",
        })
    }
}
