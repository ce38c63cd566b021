//! Making a container: the helper's part, and the new process's.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rolltop_sys::clone::{CloneOptions, Cloned, clone_process};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, write};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::process::{Pid, chdir, fchdir, pivot_root};
use rustix::thread::set_thread_groups;

use super::execute::{self, Ready};
use super::gate::Gate;
use super::inbox::{Inbox, Streams};
use super::sources::Sources;
use super::terminal::Terminal;
use super::tree::Tree;
use super::{Ending, credentials, devices, join, mounts, seed};
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{ContainerPlan, IdMaps};
use crate::seccomp::FilterStack;
use crate::wire::{self, Report};

/// What the child builds from.
struct Materials {
    plan: ContainerPlan,
    filters: Option<FilterStack>,
    sources: Sources,
    streams: Streams,
}

/// Makes the container of the request. Returns in the helper when the child
/// goes on alone, and in the child when it fails.
pub(super) fn create(control: &OwnedFd, mut inbox: Inbox) -> Result<(), Ending> {
    let plan: ContainerPlan = inbox.plan()?;
    let filters = inbox.filters()?;
    let sources = Sources::open(&plan)?;
    let streams = match inbox.streams() {
        Some(streams) => streams,
        None => join::null_streams()?,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).at(Stage::MapIds, "/proc")?;
    for (kind, path) in &plan.namespaces.joined {
        let open = OFlags::RDONLY | OFlags::CLOEXEC;
        let name = path.display();
        let namespace =
            rustix::fs::open(path, open, Mode::empty()).at(Stage::JoinNamespace, &name)?;
        setns(namespace, clone_flags(*kind)).at(Stage::JoinNamespace, name)?;
    }
    join::prepare(&plan.process)?;
    join::enter_legacy(&inbox.legacy)?;
    let seed = inbox.seed.take().ok_or(Errno::BADMSG).at(Stage::Request, "seed")?;
    setns(seed, CloneFlags::CLONE_NEWNS).at(Stage::JoinNamespace, "seed")?;
    let gate = Gate::new()?;
    let options = CloneOptions {
        namespaces: plan.namespaces.new,
        sibling: true,
        cgroup: inbox.unified.as_ref().map(AsFd::as_fd),
    };
    match clone_process(&options).at(Stage::Clone, "container")? {
        Cloned::Child => {
            drop((proc, inbox));
            gate.wait()?;
            build(control, Materials { plan, filters, sources, streams })
        }
        Cloned::Parent { pid, pidfd } => {
            let spawned = Report::Spawned { pid };
            wire::send(control.as_fd(), &spawned, &[pidfd.as_fd()]).at(Stage::Clone, "report")?;
            if let Some(maps) = &plan.namespaces.id_maps {
                let pid = Pid::from_raw(pid).ok_or(Errno::SRCH).at(Stage::MapIds, "pid")?;
                write_maps(&proc, pid, maps)?;
            }
            Ok(gate.open()?)
        }
    }
}

fn clone_flags(bits: u64) -> CloneFlags {
    CloneFlags::from_bits_retain(i32::try_from(bits).unwrap_or_default())
}

fn write_maps(proc: &OwnedFd, pid: Pid, maps: &IdMaps) -> Result<(), Failure> {
    for (file, mappings) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        let name = format!("{}/{file}", pid.as_raw_nonzero());
        let text = IdMaps::text(mappings);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = openat(proc, &name, flags, Mode::empty()).at(Stage::MapIds, file)?;
        let written = write(&opened, text.as_bytes()).at(Stage::MapIds, file)?;
        if written != text.len() {
            return Err(Errno::IO).at(Stage::MapIds, file);
        }
    }
    Ok(())
}

/// The rest of the container's first process's life before its program.
fn build(control: &OwnedFd, materials: Materials) -> Result<(), Ending> {
    let Materials { plan, filters, sources, streams } = materials;
    if plan.namespaces.id_maps.is_some() {
        credentials::become_root()?;
    } else {
        set_thread_groups(&[]).at(Stage::SetUser, "groups")?;
    }
    rustix::process::setsid().at(Stage::StartSession, "setsid")?;
    if plan.namespaces.new_cgroup {
        unshare(CloneFlags::CLONE_NEWCGROUP).at(Stage::JoinNamespace, "cgroup")?;
    }
    let terminal = build_root(&plan, sources)?;
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).at(Stage::SetHostname, name)?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).at(Stage::SetHostname, name)?;
    }
    let streams = match terminal {
        Some(terminal) => terminal.hand_over(control.as_fd(), &plan.process)?,
        None => streams,
    };
    let ready = Ready { control, process: &plan.process, filters: filters.as_ref() };
    Err(ready.execute(streams, execute::Start::OnWord))
}

/// Mounts everything and makes it the root.
fn build_root(plan: &ContainerPlan, sources: Sources) -> Result<Option<Terminal>, Failure> {
    // Modes of what is made here are meant as they are said.
    rustix::process::umask(Mode::empty());
    let place = rustix::fs::open(seed::ROOT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Mount, "/")?;
    mounts::attach(sources.root.as_fd(), place.as_fd()).at(Stage::Mount, "/")?;
    let tree = Tree::new(sources.root);
    let later = mounts::make_all(&tree, &plan.mounts, sources.binds)?;
    if devices::wanted(&plan.mounts) {
        devices::make(&tree, sources.devices)?;
    }
    let terminal = match plan.process.terminal {
        Some(size) => {
            let terminal = Terminal::open(&devices::pts(&tree)?, size)?;
            devices::make_console(&tree, &terminal.slave)?;
            Some(terminal)
        }
        None => None,
    };
    write_sysctls(plan)?;
    for path in &plan.read_only {
        mounts::make_read_only(&tree, path)?;
    }
    for path in &plan.masked {
        mounts::mask(&tree, path)?;
    }
    for mount in &later {
        mount.apply()?;
    }
    enter(&tree, plan.root_read_only)?;
    Ok(terminal)
}

/// Through a procfs of this process's own: the one in the container may have
/// been interfered with (CVE-2019-16884, CVE-2025-52881).
fn write_sysctls(plan: &ContainerPlan) -> Result<(), Failure> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let proc = mounts::private_proc().at(Stage::SetSysctl, "proc")?;
    for (path, value) in &plan.sysctls {
        let name = path.display();
        let file =
            mounts::open_in(&proc, &Path::new("sys").join(path)).at(Stage::SetSysctl, &name)?;
        let written = write(&file, value.as_bytes()).at(Stage::SetSysctl, &name)?;
        if written != value.len() {
            return Err(Errno::IO).at(Stage::SetSysctl, name);
        }
    }
    Ok(())
}

/// Makes the tree the root, and lets go of the seed.
fn enter(tree: &Tree, read_only: bool) -> Result<(), Failure> {
    const STAGE: Stage = Stage::PivotRoot;
    if read_only {
        let change = rolltop_sys::mount_attr::MountChange {
            set: Some(MountAttrFlags::MOUNT_ATTR_RDONLY),
            ..Default::default()
        };
        rolltop_sys::mount_attr::change_mount(tree.root(), &change).at(Stage::MakeReadOnly, "/")?;
    }
    fchdir(tree.root()).at(STAGE, "fchdir")?;
    pivot_root(".", ".").at(STAGE, "pivot_root")?;
    // The old root lies on top of the new one now; see pivot_root(2).
    unmount(".", UnmountFlags::DETACH).at(STAGE, "umount")?;
    chdir(OsStr::new("/")).at(STAGE, "chdir")
}
