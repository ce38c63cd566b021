//! The processes of a desktop, read from `/proc` although they are hostile.
//!
//! * A pid may become another's at any moment. So a process's directory is
//!   opened first and the desktop's list read once more: what is in the list
//!   then is what was opened, or the directory answers `ESRCH` from then on.
//! * A process chooses its name and command line: any bytes, any length.
//! * Its command line is read from its memory, which waits for a lock that it
//!   may hold for ever (in a page fault on a file system that does not answer).
//!   So command lines come last, on a thread that is waited for only so long,
//!   and there are few of these threads.

mod parse;

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rolltop_launcher::cgroup::{Cgroup, CgroupError};
use rustix::fs::{Mode, OFlags, open, openat};
use thiserror::Error;
use tokio::sync::Semaphore;

use self::parse::{Ids, Stat, Status};
use crate::{process::ProcessId, watcher, work::blocking};

/// Directories open at a time.
const AT_ONCE: usize = 128;
/// For all command lines of a desktop.
const COMMANDS: Duration = Duration::from_secs(1);
/// Threads that may read command lines at a time.
static READERS: Semaphore = Semaphore::const_new(8);
/// Of a command line.
const MAX_COMMAND_BYTES: u64 = 4 * 1024;
/// Of the other files; the kernel's own are below 2 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A process.
#[derive(Clone, Debug, PartialEq)]
pub struct DesktopProcess {
    /// As the desktop sees it.
    pub pid: i32,
    /// As the desktop sees it; 0: outside of it.
    pub parent_pid: i32,
    /// As the desktop sees it.
    pub uid: u32,
    /// The kernel's letter.
    pub state: char,
    /// Its own word.
    pub name: String,
    /// Its own words; empty if they could not be read.
    pub command: Vec<String>,
    /// Used so far.
    pub cpu_time: Duration,
    /// Memory it has now.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// When it began.
    pub started_at: SystemTime,
}

/// Processes, by pid.
#[derive(Clone, Debug)]
pub struct Processes {
    /// No more than asked for.
    pub list: Vec<DesktopProcess>,
    /// There are more.
    pub more: bool,
}

