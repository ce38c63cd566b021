//! The overlay files of a host: making, finding and deleting them.
//!
//! The other calls on [`Overlays`] are in `grow`, `trim`, `check`, `snapshots`,
//! `copies` and `archive`; [`places`](crate::places) says what lies where.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::statvfs;
use uuid::Uuid;

use crate::close::attached_files;
use crate::deletion::remove;
use crate::dir_lock::DirLock;
use crate::draft::{Draft, DraftError, sync_dir};
use crate::lock::{Locked, NotLocked, lock};
use crate::names_lock::NamesLock;
use crate::options::{Durability, OverlayOptions};
use crate::overlay_file::{OverlayEntry, OverlayFile, OverlayKind};
use crate::places::{Places, VOLATILE, kind_name, kind_of, record};
use crate::record::Record;
use crate::sharing::Sharing;
use crate::size::OverlaySize;
use crate::sparse_copy::copy_sparse;
use crate::step::{Step, StepError};
use crate::store_error::StoreError;
use crate::superblock::{Condition, Superblock};
use crate::template::{Layout, template};
use crate::usage::{Mounted, usage_of};

/// The overlay files of a host.
#[derive(Debug)]
pub struct Overlays {
    pub(crate) places: Places,
    /// Kept overlays get multiple mount protection.
    pub(crate) shared: bool,
    pub(crate) storage_id: Uuid,
}

// === impl Overlays ===

