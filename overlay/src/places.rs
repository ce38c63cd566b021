//! Where everything lies in the directories of the overlays.
//!
//! In the one of what is kept, which several hosts may reach:
//!
//! ```text
//! persistent/NAME.ext4             kept until it is deleted by name
//! persistent/NAME.json             how it was made and how to mount it
//! homes/NAME.ext4, NAME.json       home volumes, the same
//! snapshots/persistent/NAME/S.ext4 a snapshot, S.json what is known about it
//! snapshots/homes/NAME/...
//! storage-id                       tells this storage from others
//! ```
//! In the host's own, which may be the same:
//!
//! ```text
//! volatile/NUMBER.ext4             of one desktop
//! templates/...                    formatted files the others are copied from
//! frozen/...                       whose disk is held still just now
//! ```
//!
//! The ext4 file is the thing: with it, it exists. A record alone is the rest of
//! a making or a deletion that was cut short, and means nothing. Names that
//! begin with a dot are files in the making or on their way out.

use std::path::{Path, PathBuf};

use crate::name::{OverlayName, SnapshotName};
use crate::overlay_file::OverlayKind;

pub(crate) const PERSISTENT: &str = "persistent";
pub(crate) const HOMES: &str = "homes";
pub(crate) const VOLATILE: &str = "volatile";
const TEMPLATES: &str = "templates";
const SNAPSHOTS: &str = "snapshots";
const FROZEN: &str = "frozen";

/// What a deleted file is called until it is gone.
const DELETED_PREFIX: &str = ".deleted-";

/// Beside a record that may not have a file yet.
const MAKING_PREFIX: &str = ".making-";

/// The directories of the overlays.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// This host's alone.
    pub(crate) own: PathBuf,
    pub(crate) kept: PathBuf,
}

// === impl Places ===

impl Places {
    /// The directories with overlay files, kept ones first.
    pub(crate) const KINDS: [&str; 3] = [PERSISTENT, HOMES, VOLATILE];
    /// Of these, the ones whose files have names, records and snapshots.
    pub(crate) const KEPT: [&str; 2] = [PERSISTENT, HOMES];

    /// Everything that has to exist.
    pub(crate) fn all(&self) -> impl Iterator<Item = PathBuf> {
        let kept = [
            self.of(PERSISTENT),
            self.of(HOMES),
            self.snapshots_of_kind(PERSISTENT),
            self.snapshots_of_kind(HOMES),
        ];
        self.all_own().into_iter().chain(kept)
    }

    /// What of it is this host's alone.
    pub(crate) fn all_own(&self) -> [PathBuf; 3] {
        [self.of(VOLATILE), self.templates(), self.frozen()]
    }

    /// The directory of one of [`Places::KINDS`].
    pub(crate) fn of(&self, kind: &str) -> PathBuf {
        let dir = if kind == VOLATILE { &self.own } else { &self.kept };
        dir.join(kind)
    }

    /// What is locked while a kept overlay of a kind gets or loses its name.
    pub(crate) fn names_lock(&self, kind: &str) -> PathBuf {
        self.of(kind).with_file_name(format!(".{kind}.lock"))
    }

    pub(crate) fn templates(&self) -> PathBuf {
        self.own.join(TEMPLATES)
    }

    pub(crate) fn frozen(&self) -> PathBuf {
        self.own.join(FROZEN)
    }

    /// Tells that the disk of a mounted overlay may be frozen.
    pub(crate) fn frozen_marker(&self, kind: &OverlayKind) -> PathBuf {
        let dir = kind_name(kind);
        match kind {
            OverlayKind::Persistent(name) | OverlayKind::Home(name) => {
                self.frozen().join(format!("{dir}.{name}.ext4"))
            }
            OverlayKind::Volatile(number) => self.frozen().join(format!("{dir}.{number}.ext4")),
        }
    }

    pub(crate) fn kind_dir(&self, kind: &OverlayKind) -> PathBuf {
        self.of(kind_name(kind))
    }

    pub(crate) fn overlay(&self, kind: &OverlayKind) -> PathBuf {
        let dir = self.kind_dir(kind);
        match kind {
            OverlayKind::Persistent(name) | OverlayKind::Home(name) => {
                dir.join(format!("{name}.ext4"))
            }
            OverlayKind::Volatile(number) => dir.join(format!("{number}.ext4")),
        }
    }

    /// What the file of a kept overlay is called while it is deleted.
    pub(crate) fn deleted(&self, kind: &OverlayKind, name: &OverlayName) -> PathBuf {
        self.kind_dir(kind).join(format!("{DELETED_PREFIX}{name}.ext4"))
    }

    /// Tells that a kept overlay is getting its record and its name just now.
    pub(crate) fn making(&self, kind: &OverlayKind, name: &OverlayName) -> PathBuf {
        self.kind_dir(kind).join(format!("{MAKING_PREFIX}{name}.ext4"))
    }

    /// Of all overlays of a kept kind: one directory per overlay.
    pub(crate) fn snapshots_of_kind(&self, kind: &str) -> PathBuf {
        self.kept.join(SNAPSHOTS).join(kind)
    }

    pub(crate) fn snapshots(&self, kind: &OverlayKind, name: &OverlayName) -> PathBuf {
        self.snapshots_of_kind(kind_name(kind)).join(name.as_str())
    }
}

/// The file of the snapshot `name` in the directory of an overlay's snapshots.
pub(crate) fn snapshot(dir: &Path, name: &SnapshotName) -> PathBuf {
    dir.join(format!("{name}.ext4"))
}

/// The record of an overlay or a snapshot.
pub(crate) fn record(file: &Path) -> PathBuf {
    file.with_extension("json")
}

/// Which overlay a file in the directory `sub` is; `None` if it is none.
pub(crate) fn kind_of(sub: &str, path: &Path) -> Option<OverlayKind> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ext4")?;
    match sub {
        PERSISTENT => OverlayName::try_from(name).ok().map(OverlayKind::Persistent),
        HOMES => OverlayName::try_from(name).ok().map(OverlayKind::Home),
        _ => name.parse().ok().map(OverlayKind::Volatile),
    }
}

/// Which kept overlay a file is of that was being deleted.
pub(crate) fn deleted_kind(sub: &str, path: &Path) -> Option<OverlayKind> {
    let name = path.file_name()?.to_str()?.strip_prefix(DELETED_PREFIX)?;
    kind_of(sub, Path::new(name))
}

/// Which kept overlay a mark is of that says it was being made.
pub(crate) fn making_kind(sub: &str, path: &Path) -> Option<OverlayKind> {
    let name = path.file_name()?.to_str()?.strip_prefix(MAKING_PREFIX)?;
    kind_of(sub, Path::new(name))
}

pub(crate) fn kind_name(kind: &OverlayKind) -> &'static str {
    match kind {
        OverlayKind::Persistent(_) => PERSISTENT,
        OverlayKind::Home(_) => HOMES,
        OverlayKind::Volatile(_) => VOLATILE,
    }
}
