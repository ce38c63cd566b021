//! Base roots that were found to be what was asked for.
//!
//! What a mount is made from is told by the mount table alone, and to read that
//! takes the longer the more desktops there are: 11 ms with a thousand. So it
//! is read once for each mount, whose number the kernel never gives twice.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;

use super::BaseSource;
use crate::name::BaseKey;

/// `STATX_MNT_ID_UNIQUE`, since Linux 6.8; rustix has no name for it.
const MOUNT_NUMBER: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What was seen, by key.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeMap<BaseKey, Sight>>);

/// A mount, and what it was compared with: another file at the same path is
/// another source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    mount: u64,
    source: BaseSource,
    file: Option<(u64, u64)>,
}

// === impl Known ===

impl Known {
    pub(super) fn is(&self, key: &BaseKey, sight: &Sight) -> bool {
        self.lock().get(key) == Some(sight)
    }

    pub(super) fn note(&self, key: &BaseKey, sight: Sight) {
        self.lock().insert(key.clone(), sight);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BaseKey, Sight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sight ===

impl Sight {
    /// `None` where kernel or source cannot say: the table has to be read then.
    pub(super) fn of(point: &Path, source: &BaseSource) -> Result<Option<Self>, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let found = statx(CWD, point, flags, MOUNT_NUMBER)?;
        if found.stx_mask & MOUNT_NUMBER.bits() == 0 {
            return Ok(None);
        }
        let file = match source {
            BaseSource::Directory(path) | BaseSource::Erofs(path) => match path.metadata() {
                Ok(found) => Some((found.dev(), found.ino())),
                Err(_) => return Ok(None),
            },
            BaseSource::Nfs(_) => None,
        };
        Ok(Some(Self { mount: found.stx_mnt_id, source: source.clone(), file }))
    }
}
