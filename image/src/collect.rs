//! Removing versions, so that nobody is ever met by half of one.
//!
//! A version is first hidden, by a rename to a name that no reader looks at.
//! Who had opened it goes on; nobody new finds it. Then its users are asked for
//! once more: if there is one, it comes back. Only then is it renamed for good,
//! and removed. A process that is killed on the way leaves a hidden version,
//! which the next collection brings back and decides about anew, or remains
//! that it removes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::gc::{Candidate, Policy, Uses, Verdict, decide};
use crate::listing::{Broken, Listed};
use crate::lock::{self, Sharing};
use crate::name::{ImageName, VersionId};
use crate::publish::{HALF_MADE, LOCK, sync};
use crate::store::{ImageStore, Published, StoreError, VERSIONS, io_error};

const HIDDEN: &str = ".hidden-";
const DEAD: &str = ".dead-";

/// What there is to know of a version before it is decided about, and the verdict.
#[derive(Debug)]
pub struct Judged {
    /// The version.
    pub published: Published,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// What a collection would do.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Every version, by image and age.
    pub versions: Vec<Judged>,
    /// Remains of interrupted calls.
    pub drafts: Vec<PathBuf>,
    /// Images in which something is being published: their remains may live.
    pub busy: Vec<ImageName>,
    /// What is there and cannot be used; it stays, for a person to look at.
    pub broken: Vec<Broken>,
}

/// A version out of everybody's sight; it comes back unless it is destroyed.
#[derive(Debug)]
pub struct Hidden<'s> {
    store: &'s ImageStore,
    name: ImageName,
    version: VersionId,
}

// === impl ImageStore ===

impl ImageStore {
    /// What hosts have noted in the store, but for the forgotten ones.
    pub fn noted_uses(&self, forgotten: &[String]) -> Result<Uses, StoreError> {
        let mut uses = Uses::default();
        for holder in self.holders()? {
            if !forgotten.contains(&holder.host) {
                uses.add(holder.image, holder.version, format!("host {}", holder.host));
            }
        }
        Ok(uses)
    }

    /// Decides about every version; changes nothing.
    pub fn judge(
        &self,
        uses: &Uses,
        policy: Policy,
        now: SystemTime,
    ) -> Result<Judgement, StoreError> {
        let listing = self.list()?;
        let candidate = |listed: &Listed| Candidate {
            name: listed.published.name.clone(),
            version: listed.published.version.clone(),
            tags: listed.tags.clone(),
            retired: listed.retired.is_some(),
            published_at: listed.published.manifest.published_at,
        };
        let candidates: Vec<Candidate> = listing.versions.iter().map(candidate).collect();
        let verdicts = decide(&candidates, uses, policy, now);
        let versions = listing.versions.into_iter().zip(verdicts);
        let mut judgement = Judgement {
            versions: versions
                .map(|(listed, verdict)| Judged { published: listed.published, verdict })
                .collect(),
            broken: listing.broken,
            ..Judgement::default()
        };
        for name in self.images()? {
            match self.drafts(&name)? {
                Some(drafts) => judgement.drafts.extend(drafts),
                None => judgement.busy.push(name),
            }
        }
        Ok(judgement)
    }

    /// Brings back what an interrupted collection hid, and says what that was.
    pub fn bring_back(&self) -> Result<Vec<(ImageName, VersionId)>, StoreError> {
        let mut back = Vec::new();
        for name in self.images()? {
            let _lock = self.lock(&name)?;
            for entry in remains(&self.versions_dir(&name), &[HIDDEN])? {
                let text = entry.to_string_lossy();
                let Some(Ok(version)) = text.strip_prefix(HIDDEN).map(str::parse::<VersionId>)
                else {
                    continue;
                };
                self.move_version(&name, HIDDEN, "", &version)?;
                back.push((name.clone(), version));
            }
        }
        Ok(back)
    }

