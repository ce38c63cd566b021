//! An image store on an NFS export. It is mounted twice: once for tags and
//! manifests, of which nothing is believed for long, and once for the versions,
//! of which everything is, because they never change. Both mounts stay when the
//! agent ends, and the next one finds them by their names.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rolltop_image::{ImageRef, Listed, Manifest, Published, Root};
use rolltop_overlay::{BaseKey, BaseRoots, OverlayFile, nfs::NfsUrl};
use uuid::Uuid;

use super::{
    Listing, StorageError,
    pool::{Pool, Program},
    protocol::{Done, Export, Map, Opening, Place, Task, Version},
};
use crate::{
    config::{Config, NfsConfig, StoreLocation},
    paths::Paths,
};

/// The agent's own program, also after it was replaced by a newer one: both
/// ends must speak the same language.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Its hidden subcommand.
pub(crate) const HELPER: &str = "storage-helper";

/// In front of the keys of the mounts.
const NAMES: &str = "names-";
const VERSIONS: &str = "versions-";

/// One store.
#[derive(Debug)]
pub(super) struct NfsStore {
    export: Export,
    /// Where the versions are, as soon as they are mounted.
    versions: PathBuf,
    bases: PathBuf,
    pool: Pool,
    give_up: Duration,
    /// Since when it has not answered.
    silent: Mutex<Option<Instant>>,
}

// === impl NfsStore ===

impl NfsStore {
    /// Mounts nothing yet.
    pub(super) fn new(
        url: &NfsUrl,
        config: &NfsConfig,
        paths: &Paths,
    ) -> Result<Self, StorageError> {
        let exports = BaseRoots::open(&paths.exports())?;
        let export = export(url, config, paths);
        let versions = BaseKey::try_from(export.versions.as_str()).map_err(|error| {
            StorageError::Nonsense { server: url.to_string(), what: error.to_string() }
        })?;
        Ok(Self {
            versions: exports.point(&versions),
            export,
            bases: paths.bases(),
            pool: pool(url.host().to_string(), config),
            give_up: config.give_up,
            silent: Mutex::default(),
        })
    }

    pub(super) fn resolve(&self, image: &ImageRef) -> Result<(Published, u32), StorageError> {
        let task = Task::Resolve { export: self.export.clone(), image: image.to_string() };
        match self.call(&task)? {
            Done::Resolved(version) => Ok((self.published(&version)?, version.owner)),
            other => Err(self.nonsense(&other)),
        }
    }

    pub(super) fn list(&self) -> Result<Listing, StorageError> {
        let task = Task::List { export: self.export.clone() };
        let (versions, broken) = match self.call(&task)? {
            Done::Listed(versions, broken) => (versions, broken),
            other => return Err(self.nonsense(&other)),
        };
        let listed = |version: &Version| {
            let tags = version.tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>();
            let tags = tags.map_err(|error| self.no_sense(format!("{error}")))?;
            // The helper leaves retired ones out.
            Ok(Listed { published: self.published(version)?, tags, retired: None })
        };
        let versions = versions.iter().map(listed).collect::<Result<_, StorageError>>()?;
        Ok(Listing { versions, broken })
    }

    /// The mount of a base root, and whether it can be ID-mapped, if that is to
    /// be tried.
    pub(super) fn mount(
        &self,
        key: &BaseKey,
        root: &Root,
        try_ids: bool,
    ) -> Result<(PathBuf, Option<bool>), StorageError> {
        let inner = |path: &Path| {
            let inner = path.strip_prefix(&self.versions);
            inner.map(Path::to_owned).map_err(|error| self.no_sense(error.to_string()))
        };
        let root = match root {
            Root::Erofs(path) => Place::Erofs(inner(path)?),
            Root::Directory(path) => Place::Directory(inner(path)?),
        };
        let (export, bases) = (self.export.clone(), self.bases.clone());
        let task = Task::Mount { export, bases, key: key.to_string(), root, try_ids };
        match self.call(&task)? {
            Done::Mounted(path, mappable) => Ok((path, mappable)),
            other => Err(self.nonsense(&other)),
        }
    }

