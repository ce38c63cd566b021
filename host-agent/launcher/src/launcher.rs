//! The launcher as its caller sees it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio as HelperStdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp, Process, Spec};
use rolltop_fail_points as fail_points;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use crate::cgroup::{Cgroup, Hierarchies, Part};
use crate::created::{Attempt, Created, Creating};
use crate::error::LaunchError;
use crate::memory::{json_file, sealed_copy};
use crate::parcel::Parcel;
use crate::plan::{ContainerPlan, ExecPlan, ProcessPlan, TerminalPlan};
use crate::seccomp::FilterCache;
use crate::started::{Started, Stdio};
use crate::wire::{self, Report, Role, Task};

/// Bounds what takes no deadline from the caller: steps that are done in
/// milliseconds unless the machine is in distress.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// Makes containers, and executes processes in them.
///
/// All calls block for a few milliseconds; they may run on any thread, and on
/// several at once.
#[derive(Debug)]
pub struct Launcher {
    /// A sealed copy of the helper in memory. A container sees the helper as
    /// `/proc/1/exe` for a moment, and must have no way to write to the host's
    /// file through it (CVE-2019-5736). Upgrades on disk do not mix versions.
    helper: OwnedFd,
    /// The mount namespace containers start from.
    seed: OwnedFd,
    hierarchies: Hierarchies,
    filters: FilterCache,
}

/// A helper that runs and waits for its task. Dropping it ends it.
#[derive(Debug)]
pub struct ReadyHelper(Attempt);

/// A running container.
struct Container<'a> {
    bundle: &'a Path,
    init_pid: Pid,
    init: BorrowedFd<'a>,
}

// === impl Launcher ===

impl Launcher {
    /// Takes a copy of the helper program at `helper`, and makes the mount
    /// namespace that containers start from; it lives as long as this.
    ///
    /// # Errors
    /// The helper cannot be read or executed, the caller may not make
    /// namespaces, or the host mounts no cgroups.
    pub fn new(helper: &Path) -> Result<Self, LaunchError> {
        let hierarchies = Hierarchies::detect()?;
        let helper =
            sealed_copy(helper).map_err(|source| LaunchError::Helper { action: "copy", source })?;
        let seed = make_seed(&helper)?;
        Ok(Self { helper, seed, hierarchies, filters: FilterCache::default() })
    }

