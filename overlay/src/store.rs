//! The overlay files of a host.
//!
//! ```text
//! persistent/NAME.ext4   kept until it is deleted by name
//! persistent/NAME.json   how it was made and how to mount it
//! volatile/NUMBER.ext4   of one desktop
//! templates/...          formatted files the others are copied from
//! ```
//!
//! The ext4 file is the overlay: with it, it exists; a record alone is the rest
//! of a making or a deletion that was cut short, and means nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use uuid::Uuid;

use crate::close::attached_files;
use crate::dir_lock::{DirLock, unlock};
use crate::draft::{Draft, DraftError, clear_abandoned, sync_dir};
use crate::name::OverlayName;
use crate::options::OverlayOptions;
use crate::overlay_file::{OverlayEntry, OverlayFile, OverlayKind, OverlayUsage, StoreError};
use crate::record::Record;
use crate::size::OverlaySize;
use crate::sparse_copy::copy_sparse;
use crate::step::{Step, StepError};
use crate::superblock::{Condition, Superblock};
use crate::template::template;

const PERSISTENT: &str = "persistent";
const VOLATILE: &str = "volatile";
const TEMPLATES: &str = "templates";

/// The overlay files of a host, in one directory.
#[derive(Debug)]
pub struct Overlays {
    dir: PathBuf,
}

// === impl Overlays ===

impl Overlays {
    /// Opens the directory, making what is missing and clearing what a crash
    /// left half-made.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        for name in [PERSISTENT, VOLATILE, TEMPLATES] {
            let dir = dir.join(name);
            drop(DirLock::create(&dir)?);
            let cleared = clear_abandoned(&dir)?;
            if cleared > 0 {
                tracing::info!(dir = %dir.display(), cleared, "cleared half-made files");
            }
        }
        // As the kernel names files that are attached.
        Ok(Self { dir: dir.canonicalize().step("resolve", dir)? })
    }

    /// Makes an overlay, or gives the persistent one of that name if there is
    /// one, whatever its size: it is never made anew.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Exists`] for a volatile overlay that
    /// is there, since it may hold what another user left.
    pub fn create(&self, kind: &OverlayKind, size: OverlaySize) -> Result<OverlayFile, StoreError> {
        let path = self.path(kind);
        if path.exists() {
            return match kind {
                OverlayKind::Persistent(_) => self.get(kind),
                OverlayKind::Volatile(_) => Err(StoreError::Exists(kind.clone())),
            };
        }
        let disk = statvfs(&self.dir).step("statvfs", &self.dir)?;
        let total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        if size.bytes() > total_bytes {
            return Err(StoreError::LargerThanDisk { size, total_bytes, dir: self.dir.clone() });
        }
        match self.make(kind, size, &path) {
            // Another caller was faster.
            Err(StoreError::Draft(DraftError::Exists(_))) => match kind {
                OverlayKind::Persistent(_) => self.get(kind),
                OverlayKind::Volatile(_) => Err(StoreError::Exists(kind.clone())),
            },
            Err(error) if error.is_no_space() => {
                Err(StoreError::NoSpace { dir: self.dir.clone(), source: Box::new(error) })
            }
            other => other,
        }
    }

    /// The overlay, if it exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Record`] if it is not known how
    /// the overlay was made, which guessing could harm.
    pub fn get(&self, kind: &OverlayKind) -> Result<OverlayFile, StoreError> {
        let path = self.path(kind);
        let size_bytes = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound(kind.clone()));
            }
            other => other.step("stat", &path)?.len(),
        };
        let options = match kind {
            OverlayKind::Volatile(_) => OverlayOptions::volatile(),
            OverlayKind::Persistent(_) => Record::read(&record_path(&path))?.options,
        };
        Ok(OverlayFile { kind: kind.clone(), path, size_bytes, options })
    }

    /// Deletes an overlay for good; whether there was one.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while it is open.
    pub fn delete(&self, kind: &OverlayKind) -> Result<bool, StoreError> {
        let path = self.path(kind);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.step("open", &path)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse(kind.clone())),
            other => other.step("lock", &path)?,
        }
        let removed = self.remove(kind, &path);
        unlock(&file);
        removed.map(|()| true)
    }

    fn remove(&self, kind: &OverlayKind, path: &Path) -> Result<(), StoreError> {
        let lock = self.persistent_lock(kind)?;
        remove(path)?;
        if let OverlayKind::Persistent(_) = kind {
            remove(&record_path(path))?;
            sync_dir(&self.dir.join(PERSISTENT))?;
        }
        drop(lock);
        Ok(())
    }

    /// All overlays, persistent ones first, by name and number.
    ///
    /// # Errors
    /// The directory could not be read. An overlay that goes away meanwhile is
    /// left out.
    pub fn list(&self) -> Result<Vec<OverlayEntry>, StoreError> {
        let attached = attached_files().step("list", Path::new("/sys/block"))?;
        let mut found = Vec::new();
        for sub in [PERSISTENT, VOLATILE] {
            let dir = self.dir.join(sub);
            for entry in std::fs::read_dir(&dir).step("list", &dir)? {
                let path = entry.step("list", &dir)?.path();
                let Some(kind) = kind_of(sub, &path) else {
                    continue;
                };
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                let Ok(usage) = usage_of(&file, &path) else {
                    continue;
                };
                found.push(OverlayEntry {
                    kind,
                    usage,
                    created_at: Record::read(&record_path(&path))
                        .ok()
                        .map(|record| UNIX_EPOCH + Duration::from_millis(record.created_at_ms)),
                    // Trying the lock would keep an opener out meanwhile.
                    in_use: attached.contains(path.as_os_str().as_encoded_bytes()),
                });
            }
        }
        found.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(found)
    }

    /// What an overlay takes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the step that failed.
    pub fn usage(&self, kind: &OverlayKind) -> Result<OverlayUsage, StoreError> {
        let path = self.path(kind);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NotFound(kind.clone()))
            }
            other => Ok(usage_of(&other.step("open", &path)?, &path)?),
        }
    }

    fn make(
        &self,
        kind: &OverlayKind,
        size: OverlaySize,
        path: &Path,
    ) -> Result<OverlayFile, StoreError> {
        let options = match kind {
            OverlayKind::Persistent(_) => OverlayOptions::kept(),
            OverlayKind::Volatile(_) => OverlayOptions::volatile(),
        };
        let templates = self.dir.join(TEMPLATES);
        let template = template(&templates, size, options.durability)?;
        let draft = Draft::create(path)?;
        copy_sparse(&template, draft.file()).step("copy template to", draft.path())?;
        let uuid = Uuid::new_v4();
        set_uuid(draft.file(), uuid)
            .step("write superblock of", draft.path())?
            .ok_or(StoreError::BadTemplate { size, dir: templates })?;
        match kind {
            OverlayKind::Volatile(_) => draft.publish()?,
            OverlayKind::Persistent(name) => {
                // Name before contents would be a damaged overlay after a crash.
                draft.file().sync_all().step("sync", draft.path())?;
                let lock = self.persistent_lock(kind)?;
                if path.exists() {
                    return self.get(kind);
                }
                Record::new(name.as_str(), size.bytes(), uuid, options, now_ms())
                    .write(&record_path(path))?;
                draft.publish()?;
                sync_dir(&self.dir.join(PERSISTENT))?;
                drop(lock);
            }
        }
        let (kind, path) = (kind.clone(), path.to_owned());
        Ok(OverlayFile { kind, path, size_bytes: size.bytes(), options })
    }

    /// Keeps file and record of persistent overlays in step.
    fn persistent_lock(&self, kind: &OverlayKind) -> Result<Option<DirLock>, StepError> {
        match kind {
            OverlayKind::Persistent(_) => DirLock::create(&self.dir.join(PERSISTENT)).map(Some),
            OverlayKind::Volatile(_) => Ok(None),
        }
    }

    fn path(&self, kind: &OverlayKind) -> PathBuf {
        match kind {
            OverlayKind::Persistent(name) => self.dir.join(PERSISTENT).join(format!("{name}.ext4")),
            OverlayKind::Volatile(number) => self.dir.join(VOLATILE).join(format!("{number}.ext4")),
        }
    }
}