    /// Hides a version that nothing points at and no host has noted.
    ///
    /// # Errors
    /// [`StoreError::Tagged`] or [`StoreError::InUse`] if that has changed.
    pub fn hide(
        &self,
        name: &ImageName,
        version: &VersionId,
        forgotten: &[String],
    ) -> Result<Hidden<'_>, StoreError> {
        let _lock = self.lock(name)?;
        self.version(name, version)?;
        let tags = self.tags_of(name, version)?;
        if !tags.is_empty() {
            return Err(StoreError::Tagged { name: name.clone(), version: version.clone(), tags });
        }
        let users = self.noted_uses(forgotten)?.of(name, version);
        if !users.is_empty() {
            return Err(StoreError::InUse { name: name.clone(), version: version.clone(), users });
        }
        self.move_version(name, "", HIDDEN, version)?;
        Ok(Hidden { store: self, name: name.clone(), version: version.clone() })
    }

    /// Removes the remains of interrupted calls, and says which.
    pub fn remove_drafts(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut removed = Vec::new();
        for name in self.images()? {
            let Some(_lock) = self.attempt(&name)? else { continue };
            let versions = self.versions_dir(&name);
            for entry in remains(&versions, &[HALF_MADE, DEAD])? {
                let path = versions.join(entry);
                remove(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// What is left of interrupted calls; `None` while something is being published.
    fn drafts(&self, name: &ImageName) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let Some(_lock) = self.attempt(name)? else { return Ok(None) };
        let versions = self.versions_dir(name);
        let remains = remains(&versions, &[HALF_MADE, DEAD])?;
        Ok(Some(remains.into_iter().map(|entry| versions.join(entry)).collect()))
    }

    fn attempt(&self, name: &ImageName) -> Result<Option<fs::File>, StoreError> {
        let path = self.path.join(name).join(LOCK);
        let file = lock::open(&path).map_err(io_error("open", &path))?;
        let free = lock::attempt(&file, Sharing::Exclusive).map_err(io_error("lock", &path))?;
        Ok(free.then_some(file))
    }

    fn versions_dir(&self, name: &ImageName) -> PathBuf {
        self.path.join(name).join(VERSIONS)
    }

    fn move_version(
        &self,
        name: &ImageName,
        from: &str,
        to: &str,
        version: &VersionId,
    ) -> Result<PathBuf, StoreError> {
        let dir = self.versions_dir(name);
        let (from, to) = (dir.join(format!("{from}{version}")), dir.join(format!("{to}{version}")));
        fs::rename(&from, &to).map_err(io_error("rename", &from))?;
        sync(&dir)?;
        Ok(to)
    }
}

// === impl Hidden ===

impl Hidden<'_> {
    /// Shows it again.
    pub fn restore(self) -> Result<(), StoreError> {
        let _lock = self.store.lock(&self.name)?;
        self.store.move_version(&self.name, HIDDEN, "", &self.version).map(|_| ())
    }

    /// Removes it for good.
    pub fn destroy(self) -> Result<(), StoreError> {
        let _lock = self.store.lock(&self.name)?;
        let path = self.store.move_version(&self.name, HIDDEN, DEAD, &self.version)?;
        remove(&path)?;
        self.store.forget_retirement(&self.name, &self.version).map(|_| ())
    }
}

/// Names that begin in one of these ways, in order.
fn remains(dir: &Path, beginnings: &[&str]) -> Result<Vec<OsString>, StoreError> {
    let entries = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(io_error("list", dir))?,
    };
    let ours = |name: &OsString| {
        beginnings.iter().any(|begin| name.as_bytes().starts_with(begin.as_bytes()))
    };
    let mut names: Vec<OsString> =
        entries.iter().map(fs::DirEntry::file_name).filter(ours).collect();
    names.sort();
    Ok(names)
}

/// The directory of a version is sealed: nobody but root may remove from it.
fn remove(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::remove_dir_all(path))
        .map_err(io_error("remove", path))
}

#[cfg(test)]
mod tests;