    /// The cgroup hierarchies of this host.
    #[must_use]
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Makes the container of `bundle`/`config.json` up to the execution of
    /// its program. Its streams are a terminal if the configuration says so,
    /// else `/dev/null`.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn create(&self, bundle: &Path, deadline: Instant) -> Result<Created, LaunchError> {
        self.create_with(bundle, None, deadline)
    }

    /// Like [`create`](Self::create), with streams of the caller's choice,
    /// whatever `process.terminal` says.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn create_with(
        &self,
        bundle: &Path,
        stdio: impl Into<Option<Stdio>>,
        deadline: Instant,
    ) -> Result<Created, LaunchError> {
        self.begin(bundle, stdio, deadline)?.finish(deadline)
    }

    /// The first half of [`create_with`](Self::create_with): returns as soon as
    /// the container's namespaces exist, so that its network can be made while
    /// its file systems are.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn begin(
        &self,
        bundle: &Path,
        stdio: impl Into<Option<Stdio>>,
        deadline: Instant,
    ) -> Result<Creating, LaunchError> {
        self.begin_with(self.ready()?, bundle, stdio, deadline)
    }

    /// Starts a helper ahead of its use: starting takes it a few milliseconds,
    /// in which the caller can make what the container needs.
    ///
    /// # Errors
    /// The helper cannot be run.
    pub fn ready(&self) -> Result<ReadyHelper, LaunchError> {
        spawn(&self.helper).map(ReadyHelper)
    }

    /// Like [`begin`](Self::begin), by a helper that was started before.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind then.
    pub fn begin_with(
        &self,
        helper: ReadyHelper,
        bundle: &Path,
        stdio: impl Into<Option<Stdio>>,
        deadline: Instant,
    ) -> Result<Creating, LaunchError> {
        let spec = load(bundle)?;
        let mut plan = ContainerPlan::new(bundle, &spec)?;
        let stdio = settle_stdio(&mut plan.process, stdio.into());
        let filters = self.filters(&spec)?;
        let ReadyHelper(mut attempt) = helper;
        if let Some(linux) = spec.linux()
            && let Some(path) = linux.cgroups_path()
        {
            let resources = linux.resources().clone().unwrap_or_default();
            let cgroup = Cgroup::create(&self.hierarchies, path, &resources)?;
            // Held first: what follows may fail.
            let cgroup = attempt.cgroup.insert(cgroup);
            if let Some((uid, gid)) = plan.divider() {
                cgroup.delegate(uid, gid)?;
            }
        }
        let cgroup = attempt.cgroup.as_ref().map(Cgroup::open_directories).transpose()?;
        let plan = json_file("plan", &plan).map_err(send_failed)?;
        let mut parcel = Parcel::new(Task::Create);
        parcel.add(Role::Plan, plan.as_fd());
        parcel.add(Role::Seed, self.seed.as_fd());
        if let Some(filters) = &filters {
            parcel.add(Role::Filters, filters.as_fd());
        }
        if let Some(directories) = &cgroup {
            parcel.add_cgroup(&directories.unified, &directories.legacy);
        }
        parcel.add_stdio(&stdio);
        parcel.send(attempt.control()).map_err(send_failed)?;
        fail_points::pass("instruct launcher");
        attempt.reach_spawned(deadline)?;
        fail_points::pass("make namespaces");
        Ok(Creating::new(attempt))
    }

    /// Executes `process` in the running container of `bundle`, whose init is
    /// `init_pid` and `init`: in the same namespaces, cgroups and under the
    /// same seccomp profile. Without `process.capabilities` it has none.
    ///
    /// The container's runtime may have been another one.
    ///
    /// # Errors
    /// See [`LaunchError`]; [`LaunchError::ContainerGone`] when init has ended.
    pub fn exec(
        &self,
        bundle: &Path,
        init_pid: Pid,
        init: BorrowedFd<'_>,
        process: &Process,
        stdio: Stdio,
    ) -> Result<Started, LaunchError> {
        self.exec_with(self.ready()?, bundle, init_pid, init, process, stdio)
    }

    /// Like [`exec`](Self::exec), as a visitor: the process and all it leaves
    /// running are not among [`Cgroup::own_procs`] of the container.
    ///
    /// # Errors
    /// See [`exec`](Self::exec).
    pub fn visit(
        &self,
        bundle: &Path,
        init_pid: Pid,
        init: BorrowedFd<'_>,
        process: &Process,
        stdio: Stdio,
    ) -> Result<Started, LaunchError> {
        let container = Container { bundle, init_pid, init };
        self.exec_as(self.ready()?, &container, process, stdio, Some(Part::Visitors))
    }

    /// Like [`exec_with`](Self::exec_with), in a part of the container of which
    /// init's own processes are none: see [`Part::Session`].
    ///
    /// # Errors
    /// See [`exec`](Self::exec).
    pub fn exec_apart(
        &self,
        helper: ReadyHelper,
        bundle: &Path,
        init_pid: Pid,
        init: BorrowedFd<'_>,
        process: &Process,
        stdio: Stdio,
    ) -> Result<Started, LaunchError> {
        let container = Container { bundle, init_pid, init };
        self.exec_as(helper, &container, process, stdio, Some(Part::Session))
    }

    /// Like [`exec`](Self::exec), by a helper that was started before.
    ///
    /// # Errors
    /// See [`exec`](Self::exec).
    pub fn exec_with(
        &self,
        helper: ReadyHelper,
        bundle: &Path,
        init_pid: Pid,
        init: BorrowedFd<'_>,
        process: &Process,
        stdio: Stdio,
    ) -> Result<Started, LaunchError> {
        let container = Container { bundle, init_pid, init };
        self.exec_as(helper, &container, process, stdio, None)
    }

    fn exec_as(
        &self,
        helper: ReadyHelper,
        container: &Container<'_>,
        process: &Process,
        stdio: Stdio,
        part: Option<Part>,
    ) -> Result<Started, LaunchError> {
        let &Container { bundle, init_pid, init } = container;
        let spec = load(bundle)?;
        let mut process = ProcessPlan::new("process", process)?;
        let stdio = settle_stdio(&mut process, Some(stdio));
        let filters = self.filters(&spec)?;
        let ReadyHelper(mut attempt) = helper;
        let namespaces = foreign_namespaces(init_pid)?;
        let plan = ExecPlan {
            namespaces,
            user_namespace: namespaces & LinuxNamespaceType::User as u64 != 0,
            process,
        };
        let mut cgroup = self.hierarchies.of_process(init_pid)?;
        if let Some(part) = part
            && let Some(path) =
                spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref())
        {
            Cgroup::open(&self.hierarchies, path)?.lead_to(part, &mut cgroup)?;
        }
        // The number could have been given to a stranger before its cgroups
        // and namespaces were read; if init lives now, it lived then.
        if !alive(init) {
            return Err(LaunchError::ContainerGone);
        }
        let plan = json_file("plan", &plan).map_err(send_failed)?;
        let mut parcel = Parcel::new(Task::Exec);
        parcel.add(Role::Plan, plan.as_fd());
        parcel.add(Role::Init, init);
        if let Some(filters) = &filters {
            parcel.add(Role::Filters, filters.as_fd());
        }
        parcel.add_cgroup(&cgroup.unified, &cgroup.legacy);
        parcel.add_stdio(&stdio);
        parcel.send(attempt.control()).map_err(send_failed)?;
        fail_points::pass("instruct launcher");
        let started = attempt.reach_running(Instant::now() + STEP_LIMIT);
        match started {
            Err(_) if !alive(init) => Err(LaunchError::ContainerGone),
            Err(error) => Err(error),
            Ok(()) => attempt.into_started(),
        }
    }

    fn filters(&self, spec: &Spec) -> Result<Option<std::sync::Arc<OwnedFd>>, LaunchError> {
        let profile: Option<&LinuxSeccomp> =
            spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        Ok(profile.map(|profile| self.filters.get(profile)).transpose()?)
    }
}

