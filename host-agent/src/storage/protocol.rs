//! What the agent asks of a helper and what it answers: one JSON object a line.

use std::{path::PathBuf, time::Duration};

use rolltop_overlay::{IdMap, OverlayFile};
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// An export and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Export {
    /// `nfs://server/path`, checked.
    pub(super) url: String,
    /// Mount options, checked.
    pub(super) options: Vec<String>,
    /// Parent of the mount points of all exports.
    pub(super) dir: PathBuf,
    /// Key of the mount for tags and manifests.
    pub(super) names: String,
    /// Key of the mount for the versions themselves.
    pub(super) versions: String,
}

/// Something that may wait for a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    /// The version that `image` means now.
    Resolve { export: Export, image: String },
    /// Every version there is.
    List { export: Export },
    /// Mounts the base root `key`, whose files lie at `root` in the export.
    Mount { export: Export, bases: PathBuf, key: String, root: Place, try_ids: bool },
    /// Opens a desktop's root over a mounted base root.
    Open(Box<Opening>),
    /// Unmounts a base root or export.
    Unmount { dir: PathBuf, key: String },
    /// The same, if need be at the expense of whatever uses it.
    Abandon { dir: PathBuf, key: String },
    /// Asks the server for anything.
    Probe { export: Export },
    /// Gives an error to everything that waits for the export's server.
    GiveUp { export: Export },
}

/// A desktop's root to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) lower: PathBuf,
    pub(super) overlay: OverlayFile,
    pub(super) mount_dir: PathBuf,
    pub(super) map: Option<Map>,
    /// What the kernel will watch the overlay for before.
    pub(super) watch: Duration,
}

/// The ID map of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Map {
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) kept: Option<u32>,
    /// The base root's files have the outer ids already.
    pub(super) lower_is_shifted: bool,
}

/// A version's root, by its path in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    Erofs(PathBuf),
    Directory(PathBuf),
}

/// A version, as the manifest in the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) manifest: String,
    pub(super) root: Place,
    /// Who owns the root directory.
    pub(super) owner: u32,
    pub(super) tags: Vec<String>,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Done {
    Resolved(Box<Version>),
    /// And what cannot be used, with a sentence for each.
    Listed(Vec<Version>, Vec<(PathBuf, String)>),
    /// Where, and whether it can be ID-mapped, if that was asked.
    Mounted(PathBuf, Option<bool>),
    /// Where the joined root is.
    Opened(PathBuf),
    Nothing,
}

pub(super) type Answer = Result<Done, Fault>;

// === impl Task ===

impl Task {
    /// What it takes besides waiting for the server.
    pub(super) fn besides(&self) -> Duration {
        match self {
            Self::Open(opening) => opening.watch,
            _ => Duration::ZERO,
        }
    }
}

// === impl Map ===

impl Map {
    pub(super) fn ids(self) -> IdMap {
        IdMap { first: self.first, count: self.count, kept: self.kept }
    }
}
