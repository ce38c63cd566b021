//! How the layers of an overlay are joined: chosen when it is made, then kept.

use serde::{Deserialize, Serialize};

/// What a crash of the host may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// What was synced stays.
    Kept,
    /// Nothing has to stay: `fsync` does nothing (overlayfs `volatile`), and
    /// there is no journal.
    Volatile,
}

/// Options of the overlay mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayOptions {
    /// Directories of the lower layer can be renamed (otherwise `EXDEV`).
    pub redirect_dir: bool,
    /// A change of owner or mode does not copy the file's data up.
    pub metacopy: bool,
    /// What a crash may cost.
    pub durability: Durability,
}

// === impl OverlayOptions ===

impl OverlayOptions {
    /// For an overlay that is kept. The kernel's documentation of overlayfs
    /// ("Changes to underlying filesystems") allows the lower layer to change
    /// between two mounts, as it does when an image is renewed, only where
    /// neither of the two options was ever used.
    #[must_use]
    pub const fn kept() -> Self {
        Self { redirect_dir: false, metacopy: false, durability: Durability::Kept }
    }

    /// For an overlay that sees one root only and dies with its desktop.
    #[must_use]
    pub const fn volatile() -> Self {
        Self { redirect_dir: true, metacopy: true, durability: Durability::Volatile }
    }
}