/// Makes plan and streams agree; the caller's choice goes first.
fn settle_stdio(process: &mut ProcessPlan, choice: Option<Stdio>) -> Stdio {
    match choice {
        Some(Stdio::Terminal) => {
            process.terminal.get_or_insert(TerminalPlan { columns: 0, rows: 0 });
            Stdio::Terminal
        }
        Some(stdio) => {
            process.terminal = None;
            stdio
        }
        None if process.terminal.is_some() => Stdio::Terminal,
        None => Stdio::Null,
    }
}

fn load(bundle: &Path) -> Result<Spec, LaunchError> {
    let path = bundle.join("config.json");
    match fs::read(&path) {
        Err(source) => Err(LaunchError::ReadConfig { path, source }),
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|source| LaunchError::ParseConfig { path, source }),
    }
}

fn send_failed(source: io::Error) -> LaunchError {
    LaunchError::Helper { action: "instruct", source }
}

/// Starts a helper that waits for its request.
fn spawn(helper: &OwnedFd) -> Result<Attempt, LaunchError> {
    let start = || -> io::Result<(OwnedFd, Child)> {
        let flags = SocketFlags::CLOEXEC;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // The command holds `there` until it goes out of scope here; only the
        // helper's copies may be left when end-of-file is waited for.
        let child = Command::new(format!("/proc/self/fd/{}", helper.as_raw_fd()))
            .arg0("rolltop-launcher")
            .env_clear()
            .stdin(HelperStdio::from(there))
            .stdout(HelperStdio::null())
            .spawn()?;
        Ok((here, child))
    };
    let started = start();
    fail_points::pass("start launcher");
    match started {
        Ok((control, child)) => Ok(Attempt::new(control, child)),
        Err(source) => Err(LaunchError::Helper { action: "start", source }),
    }
}

fn make_seed(helper: &OwnedFd) -> Result<OwnedFd, LaunchError> {
    let mut attempt = spawn(helper)?;
    Parcel::new(Task::Seed).send(attempt.control()).map_err(send_failed)?;
    let deadline = Instant::now() + STEP_LIMIT;
    match attempt.next(deadline, "make its seed namespace")? {
        Some((Report::Seed, descriptors)) => {
            descriptors.into_iter().next().ok_or_else(|| send_failed(Errno::BADMSG.into()))
        }
        Some(_) => Err(send_failed(Errno::PROTO.into())),
        None => Err(LaunchError::Killed { during: "make its seed namespace" }),
    }
}

/// The namespaces in which a process differs from this one.
fn foreign_namespaces(pid: Pid) -> Result<u64, LaunchError> {
    const NAMES: [(&str, LinuxNamespaceType); 7] = [
        ("user", LinuxNamespaceType::User),
        ("mnt", LinuxNamespaceType::Mount),
        ("pid", LinuxNamespaceType::Pid),
        ("net", LinuxNamespaceType::Network),
        ("ipc", LinuxNamespaceType::Ipc),
        ("uts", LinuxNamespaceType::Uts),
        ("cgroup", LinuxNamespaceType::Cgroup),
    ];
    let mut foreign = 0;
    for (name, kind) in NAMES {
        let read = |process: String| fs::read_link(format!("/proc/{process}/ns/{name}"));
        let theirs = match read(pid.as_raw_nonzero().to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LaunchError::ContainerGone);
            }
            result => result.map_err(send_failed)?,
        };
        if theirs != read("self".into()).map_err(send_failed)? {
            foreign |= kind as u64;
        }
    }
    Ok(foreign)
}

/// Whether the process of `pidfd` has not ended yet.
fn alive(pidfd: BorrowedFd<'_>) -> bool {
    matches!(wire::wait_readable(pidfd, Instant::now()), Ok(false))
}
