//! Holding the disk of a running desktop still for a moment.
//!
//! Three things see to it that no desktop stays frozen:
//! - Whoever works meanwhile has until [`LIMIT`] and thaws then, finished or not.
//! - A guard, a process of its own, waits for the end of a pipe. If this process
//!   dies, the kernel closes the pipe, and the guard thaws.
//! - Should both be killed at once, a marker is left, and the next
//!   [`Overlays::open`](crate::Overlays::open) thaws.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rolltop_sys::filesystem::{freeze, thaw};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::dir_lock::{lock_waiting, unlock};
use crate::live::{Live, disk_of};
use crate::lock::is_named;
use crate::overlay_file::OverlayKind;
use crate::places::{Places, kind_of};
use crate::step::{Step, StepError};
use crate::store_error::StoreError;

/// How long a desktop may be held still. Programs in it hang meanwhile as soon
/// as they write.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// `read` ends with the pipe, that is, with this process. Descriptor 1 is the
/// disk: no path, so no name from outside gets into the script.
const GUARD: &str = "read end; exec fsfreeze --unfreeze /proc/self/fd/1";

/// Why a running desktop's disk could not be held still.
#[derive(Debug, Error)]
pub enum FreezeError {
    /// The process that thaws if this one dies did not start.
    #[error("start the guard that thaws {} if this process dies", overlay.display())]
    Guard {
        /// The overlay file.
        overlay: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel does not freeze it.
    #[error("freeze the file system in {}", overlay.display())]
    Freeze {
        /// The overlay file.
        overlay: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was thawed too early, so the copy is not of one instant.
    #[error("the file system in {} did not stay frozen while it was copied", overlay.display())]
    Thawed {
        /// The overlay file.
        overlay: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What changed could not be copied in time.
    #[error(
        "copying {} while it is in use would hold its desktop still for more than {} s; \
         do it while it is stopped, or keep overlays on XFS or btrfs, which copy at once",
        overlay.display(),
        LIMIT.as_secs()
    )]
    TooLong {
        /// The overlay file.
        overlay: PathBuf,
    },
    /// The marker for the next start could not be made.
    #[error(transparent)]
    Marker(#[from] StepError),
}

/// A frozen file system. It is thawed when this is dropped.
#[derive(Debug)]
pub(crate) struct Frozen<'a> {
    live: &'a Live,
    overlay: &'a Path,
    guard: Child,
    marker: Marker,
    until: Instant,
    thawed: bool,
}

/// Tells the next start that a file system may be frozen.
#[derive(Debug)]
struct Marker {
    file: File,
    path: PathBuf,
}

// === impl Frozen ===

impl<'a> Frozen<'a> {
    /// Freezes the file system of the overlay `kind`, whose file is `overlay`.
    pub(crate) fn new(
        places: &Places,
        kind: &OverlayKind,
        live: &'a Live,
        overlay: &'a Path,
    ) -> Result<Self, FreezeError> {
        let marker = Marker::create(places, kind)?;
        let guard = start_guard(live.disk())
            .map_err(|source| FreezeError::Guard { overlay: overlay.to_owned(), source })?;
        let until = Instant::now() + LIMIT;
        // From here on dropping this ends the guard, frozen or not.
        let mut frozen = Self { live, overlay, guard, marker, until, thawed: false };
        if let Err(source) = freeze(live.disk()) {
            frozen.thawed = true;
            return Err(FreezeError::Freeze { overlay: overlay.to_owned(), source });
        }
        Ok(frozen)
    }

    /// When work has to end.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Thaws, and tells whether it was frozen all the time until now.
    pub(crate) fn thaw(mut self) -> Result<(), FreezeError> {
        self.thawed = true;
        thaw(self.live.disk())
            .map_err(|source| FreezeError::Thawed { overlay: self.overlay.to_owned(), source })
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if !self.thawed
            && let Err(error) = thaw(self.live.disk())
        {
            tracing::error!(overlay = %self.overlay.display(), %error, "cannot thaw");
        }
        // The guard goes before the marker, or it might thaw what another call
        // freezes next.
        if let Err(error) = self.guard.kill().and_then(|()| self.guard.wait().map(drop)) {
            tracing::warn!(%error, "cannot end the guard of a freeze");
        }
        self.marker.remove();
    }
}

fn start_guard(disk: BorrowedFd<'_>) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", GUARD])
        .stdin(Stdio::piped())
        .stdout(disk.try_clone_to_owned()?)
        .stderr(Stdio::null())
        .spawn()
}

// === impl Marker ===

impl Marker {
    /// Waits for another call that freezes the same overlay.
    fn create(places: &Places, kind: &OverlayKind) -> Result<Self, StepError> {
        let path = places.frozen_marker(kind);
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .step("create", &path)?;
            lock_waiting(&file).step("lock", &path)?;
            if is_named(&file, &path)? {
                return Ok(Self { file, path });
            }
        }
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a marker was left behind");
        }
        unlock(&self.file);
    }
}

/// Thaws what a call had frozen that is no more.
pub(crate) fn thaw_abandoned(places: &Places) -> Result<(), StoreError> {
    let dir = places.frozen();
    for entry in std::fs::read_dir(&dir).step("list", &dir)? {
        let path = entry.step("list", &dir)?.path();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if let Some(kind) = marked_kind(&path)
            && let Some(disk) = disk_of(&places.overlay(&kind))?
        {
            // An error means that it was not frozen: the guard was faster.
            if thaw(disk.as_fd()).is_ok() {
                tracing::warn!(%kind, "was left frozen, and is thawed now");
            }
        }
        Marker { file, path }.remove();
    }
    Ok(())
}

/// The marker of `persistent/NAME.ext4` is `persistent.NAME.ext4`.
fn marked_kind(path: &Path) -> Option<OverlayKind> {
    let (sub, name) = path.file_name()?.to_str()?.split_once('.')?;
    kind_of(sub, Path::new(name))
}
