//! What every start and every offline command begins with: the state
//! directory, the store, the authority, and what a new cluster is given.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    clock::Clock,
    config::{self, Config},
    names::{BadField, ImageRef, PoolName},
    pki::{Authority, PkiError},
    state::{LimitsRecord, Marker, PoolRecord, TransactionExt as _, keys},
    store::{
        EmbeddedStore, EtcdOptions, EtcdStore, EtcdTls, EtcdUser, Store, StoreError, Transaction,
    },
};

/// In the state directory.
const STORE_FILE: &str = "store.redb";
/// In the state directory: for those who must trust this cluster.
pub const CA_FILE: &str = "ca.pem";

/// The cluster's state cannot be used.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file or directory cannot be made or written.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was being done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// What is in the store is not all of it.
    #[error(
        "an import into the store was not finished: run 'rolltop-broker store import --replace FILE' again"
    )]
    HalfImported,
    /// A built-in name is wrong.
    #[error(transparent)]
    Name(#[from] BadField),
}

/// The state of a cluster, opened.
pub struct Cluster {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The authority.
    pub authority: Authority,
}

// === impl Cluster ===

impl Cluster {
    /// Opens it; makes what is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a broker runs on the same embedded store,
    /// [`ClusterError::HalfImported`], and what the store meets.
    pub async fn open(config: &Config, clock: &dyn Clock) -> Result<Self, ClusterError> {
        let store = open_store(config).await?;
        if store.get(keys::IMPORTING).await?.is_some() {
            return Err(ClusterError::HalfImported);
        }
        let authority = Authority::load_or_make(store.as_ref(), clock).await?;
        make_default_pools(store.as_ref(), clock).await?;
        replace_file(&config.state_dir.join(CA_FILE), authority.certificate_pem(), 0o644)?;
        Ok(Self { store, authority })
    }
}

/// The store of the configuration, with nothing put into it; and the state
/// directory, made if need be.
///
/// # Errors
/// [`StoreError::InUse`] while a broker runs on the same embedded store, and
/// what the store meets.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ClusterError> {
    make_private_dir(&config.state_dir)?;
    match &config.store {
        config::Store::Embedded => {
            let path = config.state_dir.join(STORE_FILE);
            make_private_file(&path)?;
            Ok(Arc::new(EmbeddedStore::open(&path).await?))
        }
        config::Store::Etcd(etcd) => Ok(Arc::new(EtcdStore::open(&etcd_options(etcd)?).await?)),
    }
}

fn etcd_options(etcd: &config::Etcd) -> Result<EtcdOptions, ClusterError> {
    let text = |path: &Path| fs::read_to_string(path).map_err(failed("read", path));
    let secret = |path: &Path| {
        let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode();
        if mode & 0o007 == 0 {
            return text(path);
        }
        let reason = "everybody can read it: 'chmod 600' it, and think of another secret";
        Err(StoreError::Setup { what: path.display().to_string(), reason: reason.to_owned() }
            .into())
    };
    let tls = match &etcd.ca {
        Some(ca) => {
            let identity = match &etcd.identity {
                Some((certificate, key)) => Some((text(certificate)?, secret(key)?)),
                None => None,
            };
            Some(EtcdTls { ca: text(ca)?, identity })
        }
        None => None,
    };
    let user = match &etcd.user {
        Some((name, file)) => {
            let password = secret(file)?.lines().next().unwrap_or_default().to_owned();
            Some(EtcdUser { name: name.clone(), password })
        }
        None => None,
    };
    Ok(EtcdOptions {
        endpoints: etcd.endpoints.clone(),
        prefix: etcd.prefix.clone(),
        tls,
        user,
        deadline: etcd.deadline,
    })
}

/// Makes a directory that only its owner can enter, or makes it so.
///
/// # Errors
/// If it cannot be made.
pub fn make_private_dir(path: &Path) -> Result<(), ClusterError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(failed("make the directory", path))
}

/// Puts a whole file in place of what was there, or leaves that.
///
/// # Errors
/// If it cannot be written.
pub fn replace_file(path: &Path, content: &str, mode: u32) -> Result<(), ClusterError> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        // One left behind by a crash keeps its own mode otherwise.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(parent)?.sync_all()
    };
    write().map_err(failed("write", path))
}

fn make_private_file(path: &Path) -> Result<(), ClusterError> {
    let open = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    open.map(drop).map_err(failed("make", path))
}

/// Two pools for a new cluster. Made once: who deletes them is rid of them.
async fn make_default_pools(store: &dyn Store, clock: &dyn Clock) -> Result<(), ClusterError> {
    let volatile = default_pool(
        "demo",
        "Demo desktop",
        "A fresh desktop every time; gone when you log out.",
        false,
    )?;
    let kept = default_pool(
        "demo-keep",
        "Demo desktop, kept",
        "Your files and settings stay when you log out.",
        true,
    )?;
    let mut transaction = Transaction::new()
        .absent(keys::POOLS_MADE)
        .put_record(keys::POOLS_MADE, &Marker { at: clock.now() })?;
    for pool in [volatile, kept] {
        transaction = transaction.put_record(&keys::pool(&pool.name), &pool)?;
    }
    // A conflict: they have been made before.
    store.commit(transaction).await?;
    Ok(())
}

fn default_pool(
    name: &str,
    title: &str,
    description: &str,
    persistent: bool,
) -> Result<PoolRecord, BadField> {
    Ok(PoolRecord {
        name: PoolName::parse("name", name)?,
        title: title.to_owned(),
        description: description.to_owned(),
        image: ImageRef::parse("image", "demo:stable")?,
        persistent,
        overlay_size_mib: 1024,
        limits: LimitsRecord { memory_mib: 2048, pids: 512, ..LimitsRecord::default() },
        runtime: String::new(),
        users: Vec::new(),
        groups: Vec::new(),
        home: None,
        egress: Vec::new(),
        hosts: crate::state::HostPolicy::default(),
        time_limits: crate::state::TimeLimits::default(),
        max_desktops: 0,
        closed: String::new(),
        warm: 0,
    })
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::Io { verb, path, source }
}
