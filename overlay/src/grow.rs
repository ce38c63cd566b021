//! Making overlays larger.
//!
//! The kernel grows a mounted ext4 by itself, step by step in the journal; it
//! wants `CAP_SYS_RESOURCE` for that. Without, resize2fs does it, which a crash
//! may catch half-way: so it works on a copy, which takes the overlay's name
//! when it is whole.
//!
//! A file that is longer than its file system is harmless, and what a crash may
//! leave: the next open or call makes use of the rest.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use caps::{CapSet, Capability};
use rolltop_sys::loop_device::follow_file_size;
use rustix::fs::ext4_ioc_resize_fs;
use rustix::io::Errno;

use crate::draft::Draft;
use crate::live::Live;
use crate::overlay_file::{OverlayFile, OverlayKind};
use crate::repair::{RepairError, Verdict, e2fsck, make_mountable};
use crate::scratch_mount::{BLOCK_BYTES, ScratchMount, open_root_of};
use crate::size::OverlaySize;
use crate::step::{Step, StepError};
use crate::store::Overlays;
use crate::store_error::StoreError;
use crate::superblock::Superblock;
use crate::tool;

/// Minutes for terabytes that are full.
const DEADLINE: Duration = Duration::from_secs(600);

const NO_CAPABILITY: &str = "this process lacks CAP_SYS_RESOURCE";
const OLD_LAYOUT: &str = "its file system has the feature sparse_super2";

// === impl Overlays ===

impl Overlays {
    /// Makes an overlay larger, in use or not; fine if it has that size.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Shrink`] for less than it has,
    /// [`StoreError::GrowStopped`] if it is in use and cannot grow meanwhile.
    pub fn grow(&self, kind: &OverlayKind, size: OverlaySize) -> Result<OverlayFile, StoreError> {
        self.check_fits_disk(kind, size)?;
        let path = self.places.overlay(kind);
        let grown = match self.lock(kind) {
            Ok(locked) => self.grow_stopped(kind, locked.file(), size),
            Err(StoreError::InUse(_)) => {
                let live = Live::find(&path)?.ok_or_else(|| StoreError::InUse(kind.clone()))?;
                self.grow_live(kind, &live, size)
            }
            Err(error) => Err(error),
        };
        grown.map_err(|error| self.or_no_space(kind, error))?;
        self.get(kind)
    }

    fn grow_stopped(
        &self,
        kind: &OverlayKind,
        file: &File,
        size: OverlaySize,
    ) -> Result<(), StoreError> {
        let path = self.places.overlay(kind);
        make_mountable(file, &path)?;
        let Some(target) = growth(kind, file, &path, size)? else {
            return Ok(());
        };
        if target.obstacle.is_none() {
            file.set_len(target.bytes).step("extend", &path)?;
            let mount = ScratchMount::new(file, &path)?;
            if resize_mounted(mount.disk(), target.bytes).is_ok() {
                return self.note_growth(kind, target.bytes);
            }
            // The kernel's reason is in its log; the copy is the way out.
        }
        let draft = Draft::create(&path)?;
        self.copy_file(file, &draft)?;
        draft.file().set_len(target.bytes).step("extend", draft.path())?;
        resize_file(kind, &draft)?;
        draft.file().sync_all().step("sync", draft.path())?;
        match kind.kept_name() {
            Some(_) => {
                let names = self.kind_lock(kind)?;
                self.replace_overlay(kind, draft)?;
                drop(names);
            }
            None => draft.replace()?,
        }
        Ok(())
    }

    fn grow_live(
        &self,
        kind: &OverlayKind,
        live: &Live,
        size: OverlaySize,
    ) -> Result<(), StoreError> {
        let path = self.places.overlay(kind);
        let file = OpenOptions::new().read(true).write(true).open(&path).step("open", &path)?;
        let Some(target) = growth(kind, &file, &path, size)? else {
            return Ok(());
        };
        let stopped = |reason| StoreError::GrowStopped { kind: kind.clone(), reason };
        if let Some(reason) = target.obstacle {
            return Err(stopped(reason));
        }
        file.set_len(target.bytes).step("extend", &path)?;
        follow_file_size(live.loop_number()).step("extend the loop device of", &path)?;
        match resize_mounted(live.disk(), target.bytes) {
            Ok(()) => self.note_growth(kind, target.bytes),
            Err(Errno::PERM) => Err(stopped(NO_CAPABILITY)),
            Err(Errno::OPNOTSUPP) => Err(stopped(OLD_LAYOUT)),
            Err(error) => Ok(Err(error).step("grow the file system in", &path)?),
        }
    }

