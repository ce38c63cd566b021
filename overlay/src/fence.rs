//! Whether a kept overlay could be opened here, or another host has it.

use std::time::Duration;

use crate::lock::{NotLocked, lock};
use crate::overlay_file::OverlayKind;
use crate::sharing::{holder, watch_time};
use crate::store::Overlays;
use crate::store_error::StoreError;

/// What stands between an overlay and its next user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Nobody has its lock. A host that crashed with it may still be named in
    /// it: then opening it takes as long as the kernel watches it, which finds
    /// out whether anybody writes to it all the same.
    Open {
        /// For how long it would be watched; zero: it was closed in order.
        watch: Duration,
    },
    /// Somebody has it: a desktop of this host or of another, or work on it.
    Held {
        /// The host it names itself; none: it names none.
        holder: Option<String>,
    },
}

// === impl Overlays ===

impl Overlays {
    /// Looks at the fence of a kept overlay, without waiting and without changing
    /// anything; the answer may be old by the time it is read. Only opening it
    /// tells for sure.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the file cannot be opened.
    pub fn fence(&self, kind: &OverlayKind) -> Result<Fence, StoreError> {
        let path = self.places.overlay(kind);
        match lock(&path) {
            Ok(locked) => {
                let watched = self.shared && kind.kept_name().is_some();
                let watch = if watched { watch_time(locked.file()) } else { Duration::ZERO };
                Ok(Fence::Open { watch })
            }
            Err(NotLocked::InUse) => {
                let file = std::fs::File::open(&path).ok();
                Ok(Fence::Held { holder: file.as_ref().and_then(holder) })
            }
            Err(NotLocked::Missing) => Err(StoreError::NotFound(kind.clone())),
            Err(NotLocked::Step(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OverlayName, OverlaySize, Sharing};

    #[test]
    fn an_overlay_that_another_has_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let own = tempfile::tempdir().unwrap();
        let overlays = Overlays::open_apart(own.path(), dir.path(), Sharing::Shared).unwrap();
        let kind = OverlayKind::Persistent(OverlayName::try_from("anna").unwrap());
        assert!(matches!(overlays.fence(&kind), Err(StoreError::NotFound(_))));
        let size = OverlaySize::from_mib(64).unwrap();
        let overlay = overlays.create(&kind, size).unwrap();
        assert_eq!(overlays.fence(&kind).unwrap(), Fence::Open { watch: Duration::ZERO });
        let held = lock(overlay.path()).unwrap();
        assert_eq!(overlays.fence(&kind).unwrap(), Fence::Held { holder: None });
        drop(held);
        assert_eq!(overlays.fence(&kind).unwrap(), Fence::Open { watch: Duration::ZERO });
    }
}
