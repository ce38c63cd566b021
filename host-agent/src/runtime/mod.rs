//! What makes containers: the built-in launcher, or any OCI runtime binary.
//! Both get the same bundle and nothing else.

mod error;
mod oci;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use oci_spec::runtime::Process as ProcessSpec;
use rolltop_launcher::{Creating, LaunchError, Launcher, Pid, ReadyHelper, Stdio, cgroup::Cgroup};

pub use self::error::RuntimeError;
use self::oci::OciBinary;
use crate::{config::Runtimes, paths::Paths, process::Process, work::blocking};

/// The runtimes of this host by name.
#[derive(Debug)]
pub struct RuntimeSet {
    default: String,
    by_name: BTreeMap<String, Arc<Runtime>>,
}

/// One way to make a container.
#[derive(Debug)]
pub enum Runtime {
    /// The crate `rolltop-launcher`.
    Builtin {
        /// Its helper program, ready to run.
        launcher: Arc<Launcher>,
        /// For one call.
        deadline: Duration,
    },
    /// A binary with runc's command line.
    Oci(OciBinary),
}

/// What a runtime can do before there is a bundle.
#[derive(Debug, Default)]
pub struct Prepared {
    container: Option<ReadyHelper>,
    session: Option<ReadyHelper>,
}

/// A container whose namespaces exist, so that it can be joined to the network,
/// and whose init has not begun.
#[derive(Debug)]
pub enum Created {
    /// Being made by the launcher: its namespaces are there, its mounts not yet.
    Builtin(Box<Creating>),
    /// Made by a binary.
    Oci {
        /// Pid of its init.
        pid: i32,
    },
}

/// A container to run something in.
#[derive(Debug)]
pub struct Container<'a> {
    /// Its id at the runtime.
    pub id: &'a str,
    /// Its bundle.
    pub bundle: &'a Path,
    /// Its init.
    pub init: &'a Process,
    /// Its control group.
    pub group: &'a Cgroup,
}

/// What a process is to its container.
#[derive(Debug)]
pub enum Role {
    /// The session: the desktop lasts as long as it does.
    Session {
        /// For it.
        prepared: Box<Prepared>,
        /// Whether init has processes of its own, of which it is to be told.
        apart: bool,
    },
    /// A command from outside: neither it nor what it leaves running keeps the
    /// desktop.
    Visitor,
}

/// Where a process in a container reads and writes.
#[derive(Debug)]
pub enum Io {
    /// These descriptors.
    Files {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own.
    Terminal,
}

/// A process started in a container.
#[derive(Debug)]
pub struct Executed {
    /// The process; the agent's child.
    pub process: Process,
    /// The terminal's other end.
    pub terminal: Option<OwnedFd>,
}

// === impl RuntimeSet ===

impl RuntimeSet {
    /// Prepares every runtime of the configuration.
    ///
    /// # Errors
    /// The launcher's helper program cannot be read.
    pub fn new(
        config: &Runtimes,
        helper: &Path,
        deadline: Duration,
        paths: &Paths,
    ) -> Result<Self, LaunchError> {
        let launcher = Arc::new(Launcher::new(helper)?);
        let mut by_name = BTreeMap::from([(
            "builtin".to_owned(),
            Arc::new(Runtime::Builtin { launcher, deadline }),
        )]);
        for (name, program) in &config.by_name {
            let binary = OciBinary::new(program.clone(), paths.oci_runtime_root(name), deadline);
            by_name.insert(name.clone(), Arc::new(Runtime::Oci(binary)));
        }
        Ok(Self { default: config.default.clone(), by_name })
    }

    /// The runtime `name`, or the default; with its name.
    pub fn get(&self, name: Option<&str>) -> Option<(&str, Arc<Runtime>)> {
        let name = name.unwrap_or(&self.default);
        self.by_name.get_key_value(name).map(|(name, runtime)| (name.as_str(), Arc::clone(runtime)))
    }

    /// Whether that one, or the default, is the built-in one.
    pub fn is_built_in(&self, name: Option<&str>) -> bool {
        matches!(self.get(name), Some((_, runtime)) if matches!(*runtime, Runtime::Builtin { .. }))
    }

    /// Names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Name of the default.
    pub fn default_name(&self) -> &str {
        &self.default
    }
}

// === impl Runtime ===

impl Runtime {
    /// Does what needs no bundle yet; to be run beside the making of the disk.
    ///
    /// # Errors
    /// The launcher's helper cannot be run.
    pub async fn prepare(&self) -> Result<Prepared, RuntimeError> {
        match self {
            Self::Builtin { launcher, .. } => {
                let launcher = Arc::clone(launcher);
                let ready = move || Ok::<_, LaunchError>((launcher.ready()?, launcher.ready()?));
                let (container, session) = blocking(ready).await?;
                Ok(Prepared { container: Some(container), session: Some(session) })
            }
            Self::Oci(_) => Ok(Prepared::default()),
        }
    }

    /// Makes a container from `bundle`; its init waits.
    ///
    /// # Errors
    /// Nothing is left behind but what [`Runtime::delete`] removes.
    pub async fn create(
        &self,
        id: &str,
        bundle: &Path,
        prepared: &mut Prepared,
    ) -> Result<Created, RuntimeError> {
        match self {
            Self::Builtin { launcher, deadline } => {
                let helper = prepared.container.take();
                let (launcher, deadline) = (Arc::clone(launcher), *deadline);
                let bundle = bundle.to_owned();
                let limit = Instant::now() + deadline;
                let begin = move || match helper {
                    Some(helper) => launcher.begin_with(helper, &bundle, None, limit),
                    None => launcher.begin(&bundle, None, limit),
                };
                let creating = blocking(begin).await?;
                Ok(Created::Builtin(Box::new(creating)))
            }
            Self::Oci(binary) => Ok(Created::Oci { pid: binary.create(id, bundle).await? }),
        }
    }

