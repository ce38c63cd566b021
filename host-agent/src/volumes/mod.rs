//! What is kept on disk: overlays of persistent desktops, and homes. The work
//! is the library's; here it is done one thing at a time per volume, on threads
//! of its own, for callers who may go away and come back.

mod error;
mod jobs;
mod look;
mod pipe;
mod work;

use std::fmt;

use rolltop_overlay::{NameError, OverlayKind, OverlayName};
use rolltop_proto::v1::{VolumeId, VolumeKind};
use thiserror::Error;

pub use error::VolumeError;
pub use jobs::{Busy, Job, Jobs, Outcome, Task};
pub use look::{Condition, Volume, look, look_at};
pub use pipe::{FromCaller, Passed, Piece, ToCaller, caller_pipe, export_pipe};
pub use work::{Done, Order, begin, delete, delete_snapshot, export, import};

/// Something kept under a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey {
    kind: VolumeKind,
    name: OverlayName,
}

/// An id of the API's that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadId {
    /// No id, or none of a kind.
    #[error("give a kind, overlay or home, and a name")]
    Kind,
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
}

// === impl VolumeKey ===

impl VolumeKey {
    /// Checks an id from outside.
    ///
    /// # Errors
    /// It has no kind, or a name that cannot be.
    pub fn parse(id: Option<VolumeId>) -> Result<Self, BadId> {
        let id = id.ok_or(BadId::Kind)?;
        let kind = match id.kind() {
            VolumeKind::Unspecified => return Err(BadId::Kind),
            kind @ (VolumeKind::Overlay | VolumeKind::Home) => kind,
        };
        Ok(Self { kind, name: OverlayName::try_from(id.name.as_str())? })
    }

    /// The key of what the library names.
    pub fn of(kind: &OverlayKind) -> Option<Self> {
        match kind {
            OverlayKind::Persistent(name) => {
                Some(Self { kind: VolumeKind::Overlay, name: name.clone() })
            }
            OverlayKind::Home(name) => Some(Self { kind: VolumeKind::Home, name: name.clone() }),
            OverlayKind::Volatile(_) => None,
        }
    }

    /// The library's name for it.
    pub fn overlay(&self) -> OverlayKind {
        match self.kind {
            VolumeKind::Home => OverlayKind::Home(self.name.clone()),
            VolumeKind::Overlay | VolumeKind::Unspecified => {
                OverlayKind::Persistent(self.name.clone())
            }
        }
    }

    /// The API's name for it.
    pub fn id(&self) -> VolumeId {
        VolumeId { kind: self.kind.into(), name: self.name.to_string() }
    }
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.overlay().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_name_nothing_are_refused() {
        let parse =
            |kind: i32, name: &str| VolumeKey::parse(Some(VolumeId { kind, name: name.into() }));
        for name in ["", ".", "..", "a/b", "../x", ".x", "a\0"] {
            assert!(matches!(parse(1, name), Err(BadId::Name(_))), "{name:?}");
        }
        assert_eq!(parse(0, "a"), Err(BadId::Kind));
        assert_eq!(parse(7, "a"), Err(BadId::Kind));
        assert_eq!(VolumeKey::parse(None), Err(BadId::Kind));
        let home = parse(2, "anna.2000").unwrap();
        assert_eq!(home.to_string(), "home volume anna.2000");
        assert_eq!(VolumeKey::of(&home.overlay()), Some(home));
    }
}
