//! What tells one storage of kept overlays from another: a name that lies in it.
//!
//! Two hosts that read the same name reach the same overlays. And a directory
//! that is only the place where the storage should have been mounted has another
//! name, or none yet: nobody's overlay is made anew in it by mistake, if whoever
//! places desktops looks at the name first.

use std::io::Write as _;
use std::path::Path;

use uuid::Uuid;

use crate::draft::{Draft, DraftError, clear_abandoned, sync_dir};
use crate::names_lock::NamesLock;
use crate::step::{Step, StepError};
use crate::store::Overlays;

/// In the directory of what is kept.
const FILE: &str = "storage-id";
/// Held while it gets its name.
const LOCK: &str = ".storage.lock";
/// Of what is read; a name has 36 bytes, and a line's end.
const MAX_BYTES: usize = 64;

// === impl Overlays ===

impl Overlays {
    /// The name of the storage that has what is kept: the same for every host
    /// that reaches it, and for as long as it exists. A UUID.
    pub fn storage_id(&self) -> Uuid {
        self.storage_id
    }

    /// Whether other hosts reach what is kept.
    pub fn is_shared(&self) -> bool {
        self.shared
    }
}

/// Reads the name in `kept`; the first to come gives it.
pub(crate) fn storage_id(kept: &Path) -> Result<Uuid, StepError> {
    let path = kept.join(FILE);
    if !is_there(&path)? {
        let _one_at_a_time = NamesLock::take(&kept.join(LOCK))?;
        // Another may have been faster: its name is the name.
        if !is_there(&path)? {
            clear_abandoned(kept)?;
            match name(kept, &path) {
                Ok(()) | Err(DraftError::Exists(_)) => {}
                Err(DraftError::Step(error)) => return Err(error),
            }
        }
    }
    let text = read(&path)?;
    let damaged = |_| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "it holds no UUID; put the line back that it had, which the broker shows for this host's data",
        )
    };
    text.trim().parse().map_err(damaged).step("read", &path)
}

fn is_there(path: &Path) -> Result<bool, StepError> {
    path.try_exists().step("look for", path)
}

fn name(kept: &Path, path: &Path) -> Result<(), DraftError> {
    let draft = Draft::create(path)?;
    let line = format!("{}\n", Uuid::new_v4());
    draft.file().write_all(line.as_bytes()).step("write", draft.path())?;
    draft.file().sync_all().step("sync", draft.path())?;
    draft.publish()?;
    Ok(sync_dir(kept)?)
}

fn read(path: &Path) -> Result<String, StepError> {
    let bytes = std::fs::read(path).step("read", path)?;
    let bytes = bytes.get(..bytes.len().min(MAX_BYTES)).unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sharing;

    #[test]
    fn whoever_comes_to_a_storage_reads_the_same_name() {
        let kept = tempfile::tempdir().unwrap();
        let open = || {
            let own = tempfile::tempdir().unwrap();
            Overlays::open_apart(own.path(), kept.path(), Sharing::Shared).unwrap().storage_id()
        };
        let names: Vec<Uuid> = std::thread::scope(|scope| {
            let hosts: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            hosts.into_iter().map(|host| host.join().unwrap()).collect()
        });
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        let other = tempfile::tempdir().unwrap();
        let other = Overlays::open(other.path()).unwrap();
        assert_ne!(other.storage_id(), names[0]);
        assert!(!other.is_shared());
    }

    #[test]
    fn a_name_that_is_damaged_is_not_replaced() {
        let kept = tempfile::tempdir().unwrap();
        for damage in ["", "nonsense\n", "\0\0"] {
            std::fs::write(kept.path().join(FILE), damage).unwrap();
            let error = storage_id(kept.path()).unwrap_err();
            assert!(error.to_string().contains(FILE), "{error}");
            assert_eq!(std::fs::read_to_string(kept.path().join(FILE)).unwrap(), damage);
        }
    }
}
