//! Finding the roots that a process opened which is no more.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::close::{LOOP_MAJOR, backing_file};
use crate::layout::{DISK, LOWER, ROOT};
use crate::mountinfo::{Mount, MountInfoError, mounts_below};
use crate::step::{Step, StepError};

/// Why the open roots could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The mount table could not be read.
    #[error(transparent)]
    MountInfo(#[from] MountInfoError),
    /// The directory could not be resolved.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// A root that is open, or was when a process died on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRoot {
    /// What to give to [`close_root`](crate::close_root()).
    pub mount_dir: PathBuf,
    /// The joined root, if it came that far.
    pub root: Option<PathBuf>,
    /// The overlay file and N of its /dev/loopN, if it came that far.
    pub overlay: Option<(PathBuf, u32)>,
}

/// The roots whose directories lie directly in `dir`.
///
/// # Errors
/// See [`FindError`].
pub fn find_roots(dir: &Path) -> Result<Vec<FoundRoot>, FindError> {
    let dir = dir.canonicalize().step("resolve", dir)?;
    Ok(collect(&dir, &mounts_below(&dir)?))
}

fn collect(dir: &Path, mounts: &[Mount]) -> Vec<FoundRoot> {
    let mut found = std::collections::BTreeMap::new();
    for mount in mounts {
        let (Some(mount_dir), Some(name)) =
            (mount.mount_point.parent(), mount.mount_point.file_name())
        else {
            continue;
        };
        if mount_dir.parent() != Some(dir) || ![LOWER, DISK, ROOT].iter().any(|part| name == *part)
        {
            continue;
        }
        let entry = found.entry(mount_dir).or_insert_with(|| FoundRoot {
            mount_dir: mount_dir.to_owned(),
            root: None,
            overlay: None,
        });
        if name == ROOT {
            entry.root = Some(mount.mount_point.clone());
        }
        if name == DISK && mount.device.0 == LOOP_MAJOR {
            let file = backing_file(mount.device.1);
            entry.overlay =
                file.map(|path| (PathBuf::from(OsString::from_vec(path)), mount.device.1));
        }
    }
    found.into_values().collect()
}
