//! Everything the agent holds for its whole life.

use std::{
    fs::{self, DirBuilder},
    io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rolltop_launcher::{
    LaunchError,
    cgroup::{Cgroup, CgroupError, Hierarchies},
};
use rolltop_overlay::{deisolate, isolate};
use rustix::mount::{MountFlags, mount};
use thiserror::Error;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::{
    address::Number,
    apparmor::{Confinement, NotLoaded},
    config::{Config, Live, NetworkConfig},
    keep::{Keep, KeepError},
    metrics::{Metrics, MetricsError},
    network::{Network, NetworkError},
    paths::Paths,
    registry::Registry,
    runtime::RuntimeSet,
    session_log::Keeper,
    storage::{self, Storage, StorageError},
    volumes::Jobs,
    watches,
    work::blocking,
};

/// Where the host's own name servers stand, the more telling file first: the
/// second may name a resolver that only the host can reach.
const RESOLV_CONF: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// The parts a desktop is made with.
#[derive(Debug)]
pub struct Host {
    /// The configuration the agent was started with.
    pub config: Config,
    /// What of it can change.
    live: RwLock<Arc<Live>>,
    /// Where things lie.
    pub paths: Paths,
    /// Bridge and links.
    pub network: Network,
    /// Overlay files.
    pub keep: Keep,
    /// What is being done to them.
    pub jobs: Arc<Jobs>,
    /// Published images and mounted base roots.
    pub storage: Storage,
    /// Container runtimes.
    pub runtimes: RuntimeSet,
    /// Control groups.
    pub hierarchies: Hierarchies,
    /// What desktops are confined by beside their namespaces.
    pub confinement: Confinement,
    /// Starts in their kernel-bound steps.
    pub lanes: Semaphore,
    /// The desktops.
    pub registry: Registry,
    /// What sessions write.
    pub logs: Keeper,
    /// What is counted and measured.
    pub metrics: Metrics,
    /// `/etc/resolv.conf` of desktops.
    pub resolv_conf: String,
}

/// The agent cannot work on this machine.
#[derive(Debug, Error)]
pub enum HostError {
    /// A directory, file or mount of the agent's own.
    #[error("cannot {verb} {operand}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        operand: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Links, addresses, rules.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Control groups.
    #[error("control groups cannot be used")]
    Groups(#[from] CgroupError),
    /// The run directory's own mount.
    #[error("the run directory cannot be set apart")]
    RunDir(#[source] rolltop_overlay::StepError),
    /// The directories of overlays.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The image stores, or the base roots from them.
    #[error("the image stores cannot be used")]
    Storage(#[from] StorageError),
    /// The profile of desktops.
    #[error(transparent)]
    Confinement(#[from] NotLoaded),
    /// What is counted and measured.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The launcher's helper program.
    #[error("the launcher's helper program {program} cannot be used")]
    Launcher {
        /// From the configuration.
        program: String,
        /// Why not.
        #[source]
        source: LaunchError,
    },
}

impl Host {
    /// Makes or adopts all of it. Repeatable.
    ///
    /// # Errors
    /// Something is missing or refused.
    pub async fn new(config: Config) -> Result<Self, HostError> {
        let paths = Paths::new(&config.state_dir, &config.run_dir, &config.cgroup_parent);
        for dir in [&config.state_dir, &paths.overlays()] {
            make_dir(dir, 0o700)?;
        }
        // Passable, not readable: runtimes look for a desktop's root as the
        // root of its user namespace. Each desktop's own directory keeps all
        // others out.
        make_dir(paths.run(), 0o711)?;
        mount_run_dir(paths.run())?;
        isolate(paths.run()).map_err(HostError::RunDir)?;
        make_dir(&paths.desktops(), 0o711)?;
        make_dir(&paths.bases(), 0o700)?;
        for name in config.runtimes.by_name.keys() {
            make_dir(&paths.oci_runtime_root(name), 0o700)?;
        }
        write_init(&paths.init_program())?;
        let runtimes =
            RuntimeSet::new(&config.runtimes, &config.launcher, config.deadlines.runtime, &paths)
                .map_err(|source| HostError::Launcher {
                program: config.launcher.display().to_string(),
                source,
            })?;
        watches::raise(paths.run(), config.max_desktops)
            .map_err(|source| HostError::io("raise", "the limits of inotify", source))?;
        let resolv_conf = resolv_conf(&config.network);
        Ok(Self {
            network: Network::set_up(&config.network, name_servers(&resolv_conf), paths.run())
                .await?,
            keep: Keep::open(
                &paths.overlays(),
                config.kept_dir.as_deref(),
                config.kept_sharing,
                config.nfs.deadline,
            )
            .await?,
            jobs: Arc::default(),
            storage: Storage::open(&config, &paths)?,
            hierarchies: Hierarchies::detect()?,
            confinement: Confinement::new(Path::new("/"), &config.apparmor)?,
            lanes: Semaphore::new(config.start_lanes),
            registry: Registry::new(config.max_desktops as usize),
            logs: Keeper::new()
                .map_err(|source| HostError::io("watch", "the logs of sessions", source))?,
            metrics: Metrics::new()?,
            resolv_conf,
            runtimes,
            paths,
            live: RwLock::new(Arc::new(config.live())),
            config,
        })
    }

    /// What can change while the agent runs, as it is now.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it. Desktops that are there stay, even if they are more than may
    /// be from now on.
    pub fn set_live(self: &Arc<Self>, new: Live) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        self.registry.set_max_desktops(new.max_desktops as usize);
        let (before, now) = (live.start_lanes, new.start_lanes);
        self.lanes.add_permits(now.saturating_sub(before));
        let fewer = before.saturating_sub(now);
        let taken = self.lanes.forget_permits(fewer);
        if let Ok(used @ 1..) = u32::try_from(fewer - taken) {
            // They go as soon as the starts in them are through.
            let host = Arc::clone(self);
            tokio::spawn(async move {
                if let Ok(lanes) = host.lanes.acquire_many(used).await {
                    lanes.forget();
                }
            });
        }
        *live = Arc::new(new);
    }

    /// A place in the lanes; waits for one.
    ///
    /// # Errors
    /// Never: the lanes are not closed.
    pub async fn lane(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.metrics.waiting(self.lanes.acquire()).await
    }

    /// Free bytes of the filesystem where overlays lie.
    ///
    /// # Errors
    /// The directory is gone.
    pub fn overlay_free_bytes(&self) -> io::Result<u64> {
        let fs = rustix::fs::statvfs(self.paths.overlays())?;
        Ok(fs.f_bavail * fs.f_frsize)
    }

    /// The control group of desktop `number`, whether it exists or not.
    ///
    /// # Errors
    /// The configured parent is no name of a control group.
    pub fn cgroup(&self, number: Number) -> Result<Cgroup, CgroupError> {
        Cgroup::open(&self.hierarchies, self.paths.desktop(number).cgroup())
    }

    /// Undoes what `new` did on the host. The desktops must be gone. Returns
    /// what could not be undone.
    pub async fn purge(config: &Config) -> Vec<HostError> {
        let paths = Paths::new(&config.state_dir, &config.run_dir, &config.cgroup_parent);
        let mut errors: Vec<HostError> = Vec::new();
        errors
            .extend(Network::purge(&config.network, paths.run()).await.into_iter().map(Into::into));
        let taken = {
            let (config, paths) = (config.clone(), paths.clone());
            blocking(move || storage::take_away(&config, &paths)).await
        };
        errors.extend(taken.into_iter().map(HostError::Storage));
        errors.extend(
            watches::lower(paths.run())
                .err()
                .map(|source| HostError::io("put back", "the limits of inotify", source)),
        );
        errors.extend(remove_cgroup_parent(&config.cgroup_parent));
        errors.extend(deisolate(paths.run()).err().map(HostError::RunDir));
        if errors.is_empty() {
            // Records are gone with their desktops: only the agent's own files
            // are left, on what is by definition no keeping place.
            match fs::remove_dir_all(paths.run()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    errors.push(HostError::io("remove", paths.run().display(), error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        errors
    }
}

impl HostError {
    fn io(verb: &'static str, operand: impl ToString, source: io::Error) -> Self {
        Self::Io { verb, operand: operand.to_string(), source }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), HostError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        // One that was there may be of another mind.
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| HostError::io("make", path.display(), source))
}

/// Gives the run directory a tmpfs of its own: nothing in it must outlive a
/// reboot, records are synced several times in each start, and not every host
/// has a tmpfs there already.
fn mount_run_dir(run: &Path) -> Result<(), HostError> {
    let failed = |source| HostError::io("mount a tmpfs at", run.display(), source);
    let mounted = rolltop_overlay::mountinfo::mounts()
        .map_err(|error| HostError::io("read", "the mount table", io::Error::other(error)))?;
    let run = run.canonicalize().map_err(failed)?;
    if mounted.iter().any(|mount| mount.mount_point == run) {
        return Ok(());
    }
    mount("rolltop", &run, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=711")
        .map_err(|error| failed(error.into()))
}

/// Removes the empty parent group from every hierarchy: runtimes that are not
/// built in make it in hierarchies that we do not use.
fn remove_cgroup_parent(name: &str) -> Vec<HostError> {
    let mounts = match rolltop_overlay::mountinfo::mounts() {
        Ok(mounts) => mounts,
        Err(error) => {
            return vec![HostError::io("read", "the mount table", io::Error::other(error))];
        }
    };
    let hierarchies = mounts.into_iter().filter(|mount| mount.file_system.starts_with("cgroup"));
    hierarchies
        .filter_map(|hierarchy| {
            let path = hierarchy.mount_point.join(name);
            match fs::remove_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Some(HostError::io("remove", path.display(), error))
                }
                Ok(()) | Err(_) => None,
            }
        })
        .collect()
}

/// Puts the init program where desktops can be given it. An older one is
/// replaced, not rewritten: running desktops keep theirs.
fn write_init(path: &Path) -> Result<(), HostError> {
    use std::io::Write as _;
    let failed = |source| HostError::io("write", path.display(), source);
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o555)
            .open(&temporary)?;
        file.write_all(rolltop_init::PROGRAM)?;
        drop(file);
        fs::rename(&temporary, path)
    };
    write().map_err(failed)
}

/// Those of `resolv.conf(5)` that desktops can use.
fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|address| address.trim().parse().ok()).collect()
}

fn resolv_conf(config: &NetworkConfig) -> String {
    if config.dns.is_empty() {
        // A host without either file has no names to resolve.
        RESOLV_CONF.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    } else {
        config.dns.iter().map(|server| format!("nameserver {server}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_programs_read_them() {
        let text = "search x\nnameserver 192.0.2.1\n# nameserver 192.0.2.9\n  nameserver\t192.0.2.2 \n\
                    nameserver ::1\nnameserver none\n";
        let found: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "192.0.2.2", "::1"]);
    }
}
