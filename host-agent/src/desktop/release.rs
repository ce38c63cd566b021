//! Taking a desktop down to nothing. Needs only its number, may be repeated,
//! never stops half-way: what fails is collected and the rest goes on.

use std::{fs, io, path::Path, sync::Arc, time::Instant};

use futures_util::future::join_all;
use nix::errno::Errno;
use rolltop_fail_points as fail_points;
use rolltop_launcher::cgroup::{Cgroup, CgroupError};
use rolltop_overlay::{OverlayKind, close_root};
use rustix::mount::{UnmountFlags, unmount};
use thiserror::Error;

use super::disks::{Disks, DisksError};
use crate::{
    address::{Number, link_name},
    host::Host,
    network::NetworkError,
    paths::DesktopPaths,
    process::Process,
    request::DiskRates,
    runtime::RuntimeError,
    watcher,
    work::blocking,
};

/// Something that could not be taken away.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The desktop's link.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The runtime's own state.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its control group.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// The limits of its disks.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// Its volatile overlay.
    #[error(transparent)]
    Overlay(#[from] rolltop_overlay::StoreError),
    /// Its mounts.
    #[error(transparent)]
    Mounts(#[from] rolltop_overlay::StepError),
    /// Something outside still uses its disk.
    #[error("the overlay is still held by /dev/loop{0}: something outside of the desktop uses it")]
    Held(u32),
    /// Processes and files.
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
}

/// Ends every process of desktop `number` and takes away all it had. A
/// persistent overlay is kept. The record goes last: as long as anything else
/// is there, the next agent finds it.
pub async fn release(host: &Arc<Host>, number: Number, runtime: Option<&str>) -> Vec<ReleaseError> {
    let paths = host.paths.desktop(number);
    let mut errors = Vec::new();

    // The link first: with its namespace it would end some time later.
    let link = link_name(number);
    let group = match host.cgroup(number) {
        Ok(group) => group,
        Err(error) => return vec![error.into()],
    };
    let (mut ended, detached) =
        tokio::join!(end_processes(host, group.clone()), host.network.detach(&link));
    if ended.is_err() {
        // They may wait in the kernel for a server that is gone.
        let storage = Arc::clone(host);
        if blocking(move || storage.storage.let_go()).await {
            ended = end_processes(host, group.clone()).await;
        }
    }
    fail_points::pass("end processes");
    errors.extend(ended.err());
    errors.extend(detached.err().map(Into::into));
    if !errors.is_empty() {
        // Mounts in use by the living must not be torn away from them.
        return errors;
    }

    let id = number.to_string();
    for name in host.runtimes.names().filter(|name| runtime.is_none_or(|used| used == *name)) {
        if let Some((_, runtime)) = host.runtimes.get(Some(name)) {
            errors.extend(runtime.delete(&id, &paths.bundle()).await.err().map(Into::into));
        }
    }
    let host = Arc::clone(host);
    errors.extend(blocking(move || take_away(&host, number, &paths, &group)).await);
    errors
}

/// Kills what is in the desktop's control group and waits for its end.
async fn end_processes(host: &Host, group: Cgroup) -> Result<(), ReleaseError> {
    let deadline = Instant::now() + host.config.deadlines.runtime;
    let held: Vec<Process> = {
        let group = group.clone();
        let pids = blocking(move || watcher::pids(&group)).await?;
        // Held before they are killed: a pid may be reused afterwards.
        // One that is not held is not reaped, and holds up the end of init.
        let held = pids.into_iter().filter_map(|pid| Process::find(pid).transpose());
        let held: io::Result<_> = held.collect();
        held.map_err(|source| ReleaseError::io("hold", "its processes", source))?
    };
    // Each is reaped as it ends, whatever the order: init's own end waits until
    // nothing of its pid namespace is left, processes of ours in it included.
    let reaped = join_all(held.iter().map(async |process| {
        process.ended().await?;
        process.reap();
        io::Result::Ok(())
    }));
    let killed = blocking(move || group.kill_all(deadline));
    let both = async { tokio::join!(killed, reaped) };
    match tokio::time::timeout_at(deadline.into(), both).await {
        Err(_elapsed) => Err(ReleaseError::io(
            "wait for",
            "the end of its processes",
            io::ErrorKind::TimedOut.into(),
        )),
        Ok((killed, waited)) => {
            killed?;
            waited
                .into_iter()
                .collect::<io::Result<()>>()
                .map_err(|source| ReleaseError::io("wait for", "the end of its processes", source))
        }
    }
}

fn take_away(
    host: &Host,
    number: Number,
    paths: &DesktopPaths,
    group: &Cgroup,
) -> Vec<ReleaseError> {
    let mut errors: Vec<ReleaseError> = Vec::new();
    errors.extend(unlimit(host, paths).err().map(Into::into));
    for mounts in [paths.mounts(), paths.home()] {
        let closed = close_root(&mounts);
        errors.extend(closed.errors.into_iter().map(Into::into));
        errors.extend(closed.held_by_loop.map(ReleaseError::Held));
        fail_points::pass("close root");
    }
    let shared = paths.shared();
    let unmounted = unmount(&shared, UnmountFlags::NOFOLLOW);
    fail_points::pass("unmount shared directory");
    match unmounted {
        // Not a mount point, or not there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => errors.push(ReleaseError::io("unmount", shared.display(), error.into())),
    }
    let deadline = Instant::now() + host.config.deadlines.runtime;
    errors.extend(group.remove(deadline).err().map(Into::into));
    fail_points::pass("remove control group");
    if !errors.is_empty() {
        return errors;
    }
    let volatile = OverlayKind::Volatile(number.get());
    errors.extend(host.keep.own().delete(&volatile).err().map(Into::into));
    fail_points::pass("delete overlay");
    // Never a recursive delete: should something still be mounted below,
    // against all that was seen, it would delete a person's files.
    for dir in [paths.mounts(), paths.home(), shared] {
        errors.extend(remove_empty_dirs(&dir).err());
        fail_points::pass("remove mount points");
    }
    for dir in [paths.bundle(), paths.dir().to_owned()] {
        if errors.is_empty() {
            errors.extend(remove_files_and_dir(&dir).err());
        }
    }
    errors
}

/// Its disks' devices are anybody's afterwards.
fn unlimit(host: &Host, paths: &DesktopPaths) -> Result<(), DisksError> {
    let none = DiskRates::default();
    Disks::all_of(paths)?.limit_write_back(&host.hierarchies, none)
}

/// Removes directories without files in them.
fn remove_empty_dirs(dir: &Path) -> Result<(), ReleaseError> {
    let failed = |source| ReleaseError::io("remove", dir.display(), source);
    let entries = match fs::read_dir(dir) {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        remove_empty_dirs(&entry.map_err(failed)?.path())?;
    }
    fs::remove_dir(dir).map_err(failed)
}

/// Removes the plain files in a directory, and it.
fn remove_files_and_dir(dir: &Path) -> Result<(), ReleaseError> {
    let failed = |source| ReleaseError::io("remove", dir.display(), source);
    let entries = match fs::read_dir(dir) {
        Err(error) if is_gone(&error) => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        fail_points::pass("remove file");
    }
    fs::remove_dir(dir).map_err(failed)?;
    fail_points::pass("remove directory");
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}

impl ReleaseError {
    fn io(verb: &'static str, operand: impl ToString, source: io::Error) -> Self {
        Self::Io { verb, operand: operand.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_where_only_mount_points_belong_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = dir.path().join("mounts");
        fs::create_dir_all(mounts.join("disk/upper")).unwrap();
        let precious = mounts.join("disk/upper/thesis.odt");
        fs::write(&precious, "years").unwrap();
        assert!(remove_empty_dirs(&mounts).is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"years");
        fs::remove_file(precious).unwrap();
        remove_empty_dirs(&mounts).unwrap();
        assert!(!mounts.exists());
        remove_empty_dirs(&mounts).unwrap();
    }

    #[test]
    fn a_directory_among_files_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        fs::create_dir_all(bundle.join("surprise")).unwrap();
        assert!(remove_files_and_dir(&bundle).is_err());
        assert!(bundle.join("surprise").exists());
    }
}