impl Overlays {
    /// Opens the directory, making what is missing. What a crash left half-made
    /// is finished or cleared: files in the making, disks held still for a copy,
    /// deletions. What other processes work on is left alone.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Sharing::Detect)
    }

    /// [`open`](Self::open), for who knows whether other hosts reach the
    /// directory. It matters for kept overlays made from now on.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open_with(dir: &Path, sharing: Sharing) -> Result<Self, StoreError> {
        Self::open_apart(dir, dir, sharing)
    }

    /// [`open_with`](Self::open_with), with what is kept in a directory of its
    /// own, `kept`. Only that one may be reached by other hosts, whose volatile
    /// overlays could not be told from this one's.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open_apart(own: &Path, kept: &Path, sharing: Sharing) -> Result<Self, StoreError> {
        for dir in (Places { own: own.to_owned(), kept: kept.to_owned() }).all() {
            drop(DirLock::create(&dir)?);
        }
        // As the kernel names files that are attached.
        let resolved = |dir: &Path| dir.canonicalize().step("resolve", dir);
        let places = Places { own: resolved(own)?, kept: resolved(kept)? };
        crate::recovery::recover(&places)?;
        let shared = sharing.is_shared(&places.kept)?;
        let storage_id = crate::identity::storage_id(&places.kept)?;
        Ok(Self { places, shared, storage_id })
    }

    /// Opens `own` without what is kept, for a host whose kept overlays lie in a
    /// directory of their own that may not answer. What is frozen may be a kept
    /// one: [`open_apart`](Self::open_apart) thaws it. Only for calls about
    /// volatile overlays; it knows no others.
    ///
    /// # Errors
    /// The step that failed.
    pub fn open_own(own: &Path) -> Result<Self, StoreError> {
        let own = {
            let places = Places { own: own.to_owned(), kept: own.to_owned() };
            for dir in places.all_own() {
                drop(DirLock::create(&dir)?);
            }
            own.canonicalize().step("resolve", own)?
        };
        let places = Places { kept: own.clone(), own };
        crate::recovery::recover_own(&places)?;
        Ok(Self { places, shared: false, storage_id: Uuid::nil() })
    }

    /// Numbers of the desktops that have a volatile overlay, without looking
    /// into any.
    ///
    /// # Errors
    /// The directory could not be read.
    pub fn volatile_numbers(&self) -> Result<Vec<u32>, StoreError> {
        let dir = self.places.of(VOLATILE);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&dir).step("list", &dir)? {
            let path = entry.step("list", &dir)?.path();
            if let Some(OverlayKind::Volatile(number)) = kind_of(VOLATILE, &path) {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }

    /// Makes an overlay, or gives the kept one of that name if there is one,
    /// whatever its size: it is never made anew.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Exists`] for a volatile overlay that
    /// is there, since it may hold what another user left.
    pub fn create(&self, kind: &OverlayKind, size: OverlaySize) -> Result<OverlayFile, StoreError> {
        let path = self.places.overlay(kind);
        let present = || match kind {
            OverlayKind::Persistent(_) | OverlayKind::Home(_) => self.get(kind),
            OverlayKind::Volatile(_) => Err(StoreError::Exists(kind.clone())),
        };
        if path.exists() {
            return present();
        }
        self.check_fits_disk(kind, size)?;
        match self.make(kind, size, &path) {
            // Another caller was faster.
            Err(StoreError::Draft(DraftError::Exists(_))) => present(),
            other => other.map_err(|error| self.or_no_space(kind, error)),
        }
    }

    /// Refuses a size that could never be filled.
    pub(crate) fn check_fits_disk(
        &self,
        kind: &OverlayKind,
        size: OverlaySize,
    ) -> Result<(), StoreError> {
        let dir = self.places.kind_dir(kind);
        let disk = statvfs(&dir).step("statvfs", &dir)?;
        let total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        if size.bytes() > total_bytes {
            return Err(StoreError::LargerThanDisk { size, total_bytes, dir });
        }
        Ok(())
    }

    /// Says "disk full" plainly, wherever it was found out.
    pub(crate) fn or_no_space(&self, kind: &OverlayKind, error: StoreError) -> StoreError {
        if error.is_no_space() {
            StoreError::NoSpace { dir: self.places.kind_dir(kind), source: Box::new(error) }
        } else {
            error
        }
    }

    /// The overlay, if it exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Record`] if it is not known how
    /// the overlay was made, which guessing could harm.
    pub fn get(&self, kind: &OverlayKind) -> Result<OverlayFile, StoreError> {
        let path = self.places.overlay(kind);
        let size_bytes = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound(kind.clone()));
            }
            other => other.step("stat", &path)?.len(),
        };
        let options = match kind {
            OverlayKind::Volatile(_) => OverlayOptions::volatile(),
            OverlayKind::Persistent(_) | OverlayKind::Home(_) => {
                Record::read(&record(&path))?.options
            }
        };
        Ok(OverlayFile { kind: kind.clone(), path, size_bytes, options })
    }

    /// Locks the file of an overlay that is not in use.
    pub(crate) fn lock(&self, kind: &OverlayKind) -> Result<Locked, StoreError> {
        lock(&self.places.overlay(kind)).map_err(|error| match error {
            NotLocked::Missing => StoreError::NotFound(kind.clone()),
            NotLocked::InUse => StoreError::InUse(kind.clone()),
            NotLocked::Step(error) => error.into(),
        })
    }

    /// All overlays: persistent ones, homes, volatile ones, by name and number.
    ///
    /// # Errors
    /// The directory could not be read. An overlay that goes away meanwhile is
    /// left out.
    pub fn list(&self) -> Result<Vec<OverlayEntry>, StoreError> {
        let attached = attached_files().step("list", Path::new("/sys/block"))?;
        let mounted = Mounted::read()?;
        let mut found = Vec::new();
        for sub in Places::KINDS {
            let dir = self.places.of(sub);
            for entry in std::fs::read_dir(&dir).step("list", &dir)? {
                let path = entry.step("list", &dir)?.path();
                let Some(kind) = kind_of(sub, &path) else {
                    continue;
                };
                let Ok(file) = File::open(&path) else {
                    continue;
                };
                // Trying the lock would keep an opener out meanwhile.
                let device = attached.get(path.as_os_str().as_encoded_bytes()).copied();
                let Ok(usage) = usage_of(&file, &path, device, &mounted) else {
                    continue;
                };
                let created_at =
                    Record::read(&record(&path)).ok().map(|record| at_ms(record.created_at_ms));
                found.push(OverlayEntry { kind, usage, created_at, in_use: device.is_some() });
            }
        }
        found.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(found)
    }

    fn make(
        &self,
        kind: &OverlayKind,
        size: OverlaySize,
        path: &Path,
    ) -> Result<OverlayFile, StoreError> {
        let options = match kind {
            OverlayKind::Persistent(_) | OverlayKind::Home(_) => OverlayOptions::kept(),
            OverlayKind::Volatile(_) => OverlayOptions::volatile(),
        };
        let templates = self.places.templates();
        let layout = match options.durability {
            Durability::Volatile => Layout::Plain,
            Durability::Kept if self.shared => Layout::SharedJournal,
            Durability::Kept => Layout::Journal,
        };
        let template = template(&templates, size, layout)?;
        let draft = Draft::create(path)?;
        copy_sparse(&template, draft.file()).step("copy template to", draft.path())?;
        let uuid = Uuid::new_v4();
        set_uuid(draft.file(), uuid)
            .step("write superblock of", draft.path())?
            .ok_or(StoreError::BadTemplate { size, dir: templates })?;
        self.publish_overlay(kind, draft, uuid, options)
    }

    /// Gives a new overlay its name; kept ones durably and with a record.
    pub(crate) fn publish_overlay(
        &self,
        kind: &OverlayKind,
        draft: Draft,
        uuid: Uuid,
        options: OverlayOptions,
    ) -> Result<OverlayFile, StoreError> {
        let path = self.places.overlay(kind);
        let size_bytes = draft.file().metadata().step("stat", draft.path())?.len();
        match kind.kept_name() {
            None => draft.publish()?,
            Some(name) => {
                // Name before contents would be a damaged overlay after a crash.
                draft.file().sync_all().step("sync", draft.path())?;
                let lock = self.kind_lock(kind)?;
                if path.exists() {
                    return Err(DraftError::Exists(path).into());
                }
                let mark = self.places.making(kind, name);
                File::create(&mark).step("create", &mark)?;
                let named = Record::new(name.as_str(), size_bytes, uuid, options, now_ms())
                    .write(&record(&path))
                    .map_err(StoreError::from)
                    .and_then(|()| Ok(draft.publish()?));
                finish_making(&path, &mark)?;
                named?;
                sync_dir(&self.places.kind_dir(kind))?;
                drop(lock);
            }
        }
        Ok(OverlayFile { kind: kind.clone(), path, size_bytes, options })
    }

    /// Keeps names, records and snapshots of one kind of kept overlays in step.
    /// Held for moments, never while something is copied.
    pub(crate) fn kind_lock(&self, kind: &OverlayKind) -> Result<NamesLock, StepError> {
        NamesLock::take(&self.places.names_lock(kind_name(kind)))
    }
}

/// `None` if the file is no clean copy of a template.
pub(crate) fn set_uuid(file: &File, uuid: Uuid) -> io::Result<Option<()>> {
    let length = file.metadata()?.len();
    let Some(mut block) = Superblock::read(file)? else {
        return Ok(None);
    };
    if block.condition(length) != Condition::Clean || !block.set_uuid(uuid) {
        return Ok(None);
    }
    block.write(file).map(Some)
}

/// Takes the mark of a making away, and a record that has come to no file. An
/// operator's record, whose file is elsewhere for a while, has no mark. The
/// caller holds the lock of the kind.
pub(crate) fn finish_making(path: &Path, mark: &Path) -> Result<(), StepError> {
    if !path.exists() {
        remove(&record(path))?;
    }
    remove(mark)
}

pub(crate) fn now_ms() -> u64 {
    // A clock before 1970 is not worth a failure.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time of a record; one beyond all times is the end of them.
pub(crate) fn at_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}
