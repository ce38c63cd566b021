//! Where images come from and how desktops' roots are made of them: local
//! stores by the agent itself, stores on NFS by helpers, because nothing in the
//! agent may ever wait for a server that is gone.

mod fault;
pub mod helper;
mod identity;
mod in_use;
mod nfs;
mod pool;
mod protocol;

use std::{
    collections::HashMap,
    io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rolltop_image::{
    HostName, ImageName, ImageRef, ImageStore, Listed, Published, Root, StoreError,
};
use rolltop_overlay::{
    BaseKey, BaseRoots, BaseSource, IdMap, OpenPlan, OverlayFile, open_root, open_shifted_root,
};

pub use self::{
    fault::{Fault, FaultKind, StorageError},
    identity::{BaseFacts, IdentityError, IdentityMaps, Ids, IdsKind, UnmappedHomes, choose},
    in_use::Used,
    nfs::{look_at_store, take_away},
};
use uuid::Uuid;

use self::{nfs::NfsStore, protocol::Map};
use crate::{
    config::{Config, StoreLocation},
    paths::Paths,
};

/// The image stores and the base roots mounted from them. All calls block; those
/// on a store on NFS for its deadline at most.
#[derive(Debug)]
pub struct Storage {
    /// By which uses are noted.
    host: HostName,
    stores: Vec<Store>,
    bases: BaseRoots,
    /// Which of the mounted base roots can be ID-mapped.
    mappable: Mutex<HashMap<BaseKey, bool>>,
}

#[derive(Debug)]
enum Store {
    Local(ImageStore),
    Nfs(Box<NfsStore>),
}

/// A version and where it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The version.
    pub image: Published,
    /// The store it is in.
    pub origin: Origin,
    /// Who owns the topmost directory of its root: 0, unless it was published
    /// with shifted ids.
    pub owner: u32,
}

/// A store among those configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(usize);

/// Everything in all stores.
#[derive(Debug, Default)]
pub struct Listing {
    /// What can be started.
    pub versions: Vec<Listed>,
    /// What cannot, with a sentence for each.
    pub broken: Vec<(PathBuf, String)>,
}

/// A base root that is mounted.
#[derive(Clone, Debug)]
pub struct MountedBase {
    /// Where.
    pub path: PathBuf,
    /// What it says about ids.
    pub facts: BaseFacts,
    origin: Origin,
}

impl Storage {
    /// Opens the local stores, made if missing. Those on NFS are mounted when
    /// they are first needed; mounts an earlier agent left are used again.
    ///
    /// # Errors
    /// A local store, or the directories for mounts.
    pub fn open(config: &Config, paths: &Paths) -> Result<Self, StorageError> {
        let open = |location: &StoreLocation| match location {
            StoreLocation::Directory(dir) => Ok(Store::Local(ImageStore::create(dir)?)),
            StoreLocation::Nfs(url) => {
                NfsStore::new(url, &config.nfs, paths).map(|store| Store::Nfs(Box::new(store)))
            }
        };
        let stores: Vec<_> = config.images.iter().map(open).collect::<Result<_, StorageError>>()?;
        forget_others(&stores, paths)?;
        let bases = BaseRoots::open(&paths.bases())?;
        let host = config
            .name
            .parse()
            .map_err(|source| StoreError::Name { path: config.name.clone().into(), source })?;
        Ok(Self { host, stores, bases, mappable: Mutex::default() })
    }

    /// The version that `image` means now, in the first store that has an image
    /// of that name.
    ///
    /// # Errors
    /// No store has it, or one that comes first does not answer.
    pub fn resolve(&self, image: &ImageRef) -> Result<Found, StorageError> {
        for (index, store) in self.stores.iter().enumerate() {
            let found = match store {
                Store::Local(store) => store.resolve(image).map_err(Into::into).and_then(local),
                Store::Nfs(store) => store.resolve(image),
            };
            match found {
                Err(error) if error.is_no_image() => {}
                Err(error) => return Err(error),
                Ok((image, owner)) => return Ok(Found { image, origin: Origin(index), owner }),
            }
        }
        Err(no_image(&image.name))
    }

    /// What all stores have. One that does not answer is left out, and told of.
    ///
    /// # Errors
    /// No store answers.
    pub fn list(&self) -> Result<Listing, StorageError> {
        let mut all = Listing::default();
        let mut failed = Vec::new();
        for store in &self.stores {
            let listed = match store {
                Store::Local(store) => store.list().map(Listing::from).map_err(Into::into),
                Store::Nfs(store) => store.list(),
            };
            match listed {
                Ok(some) => {
                    all.versions.extend(some.versions);
                    all.broken.extend(some.broken);
                }
                Err(error) => failed.push(error),
            }
        }
        if failed.len() == self.stores.len()
            && let Some(error) = failed.pop()
        {
            return Err(error);
        }
        for error in failed {
            tracing::warn!(error = %crate::desktop::sentence(&error), "an image store is left out");
        }
        Ok(all)
    }

