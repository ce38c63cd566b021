//! Executing a process in a running container, and what that shares with
//! making one.

use std::os::fd::{AsFd, OwnedFd};

use rolltop_sys::clone::{CloneOptions, Cloned, clone_process};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec, write};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::execute::{Ready, Start};
use super::gate::Gate;
use super::inbox::{Inbox, Streams};
use super::terminal::Terminal;
use super::{Ending, credentials};
use crate::error::{AtStage, Failure, Stage};
use crate::plan::{ExecPlan, LimitKind, ProcessPlan};
use crate::wire::{self, Report};

/// Executes the process of the request. Returns in the helper when the child
/// goes on alone, and in the child when it fails.
pub(super) fn exec(control: &OwnedFd, mut inbox: Inbox) -> Result<(), Ending> {
    let plan: ExecPlan = inbox.plan()?;
    let filters = inbox.filters()?;
    let streams = match inbox.streams() {
        Some(streams) => streams,
        None => null_streams()?,
    };
    prepare(&plan.process)?;
    enter_legacy(&inbox.legacy)?;
    let init = inbox.init.take().ok_or(Errno::BADMSG).at(Stage::Request, "init")?;
    let namespaces = u32::try_from(plan.namespaces)
        .map_err(|_| Errno::BADMSG)
        .at(Stage::Request, "namespaces")?;
    let namespaces = ThreadNameSpaceType::from_bits_retain(namespaces);
    // A mount of version 2 with `nsdelegate`, as systemd makes it, lets nobody
    // move a process between groups that the mover's namespace does not both
    // contain (ENOENT, `cgroup_procs_write_permission`): this namespace is left
    // to the child, which is born in the right group.
    let of_groups = namespaces & ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(init.as_fd(), namespaces - of_groups)
        .at(Stage::JoinNamespace, "container")?;
    let options = CloneOptions {
        namespaces: 0,
        sibling: true,
        cgroup: inbox.unified.as_ref().map(AsFd::as_fd),
    };
    let gate = Gate::new()?;
    match clone_process(&options).at(Stage::Clone, "process")? {
        Cloned::Child => {
            if !of_groups.is_empty() {
                move_into_thread_name_spaces(init.as_fd(), of_groups)
                    .at(Stage::JoinNamespace, "cgroup")?;
            }
            drop((inbox, init));
            gate.wait()?;
            if plan.user_namespace {
                credentials::become_root()?;
            }
            rustix::process::setsid().at(Stage::StartSession, "setsid")?;
            let streams = match plan.process.terminal {
                Some(size) => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let pts = open("/dev/pts", flags, Mode::empty())
                        .at(Stage::OpenTerminal, "/dev/pts")?;
                    Terminal::open(&pts, size)?.hand_over(control.as_fd(), &plan.process)?
                }
                None => streams,
            };
            let ready = Ready { control, process: &plan.process, filters: filters.as_ref() };
            Err(ready.execute(streams, Start::AtOnce))
        }
        Cloned::Parent { pid, pidfd } => {
            let spawned = Report::Spawned { pid };
            wire::send(control.as_fd(), &spawned, &[pidfd.as_fd()]).at(Stage::Clone, "report")?;
            Ok(gate.open()?)
        }
    }
}

/// Three times `/dev/null`, the host's.
pub(super) fn null_streams() -> Result<Streams, Failure> {
    const NULL: &str = "/dev/null";
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = open(NULL, flags, Mode::empty()).at(Stage::SetStreams, NULL)?;
    let copy = || fcntl_dupfd_cloexec(&null, 3).at(Stage::SetStreams, NULL);
    Ok(Streams { stdin: copy()?, stdout: copy()?, stderr: copy()? })
}

/// What takes the host's rights, done to the helper itself and inherited.
pub(super) fn prepare(process: &ProcessPlan) -> Result<(), Failure> {
    if let Some(score) = process.oom_score_adj {
        const PATH: &str = "/proc/self/oom_score_adj";
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = open(PATH, flags, Mode::empty()).at(Stage::SetOomScore, PATH)?;
        write(&file, score.to_string().as_bytes()).at(Stage::SetOomScore, score)?;
    }
    if let Some(profile) = &process.profile {
        ask_for(profile)?;
    }
    for limit in &process.limits {
        let bound = |value: u64| (value != u64::MAX).then_some(value);
        let new = Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
        let name = format!("{:?} to {}, at most {}", limit.kind, limit.soft, limit.hard);
        setrlimit(resource(limit.kind), new).at(Stage::SetLimit, name)?;
    }
    Ok(())
}

/// Has the next program run under an AppArmor profile. What was asked for is
/// handed down to a forked child (`apparmor_task_alloc` in
/// `security/apparmor/lsm.c`), and is asked for through the host's procfs: the
/// container's could be something else (CVE-2019-16884).
fn ask_for(profile: &str) -> Result<(), Failure> {
    // The older name is whichever module was given it.
    const FILES: [&str; 2] = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"];
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = match open(FILES[0], flags, Mode::empty()) {
        Err(Errno::NOENT) => open(FILES[1], flags, Mode::empty()),
        opened => opened,
    };
    let file = opened.at(Stage::SetProfile, FILES[0])?;
    write(&file, format!("exec {profile}").as_bytes()).at(Stage::SetProfile, profile)?;
    Ok(())
}

fn resource(kind: LimitKind) -> Resource {
    match kind {
        LimitKind::Cpu => Resource::Cpu,
        LimitKind::Fsize => Resource::Fsize,
        LimitKind::Data => Resource::Data,
        LimitKind::Stack => Resource::Stack,
        LimitKind::Core => Resource::Core,
        LimitKind::Rss => Resource::Rss,
        LimitKind::Nproc => Resource::Nproc,
        LimitKind::Nofile => Resource::Nofile,
        LimitKind::Memlock => Resource::Memlock,
        LimitKind::As => Resource::As,
        LimitKind::Locks => Resource::Locks,
        LimitKind::Sigpending => Resource::Sigpending,
        LimitKind::Msgqueue => Resource::Msgqueue,
        LimitKind::Nice => Resource::Nice,
        LimitKind::Rtprio => Resource::Rtprio,
        LimitKind::Rttime => Resource::Rttime,
    }
}

/// Enters version 1 cgroups: 0 is this thread, the only one, and for that
/// alone the kernel does not stop the world (see [`crate::cgroup`]).
pub(super) fn enter_legacy(directories: &[OwnedFd]) -> Result<(), Failure> {
    for directory in directories {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let tasks =
            openat(directory, "tasks", flags, Mode::empty()).at(Stage::JoinCgroup, "tasks")?;
        write(&tasks, b"0").at(Stage::JoinCgroup, "tasks")?;
    }
    Ok(())
}