    fn note_growth(&self, kind: &OverlayKind, bytes: u64) -> Result<(), StoreError> {
        if kind.kept_name().is_some() {
            let names = self.kind_lock(kind)?;
            self.note_size(kind, bytes)?;
            drop(names);
        }
        Ok(())
    }
}

/// What growing has to reach.
struct Growth {
    bytes: u64,
    /// Why the kernel would not do it.
    obstacle: Option<&'static str>,
}

/// `None` if it has the size already.
fn growth(
    kind: &OverlayKind,
    file: &File,
    path: &Path,
    size: OverlaySize,
) -> Result<Option<Growth>, StoreError> {
    let file_bytes = file.metadata().step("stat", path)?.len();
    let unknown =
        |reason| StoreError::from(RepairError::Unknown { overlay: path.to_owned(), reason });
    let block = Superblock::read(file).step("read superblock of", path)?;
    let block = block.ok_or_else(|| unknown("too short"))?;
    let present_bytes = block.file_system_bytes().ok_or_else(|| unknown("its size is none"))?;
    if size.bytes() < present_bytes {
        return Err(StoreError::Shrink { kind: kind.clone(), present_bytes, asked: size });
    }
    // What an earlier growth has begun is completed.
    let bytes = size.bytes().max(file_bytes);
    let obstacle = if block.has_sparse_super2() {
        Some(OLD_LAYOUT)
    } else if may_resize() {
        None
    } else {
        Some(NO_CAPABILITY)
    };
    Ok((bytes > present_bytes).then_some(Growth { bytes, obstacle }))
}

/// Lets a mounted file system fill its file, if an earlier growth was cut short.
/// Whether it can is no condition for using it.
pub(crate) fn complete(file: &File, mount: BorrowedFd<'_>, path: &Path) -> Result<(), StepError> {
    let file_bytes = file.metadata().step("stat", path)?.len();
    let block = Superblock::read(file).step("read superblock of", path)?;
    let short = block.is_some_and(|block| {
        block.file_system_bytes().is_some_and(|bytes| bytes < file_bytes)
            && !block.has_sparse_super2()
    });
    if short
        && may_resize()
        && let Err(error) =
            open_root_of(mount).and_then(|disk| resize_mounted(disk.as_fd(), file_bytes))
    {
        tracing::warn!(overlay = %path.display(), %error, "a growth is not completed yet");
    }
    Ok(())
}

fn may_resize() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false)
}

fn resize_mounted(disk: BorrowedFd<'_>, bytes: u64) -> Result<(), Errno> {
    ext4_ioc_resize_fs(disk, bytes / u64::from(BLOCK_BYTES))
}

/// Lets the file system in a copy fill its file.
fn resize_file(kind: &OverlayKind, draft: &Draft) -> Result<(), StoreError> {
    // resize2fs insists on a check.
    match e2fsck(draft.file(), draft.path(), &["-f", "-p"])? {
        Verdict::Sound(_) | Verdict::Corrected(_) => {}
        Verdict::Damaged(output) => {
            let overlay = draft.path().to_owned();
            let reason = "found while it was to grow";
            return Err(RepairError::NotRepairable { overlay, reason, output }.into());
        }
    }
    let mut command = Command::new("resize2fs");
    command.env("LC_ALL", "C").arg(draft.path());
    let answer = tool::run_on(draft.file(), "resize2fs", &mut command, DEADLINE)?;
    if answer.status.success() {
        return Ok(());
    }
    Err(StoreError::Resize { kind: kind.clone(), output: answer.output })
}