    /// Mounts the root of a version, if it is not mounted yet.
    ///
    /// # Errors
    /// It cannot be mounted, or its server does not answer.
    pub fn mount(&self, found: &Found) -> Result<MountedBase, StorageError> {
        let store = &self.stores[found.origin.0];
        let key = base_key(&found.image, store.as_nfs().map(NfsStore::id))?;
        let known = self.mappable().get(&key).copied();
        let (path, mappable) = match store {
            Store::Local(store) => {
                in_use::hold(&self.host, store, &found.image)?;
                let source = match &found.image.root {
                    Root::Erofs(file) => BaseSource::Erofs(file.clone()),
                    Root::Directory(dir) => BaseSource::Directory(dir.clone()),
                };
                let path = self.bases.mount(&key, &source)?;
                (path, known.map_or_else(|| self.bases.can_be_id_mapped(&key), Ok)?)
            }
            Store::Nfs(store) => {
                let (path, tried) = store.mount(&key, &found.image.root, known.is_none())?;
                (path, tried.or(known).unwrap_or(false))
            }
        };
        self.mappable().insert(key, mappable);
        let facts = BaseFacts { owner: found.owner, can_be_mapped: mappable };
        Ok(MountedBase { path, facts, origin: found.origin })
    }

    /// Joins a base root and an overlay in `mount_dir`; says where.
    ///
    /// # Errors
    /// See [`rolltop_overlay::open_root`], or the server does not answer.
    pub fn open_root(
        &self,
        base: &MountedBase,
        overlay: &OverlayFile,
        mount_dir: PathBuf,
        ids: Ids,
        watch: Duration,
    ) -> Result<PathBuf, StorageError> {
        let id_map = ids.map();
        let map = id_map.map(|IdMap { first, count, kept }| Map {
            first,
            count,
            kept,
            lower_is_shifted: ids.kind == IdsKind::Shared,
        });
        if let Store::Nfs(store) = &self.stores[base.origin.0] {
            return store.open_root(base.path.clone(), overlay, mount_dir, map, watch);
        }
        let plan = OpenPlan { lower: &base.path, overlay, mount_dir: &mount_dir, id_map };
        let opened = match ids.kind {
            IdsKind::Shared => open_shifted_root(&plan),
            IdsKind::Own | IdsKind::Identity => open_root(&plan),
        }?;
        Ok(opened.root)
    }

    /// Lets everything that waits for a server that has been silent for too long
    /// (`nfs.give_up_s`) end with an error; whether there was such a server.
    pub fn let_go(&self) -> bool {
        self.stores.iter().filter_map(Store::as_nfs).filter(|store| store.let_go()).count() > 0
    }

    /// Whether a server did not answer when it was last asked.
    pub fn is_silent(&self) -> bool {
        self.stores.iter().filter_map(Store::as_nfs).any(NfsStore::is_silent)
    }

    /// Ends the helpers. Afterwards stores on NFS answer no more.
    pub fn close(&self) {
        self.stores.iter().filter_map(Store::as_nfs).for_each(NfsStore::close);
    }

    fn mappable(&self) -> std::sync::MutexGuard<'_, HashMap<BaseKey, bool>> {
        self.mappable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Store ===

impl Store {
    fn as_local(&self) -> Option<&ImageStore> {
        match self {
            Self::Local(store) => Some(store),
            Self::Nfs(_) => None,
        }
    }

    fn as_nfs(&self) -> Option<&NfsStore> {
        match self {
            Self::Nfs(store) => Some(store),
            Self::Local(_) => None,
        }
    }
}

/// Unmounts exports that are configured no more, unless something uses them.
fn forget_others(stores: &[Store], paths: &Paths) -> Result<(), StorageError> {
    let nfs: Vec<&NfsStore> = stores.iter().filter_map(Store::as_nfs).collect();
    let Some(any) = nfs.first() else { return Ok(()) };
    for key in BaseRoots::open(&paths.exports())?.mounted()? {
        if !nfs.iter().any(|store| store.has(&key))
            && let Err(error) = any.unmount(&key)
        {
            let error = crate::desktop::sentence(&error);
            tracing::info!(%key, error, "an export of an earlier configuration stays");
        }
    }
    Ok(())
}

fn local(image: Published) -> Result<(Published, u32), StorageError> {
    let owner = match &image.root {
        Root::Erofs(_) => 0,
        Root::Directory(path) => {
            let io = |source| StoreError::Io { verb: "examine", path: path.clone(), source };
            path.metadata().map_err(io)?.uid()
        }
    };
    Ok((image, owner))
}

fn no_image(name: &ImageName) -> StorageError {
    StoreError::NoImage(name.clone()).into()
}

/// The same version of two stores is mounted twice: nothing says that they are
/// the same.
fn base_key(image: &Published, store: Option<&str>) -> Result<BaseKey, StorageError> {
    let mut key = format!("{}@{}", image.name, image.version);
    if let Some(store) = store {
        key = format!("{key}@{store}");
    }
    if key.len() > rolltop_overlay::NAME_MAX_BYTES {
        key = Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).simple().to_string();
    }
    BaseKey::try_from(key.as_str()).map_err(|error| {
        let source = io::Error::other(error);
        StoreError::Io { verb: "name the base root", path: key.into(), source }.into()
    })
}

impl From<rolltop_image::Listing> for Listing {
    fn from(listing: rolltop_image::Listing) -> Self {
        let broken = listing.broken.into_iter();
        let told = broken.map(|broken| (broken.path, crate::desktop::sentence(&broken.error)));
        Self { versions: listing.versions, broken: told.collect() }
    }
}