/// The processes cannot be listed.
#[derive(Debug, Error)]
pub enum ProcessesError {
    /// Its control group.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// `/proc`.
    #[error("cannot read {operand}")]
    Io {
        /// Which file.
        operand: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What was found of one process, and where its command line is.
struct Found {
    process: DesktopProcess,
    outer_parent: i32,
    outer: i32,
    dir: OwnedFd,
}

/// Lists up to `most` processes of the desktop whose init is `init`.
///
/// # Errors
/// The list cannot be had. A process that cannot be read, or has ended, is
/// left out.
pub async fn list(
    group: Cgroup,
    init: ProcessId,
    most: usize,
) -> Result<Processes, ProcessesError> {
    let found = blocking(move || find(&group, init, most)).await?;
    let Listed { list, dirs, more } = found;
    let list = Arc::new(Mutex::new(list));
    // Not queued for: better no command lines than none of the rest.
    if let Ok(permit) = READERS.try_acquire() {
        let its = Arc::clone(&list);
        let reading = blocking(move || {
            for (at, dir) in dirs.into_iter().enumerate() {
                let command = command(&dir);
                if let Some(process) = lock(&its).get_mut(at) {
                    process.command = command;
                }
                // Nobody waits any more.
                if Arc::strong_count(&its) == 1 {
                    break;
                }
            }
            drop(permit);
        });
        if tokio::time::timeout(COMMANDS, reading).await.is_err() {
            tracing::debug!("a command line does not let itself be read");
        }
    }
    let list = std::mem::take(&mut *lock(&list));
    Ok(Processes { list, more })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing under this lock leaves it half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listed {
    list: Vec<DesktopProcess>,
    /// In the same order.
    dirs: Vec<OwnedFd>,
    more: bool,
}

fn find(group: &Cgroup, init: ProcessId, most: usize) -> Result<Listed, ProcessesError> {
    let ids = Ids::parse(&text_of(&format!("/proc/{}/uid_map", init.pid))?);
    let machine = Machine::read()?;
    let mut pids = watcher::pids(group)?;
    pids.sort_unstable();
    pids.dedup();
    let more = pids.len() > most;
    pids.truncate(most);
    let mut found = Vec::with_capacity(pids.len());
    for chunk in pids.chunks(AT_ONCE) {
        let opened: Vec<(i32, OwnedFd)> =
            chunk.iter().filter_map(|pid| Some((*pid, directory(*pid)?))).collect();
        let still = watcher::pids(group)?;
        let ours = opened.into_iter().filter(|(pid, _)| still.contains(pid));
        found.extend(ours.filter_map(|(pid, dir)| look(pid, dir, &ids, &machine)));
    }
    let inner: Vec<(i32, i32)> = found.iter().map(|it| (it.outer, it.process.pid)).collect();
    found.sort_unstable_by_key(|it| it.process.pid);
    let (mut list, mut dirs) = (Vec::new(), Vec::new());
    for Found { mut process, outer_parent, dir, .. } in found {
        let parent = inner.iter().find(|(outer, _)| *outer == outer_parent);
        process.parent_pid = parent.map_or(0, |(_, inner)| *inner);
        list.push(process);
        dirs.push(dir);
    }
    Ok(Listed { list, dirs, more })
}

fn directory(pid: i32) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(format!("/proc/{pid}"), flags, Mode::empty()).ok()
}

/// `None`: it has ended, or is ending.
fn look(outer: i32, dir: OwnedFd, ids: &Ids, machine: &Machine) -> Option<Found> {
    let stat = Stat::parse(&read_at(&dir, "stat", MAX_FILE_BYTES).ok()?)?;
    let status = Status::parse(&read_at(&dir, "status", MAX_FILE_BYTES).ok()?)?;
    let process = DesktopProcess {
        pid: status.inner_pid,
        parent_pid: 0,
        uid: ids.inside(status.uid),
        state: stat.state,
        name: stat.name,
        command: Vec::new(),
        cpu_time: machine.time(stat.cpu_ticks),
        resident_bytes: stat.resident_pages.saturating_mul(machine.page_bytes),
        threads: stat.threads,
        started_at: machine.boot + machine.time(stat.start_ticks),
    };
    Some(Found { process, outer_parent: stat.parent, outer, dir })
}

fn command(dir: &OwnedFd) -> Vec<String> {
    // A process without memory, or that is ending, has none.
    let bytes = read_at(dir, "cmdline", MAX_COMMAND_BYTES).unwrap_or_default();
    parse::command(&bytes)
}

fn read_at(dir: &OwnedFd, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(file).take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text_of(path: &str) -> Result<String, ProcessesError> {
    std::fs::read_to_string(path)
        .map_err(|source| ProcessesError::Io { operand: path.into(), source })
}

/// What turns the kernel's units into ours.
struct Machine {
    ticks_per_second: u64,
    page_bytes: u64,
    boot: SystemTime,
}

impl Machine {
    fn read() -> Result<Self, ProcessesError> {
        const STAT: &str = "/proc/stat";
        let stat = text_of(STAT)?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let boot: u64 = boot.ok_or_else(|| ProcessesError::Io {
            operand: STAT.into(),
            source: io::ErrorKind::InvalidData.into(),
        })?;
        Ok(Self {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: rustix::param::page_size() as u64,
            boot: SystemTime::UNIX_EPOCH + Duration::from_secs(boot),
        })
    }

    fn time(&self, ticks: u64) -> Duration {
        let (whole, rest) = (ticks / self.ticks_per_second, ticks % self.ticks_per_second);
        Duration::from_secs(whole)
            + Duration::from_nanos(rest * 1_000_000_000 / self.ticks_per_second)
    }
}
