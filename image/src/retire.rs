//! Retiring versions: what runs of one goes on, nothing new begins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::fields::{Faults, Section, text};
use crate::inside;
use crate::manifest::{MAX_UNIX_SECONDS, is_description};
use crate::name::{ImageName, Tag, VersionId};
use crate::publish::{HALF_MADE, sync};
use crate::store::{ImageStore, StoreError, TAGS, io_error};

pub(crate) const RETIRED: &str = "retired";
const MAX_BYTES: u64 = 4096;

/// That a version is retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// Since when; whole seconds.
    pub at: SystemTime,
    /// One line for people; may be empty.
    pub reason: String,
}

// === impl ImageStore ===

impl ImageStore {
    /// Retires a version: [`ImageStore::resolve`] gives it no more. Refused
    /// while tags point at it; fine if it is retired already.
    pub fn retire(
        &self,
        name: &ImageName,
        version: &VersionId,
        reason: &str,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.version(name, version)?;
        let _lock = self.lock(name)?;
        self.version(name, version)?;
        if self.retirement(name, version)?.is_some() {
            return Ok(());
        }
        let tags = self.tags_of(name, version)?;
        if !tags.is_empty() {
            let (name, version) = (name.clone(), version.clone());
            return Err(StoreError::Tagged { name, version, tags });
        }
        let dir = self.retired_dir(name);
        fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
        let half_made = dir.join(HALF_MADE);
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let document = toml::Table::from_iter([
            ("retired_at".to_owned(), toml::Value::Integer(seconds.cast_signed())),
            ("reason".to_owned(), toml::Value::String(one_line(reason))),
        ]);
        File::create(&half_made)
            .and_then(|mut file| {
                file.write_all(document.to_string().as_bytes())?;
                file.sync_all()
            })
            .map_err(io_error("write", &half_made))?;
        fs::rename(&half_made, dir.join(version)).map_err(io_error("write", dir.join(version)))?;
        sync(&dir)
    }

    /// Takes a retirement back; `false` if there was none.
    pub fn reinstate(&self, name: &ImageName, version: &VersionId) -> Result<bool, StoreError> {
        self.version(name, version)?;
        let _lock = self.lock(name)?;
        self.forget_retirement(name, version)
    }

    /// Whether and since when a version is retired.
    pub fn retirement(
        &self,
        name: &ImageName,
        version: &VersionId,
    ) -> Result<Option<Retirement>, StoreError> {
        let inner = PathBuf::from(name.as_str()).join(RETIRED).join(version);
        let path = self.path.join(&inner);
        let read = inside::open_beneath(&self.dir, &inner, OFlags::RDONLY | OFlags::NONBLOCK)
            .and_then(|file| inside::read_text(file, MAX_BYTES));
        match read {
            Ok(document) => {
                parse(&document).map(Some).map_err(|source| StoreError::Manifest { path, source })
            }
            Err(e) if inside::is_absent(&e) => Ok(None),
            Err(e) => Err(io_error("read", path)(e)),
        }
    }

    /// Removes a tag; `false` if there was none.
    pub fn untag(&self, name: &ImageName, tag: &Tag) -> Result<bool, StoreError> {
        let _lock = self.lock(name)?;
        let tags = self.path.join(name).join(TAGS);
        removed(&tags.join(tag))?.then(|| sync(&tags)).transpose().map(|done| done.is_some())
    }

    /// The tags that point at a version.
    pub fn tags_of(&self, name: &ImageName, version: &VersionId) -> Result<Vec<Tag>, StoreError> {
        let dir = self.path.join(name).join(TAGS);
        let entries = match fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(io_error("list", &dir))?,
        };
        let mut tags: Vec<Tag> = entries
            .iter()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            // A tag that cannot be read points at no version.
            .filter(|tag| self.tagged(name, tag).is_ok_and(|target| target == *version))
            .collect();
        tags.sort();
        Ok(tags)
    }

    pub(crate) fn forget_retirement(
        &self,
        name: &ImageName,
        version: &VersionId,
    ) -> Result<bool, StoreError> {
        let dir = self.retired_dir(name);
        removed(&dir.join(version))?.then(|| sync(&dir)).transpose().map(|done| done.is_some())
    }

    fn retired_dir(&self, name: &ImageName) -> PathBuf {
        self.path.join(name).join(RETIRED)
    }
}

/// What a reader of the file will take.
fn one_line(reason: &str) -> String {
    let text: String =
        reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    text.trim().to_owned()
}

fn removed(path: &std::path::Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error("remove", path)(e)),
    }
}

fn parse(document: &str) -> Result<Retirement, crate::fields::DocumentError> {
    let faults = Faults::default();
    let mut top = Section::document(document, &faults)?;
    let at = top.required("retired_at", "seconds since 1970", |v| {
        let seconds = v.as_integer().and_then(|s| u64::try_from(s).ok());
        let valid = seconds.filter(|&s| s <= MAX_UNIX_SECONDS);
        valid
            .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds))
            .ok_or_else(|| "seconds since 1970, as a whole number".to_owned())
    });
    let expected = "one line of at most 500 bytes; may be empty";
    let reason =
        top.required("reason", expected, |v| text(v, expected, is_description).map(str::to_owned));
    top.finish();
    match (at, reason) {
        (Some(at), Some(reason)) if faults.is_empty() => Ok(Retirement { at, reason }),
        _ => Err(faults.into_error()),
    }
}