    pub(super) fn open_root(
        &self,
        lower: PathBuf,
        overlay: &OverlayFile,
        mount_dir: PathBuf,
        map: Option<Map>,
        watch: Duration,
    ) -> Result<PathBuf, StorageError> {
        let opening = Opening { lower, overlay: overlay.clone(), mount_dir, map, watch };
        match self.call(&Task::Open(Box::new(opening)))? {
            Done::Opened(root) => Ok(root),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Gives an error to whatever waits for the server, if that has been silent
    /// for so long that it is taken for gone; whether it was.
    pub(super) fn let_go(&self) -> bool {
        let probed = self.call(&Task::Probe { export: self.export.clone() });
        let since = *self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = since.filter(|since| since.elapsed() >= self.give_up) else {
            return false;
        };
        let url = &self.export.url;
        tracing::warn!(url, silent_for = ?since.elapsed(), ?probed, "giving up on the server");
        let given_up = self.pool.call(&Task::GiveUp { export: self.export.clone() });
        if let Err(error) = &given_up {
            let error = crate::desktop::sentence(error);
            tracing::warn!(url, error, "what waits for the server goes on waiting");
        }
        given_up.is_ok()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn call(&self, task: &Task) -> Result<Done, StorageError> {
        let outcome = self.pool.call(task);
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Err(error) if error.is_unreachable() => {
                silent.get_or_insert_with(Instant::now);
            }
            Ok(_) | Err(_) => *silent = None,
        }
        drop(silent);
        outcome
    }

    pub(super) fn close(&self) {
        let stuck = self.pool.stuck();
        if stuck > 0 {
            tracing::warn!(url = self.export.url, stuck, "helpers still wait for the server");
        }
        self.pool.close();
    }

    /// What tells it from other stores.
    pub(super) fn id(&self) -> &str {
        self.export.versions.trim_start_matches(VERSIONS)
    }

    /// Whether the mount `key` is one of this store's.
    pub(super) fn has(&self, key: &BaseKey) -> bool {
        [&self.export.names, &self.export.versions].contains(&&key.to_string())
    }

    /// Unmounts an export, of this store or another, if nothing uses it.
    pub(super) fn unmount(&self, key: &BaseKey) -> Result<(), StorageError> {
        let task = Task::Unmount { dir: self.export.dir.clone(), key: key.to_string() };
        self.call(&task).map(drop)
    }

    fn published(&self, version: &Version) -> Result<Published, StorageError> {
        let no_sense = |error: String| self.no_sense(error);
        let manifest = Manifest::parse(&version.manifest);
        Ok(Published {
            name: version.name.parse().map_err(|e| no_sense(format!("{e}")))?,
            version: version.version.parse().map_err(|e| no_sense(format!("{e}")))?,
            manifest: manifest.map_err(|e| no_sense(format!("{e}")))?,
            root: match &version.root {
                Place::Erofs(inner) => Root::Erofs(self.versions.join(inner)),
                Place::Directory(inner) => Root::Directory(self.versions.join(inner)),
            },
        })
    }

    fn nonsense(&self, done: &Done) -> StorageError {
        self.no_sense(format!("{done:?}"))
    }

    fn no_sense(&self, what: String) -> StorageError {
        StorageError::Nonsense { server: self.export.url.clone(), what }
    }
}

/// Unmounts every base root and export there is, those of servers that are gone
/// too. What could not be taken away is told.
pub fn take_away(config: &Config, paths: &Paths) -> Vec<StorageError> {
    let mut errors = Vec::new();
    let mut exports = None;
    if paths.exports().exists() {
        match BaseRoots::open(&paths.exports()) {
            Ok(roots) => exports = Some(roots),
            Err(error) => return vec![error.into()],
        }
    }
    let bases = match BaseRoots::open(&paths.bases()) {
        Ok(bases) => bases,
        Err(error) => return vec![error.into()],
    };
    if let Some(exports) = &exports {
        let pool = pool(servers(config), &config.nfs);
        for (dir, roots) in [(paths.bases(), &bases), (paths.exports(), exports)] {
            match roots.mounted() {
                Ok(keys) => {
                    errors.extend(keys.iter().filter_map(|key| unmount(&pool, &dir, key).err()))
                }
                Err(error) => errors.push(error.into()),
            }
        }
    }
    if errors.is_empty() {
        // The isolation of the directories, and whatever is local.
        let all = [Some(bases), exports].into_iter().flatten();
        errors.extend(all.flat_map(|roots| roots.unmount_all()).map(Into::into));
    }
    errors
}

/// What is in the store at `url`, mounted for this one look.
///
/// # Errors
/// It cannot be had.
pub fn look_at_store(url: &NfsUrl, config: &Config) -> Result<Listing, StorageError> {
    let helper = |source| StorageError::Helper { server: url.host().to_string(), source };
    let dir = tempfile::Builder::new().prefix("rolltop-look-").tempdir().map_err(helper)?;
    let paths = Paths::new(dir.path(), dir.path(), &config.cgroup_parent);
    let store = NfsStore::new(url, &config.nfs, &paths)?;
    let listing = store.list();
    store.close();
    for error in take_away(config, &paths) {
        tracing::warn!(error = %crate::desktop::sentence(&error), "a mount stays");
    }
    listing
}

/// In peace if possible, otherwise by force.
fn unmount(pool: &Pool, dir: &Path, key: &BaseKey) -> Result<(), StorageError> {
    let (dir, key) = (dir.to_owned(), key.to_string());
    let asked = pool.call(&Task::Unmount { dir: dir.clone(), key: key.clone() });
    if let Err(error) = asked {
        let error = crate::desktop::sentence(&error);
        tracing::warn!(key, error, "does not unmount; by force then");
        pool.call(&Task::Abandon { dir, key })?;
    }
    Ok(())
}

fn pool(server: String, config: &NfsConfig) -> Pool {
    let program = Program { path: THIS_PROGRAM.into(), arguments: vec![HELPER.to_owned()] };
    Pool::new(server, program, config.helpers, config.deadline)
}

fn servers(config: &Config) -> String {
    let host = |location: &StoreLocation| match location {
        StoreLocation::Nfs(url) => Some(url.host().to_string()),
        StoreLocation::Directory(_) => None,
    };
    let hosts: Vec<_> = config.images.iter().filter_map(host).collect();
    if hosts.is_empty() { "of an earlier configuration".to_owned() } else { hosts.join(", ") }
}

/// The same configuration has the same mounts, another one has others: what is
/// mounted never contradicts what is written.
fn export(url: &NfsUrl, config: &NfsConfig, paths: &Paths) -> Export {
    let (url, options) = (url.to_string(), config.given.clone());
    let all = format!("{url} {}", options.join(","));
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, all.as_bytes()).simple();
    let (names, versions) = (format!("{NAMES}{id}"), format!("{VERSIONS}{id}"));
    Export { url, options, dir: paths.exports(), names, versions }
}
