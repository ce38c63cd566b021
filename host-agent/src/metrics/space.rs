//! How much room there is where the agent keeps things.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

use crate::work::blocking;

/// A server that does not answer within this is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A place that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    State,
    Kept,
    Run,
}

/// Room of a file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) size: u64,
    pub(super) free: u64,
}

/// Looks at places, of which some may lie on a server that has gone: then one
/// thread waits for it, not one more each time.
#[derive(Debug, Default)]
pub(super) struct Space {
    looking: [Arc<AtomicBool>; 3],
}

impl Space {
    /// `None`: it does not answer, or cannot be read.
    pub(super) async fn at(&self, place: Place, path: PathBuf) -> Option<Room> {
        let looking = Arc::clone(&self.looking[place as usize]);
        if looking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let look = blocking(move || {
            let room = room(&path);
            looking.store(false, Ordering::Release);
            room
        });
        timeout(PATIENCE, look).await.ok()?
    }
}

fn room(path: &Path) -> Option<Room> {
    let fs = rustix::fs::statvfs(path).ok()?;
    Some(Room { size: fs.f_blocks * fs.f_frsize, free: fs.f_bavail * fs.f_frsize })
}

impl Place {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Kept => "kept",
            Self::Run => "run",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_measured_and_a_missing_one_is_not() {
        let space = Space::default();
        let room = space.at(Place::State, "/proc/..".into()).await.unwrap();
        assert!(room.free <= room.size && room.size > 0);
        assert_eq!(space.at(Place::Kept, "/no/such/place".into()).await, None);
        // It was looked at, and may be again.
        assert!(space.at(Place::Kept, "/".into()).await.is_some());
    }

    #[tokio::test]
    async fn one_that_is_being_looked_at_is_left_alone() {
        let space = Space::default();
        space.looking[Place::Kept as usize].store(true, Ordering::Release);
        assert_eq!(space.at(Place::Kept, "/".into()).await, None);
        assert!(space.at(Place::State, "/".into()).await.is_some());
    }
}