fn record_path(overlay: &Path) -> PathBuf {
    overlay.with_extension("json")
}

fn kind_of(sub: &str, path: &Path) -> Option<OverlayKind> {
    let name = path.file_name()?.to_str()?.strip_suffix(".ext4")?;
    if sub == PERSISTENT {
        OverlayName::try_from(name).ok().map(OverlayKind::Persistent)
    } else {
        name.parse().ok().map(OverlayKind::Volatile)
    }
}

fn usage_of(file: &File, path: &Path) -> Result<OverlayUsage, StepError> {
    let found = file.metadata().step("stat", path)?;
    // Blocks are counted in units of 512 bytes, whatever the file system's.
    Ok(OverlayUsage { size_bytes: found.len(), allocated_bytes: found.blocks() * 512 })
}

/// `None` if the file is no clean copy of a template.
fn set_uuid(file: &File, uuid: Uuid) -> io::Result<Option<()>> {
    let length = file.metadata()?.len();
    let Some(mut block) = Superblock::read(file)? else {
        return Ok(None);
    };
    if block.condition(length) != Condition::Clean || !block.set_uuid(uuid) {
        return Ok(None);
    }
    block.write(file).map(Some)
}

fn remove(path: &Path) -> Result<(), StepError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.step("remove", path),
    }
}

fn now_ms() -> u64 {
    // A clock before 1970 is not worth a failure.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