    /// Lets the init of a created container begin.
    ///
    /// # Errors
    /// Its program cannot be run.
    pub async fn start(
        &self,
        id: &str,
        bundle: &Path,
        created: Created,
    ) -> Result<Process, RuntimeError> {
        let pid = match (self, created) {
            (_, Created::Builtin(creating)) => {
                let limit = Instant::now() + self.deadline();
                blocking(move || creating.finish(limit)?.start()).await?.pid.as_raw_nonzero().get()
            }
            (Self::Oci(binary), Created::Oci { pid }) => {
                binary.start(id, bundle).await?;
                pid
            }
            (Self::Builtin { .. }, Created::Oci { pid }) => pid,
        };
        Process::open(pid).map_err(|source| RuntimeError::Io { verb: "watch init", source })
    }

    /// Runs a process in a container.
    ///
    /// # Errors
    /// The container is gone, or the program cannot be run.
    pub async fn exec(
        &self,
        container: &Container<'_>,
        spec: ProcessSpec,
        io: Io,
        role: Role,
    ) -> Result<Executed, RuntimeError> {
        let (pid, terminal) = match self {
            Self::Builtin { launcher, .. } => {
                let launcher = Arc::clone(launcher);
                let bundle = container.bundle.to_owned();
                let pid =
                    Pid::from_raw(container.init.id().pid).ok_or(LaunchError::ContainerGone)?;
                let pidfd = container.init.pidfd().try_clone().map_err(|source| {
                    RuntimeError::Io { verb: "copy init's descriptor", source }
                })?;
                let stdio = match io {
                    Io::Files { stdin, stdout, stderr } => Stdio::Files { stdin, stdout, stderr },
                    Io::Terminal => Stdio::Terminal,
                };
                blocking(move || {
                    use std::os::fd::AsFd as _;
                    let init = pidfd.as_fd();
                    let started = match role {
                        Role::Session { prepared, apart } => {
                            let helper = match prepared.session {
                                Some(helper) => helper,
                                None => launcher.ready()?,
                            };
                            if apart {
                                launcher.exec_apart(helper, &bundle, pid, init, &spec, stdio)?
                            } else {
                                launcher.exec_with(helper, &bundle, pid, init, &spec, stdio)?
                            }
                        }
                        Role::Visitor => launcher.visit(&bundle, pid, init, &spec, stdio)?,
                    };
                    Ok::<_, LaunchError>((started.pid.as_raw_nonzero().get(), started.terminal))
                })
                .await?
            }
            Self::Oci(binary) => {
                let executed = binary.exec(container, &spec, io).await?;
                if let Role::Visitor = role {
                    make_visitor(container.group.clone(), executed.0).await;
                }
                executed
            }
        };
        let process = Process::open(pid)
            .map_err(|source| RuntimeError::Io { verb: "watch the new process", source })?;
        Ok(Executed { process, terminal })
    }

    /// Holds the processes of a container still; returns when they are.
    ///
    /// # Errors
    /// One cannot be held in time: then none is.
    pub async fn freeze(&self, container: &Container<'_>) -> Result<(), RuntimeError> {
        match self {
            Self::Builtin { deadline, .. } => {
                let (group, limit) = (container.group.clone(), Instant::now() + *deadline);
                Ok(blocking(move || group.freeze(limit)).await?)
            }
            Self::Oci(binary) => binary.pause(container.id, container.bundle).await,
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// The kernel, or the runtime binary, refuses.
    pub async fn thaw(&self, container: &Container<'_>) -> Result<(), RuntimeError> {
        match self {
            Self::Builtin { .. } => {
                let group = container.group.clone();
                Ok(blocking(move || group.thaw()).await?)
            }
            Self::Oci(binary) => binary.resume(container.id, container.bundle).await,
        }
    }

    fn deadline(&self) -> Duration {
        match self {
            Self::Builtin { deadline, .. } => *deadline,
            Self::Oci(binary) => binary.deadline(),
        }
    }

    /// Forgets a container whose processes are gone. Unknown is success.
    ///
    /// # Errors
    /// The runtime binary fails.
    pub async fn delete(&self, id: &str, bundle: &Path) -> Result<(), RuntimeError> {
        match self {
            Self::Builtin { .. } => Ok(()),
            Self::Oci(binary) => binary.delete(id, bundle).await,
        }
    }
}

/// Runtime binaries begin a process in the container's own cgroup.
async fn make_visitor(group: Cgroup, pid: i32) {
    let moved = blocking(move || match Pid::from_raw(pid) {
        Some(pid) => group.add_visitor(pid),
        None => Ok(()),
    });
    if let Err(error) = moved.await {
        // It may just have ended. If not, it keeps the desktop until it does.
        tracing::debug!(pid, %error, "a command counts as part of the session");
    }
}

impl Created {
    /// Pid of the waiting init.
    pub fn pid(&self) -> i32 {
        match self {
            Self::Builtin(created) => created.pid().as_raw_nonzero().get(),
            Self::Oci { pid } => *pid,
        }
    }
}
