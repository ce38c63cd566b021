//! Overlays that more than one host can reach.
//!
//! The lock of a file (`flock`) is one between hosts only where the file system
//! makes it so (NFS 4 does). ext4's multiple mount protection is the second
//! fence: a block in the file that its owner writes every few seconds, and that
//! the kernel looks at before it mounts. It costs nothing to mount what was
//! unmounted in order; after a crash, or while another host has it, the kernel
//! watches the block for some 20 s.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statfs;

use crate::overlay_file::OverlayKind;
use crate::step::{Step, StepError};
use crate::store::Overlays;
use crate::store_error::StoreError;
use crate::superblock::Superblock;

/// Whether other hosts reach the directory of the overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// As its file system tells: the usual network and cluster ones are shared,
    /// and so is FUSE, behind which anything may be.
    #[default]
    Detect,
    /// They do not, whatever its file system is.
    Alone,
    /// They do: a disk that several hosts are attached to, say.
    Shared,
}

/// `statfs(2)`, and the kernel's include/uapi/linux/magic.h.
const SHARED_FILE_SYSTEMS: [u32; 12] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB 2 and 3
    0x00C3_6400, // Ceph
    0x0102_1997, // 9P
    0x6573_5546, // FUSE: GlusterFS and many more
    0x7461_636F, // OCFS2
    0x0116_1970, // GFS2
    0x4750_4653, // GPFS
    0x0BD0_0BD0, // Lustre
    0x5346_414F, // AFS
];

// === impl Sharing ===

impl Sharing {
    pub(crate) fn is_shared(self, dir: &Path) -> Result<bool, StepError> {
        match self {
            Self::Alone => Ok(false),
            Self::Shared => Ok(true),
            Self::Detect => {
                let found = statfs(dir).step("statfs", dir)?.f_type;
                // Sign and width of the field differ between machines; the
                // numbers have 32 bits.
                Ok(SHARED_FILE_SYSTEMS.contains(&(found as u32)))
            }
        }
    }
}

/// What a file system with multiple mount protection says of who has it.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    holder: String,
    /// How often it is looked at, seconds.
    check_interval: u16,
}

/// Who has a file system with multiple mount protection, as it says itself;
/// `None` if nobody does, or nothing is known.
pub(crate) fn holder(file: &File) -> Option<String> {
    Some(mark(file)?.holder)
}

/// How long the kernel watches a file system before it mounts it: twice the
/// shorter of two intervals and a second, and an interval and a minute
/// (`ext4_multi_mount_protect` in fs/ext4/mmp.c). Not at all if it was unmounted
/// in order.
pub(crate) fn watch_time(file: &File) -> Duration {
    let Some(mark) = mark(file) else { return Duration::ZERO };
    let interval = u64::from(mark.check_interval.max(LEAST_INTERVAL));
    Duration::from_secs(2 * (2 * interval + 1).min(interval + 60))
}

/// `EXT4_MMP_MIN_CHECK_INTERVAL`, seconds.
const LEAST_INTERVAL: u16 = 5;

fn mark(file: &File) -> Option<Mark> {
    /// `struct mmp_struct` in fs/ext4/ext4.h.
    const MAGIC: u32 = 0x004D_4D50;
    const CLEAN: u32 = 0xFF4D_4D50;
    const NAME: usize = 16;
    const CHECK_INTERVAL: usize = 112;
    let at = Superblock::read(file).ok()??.mmp_offset()?;
    let mut block = [0; CHECK_INTERVAL + 2];
    file.read_exact_at(&mut block, at).ok()?;
    let number =
        |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    if number(0) != MAGIC || number(4) == CLEAN {
        return None;
    }
    let name = block[NAME..NAME + 64].split(|byte| *byte == 0).next()?;
    // It comes from a disk, and goes to people.
    let holder = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect();
    let check_interval = u16::from_le_bytes([block[CHECK_INTERVAL], block[CHECK_INTERVAL + 1]]);
    Some(Mark { holder, check_interval })
}

// === impl Overlays ===

impl Overlays {
    /// How long opening a kept overlay may take because another host had it and
    /// did not close it, or has it: the kernel watches it for so long. Zero if it
    /// was closed in order, or does not exist.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn watch_time(&self, kind: &OverlayKind) -> Result<Duration, StoreError> {
        if kind.kept_name().is_none() || !self.shared {
            return Ok(Duration::ZERO);
        }
        let path = self.places.overlay(kind);
        match File::open(&path) {
            Ok(file) => Ok(watch_time(&file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Duration::ZERO),
            Err(error) => Ok(Err(error).step("open", &path)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_follows_the_file_system_and_words_overrule_it() {
        let proc = Path::new("/proc");
        assert!(!Sharing::Detect.is_shared(proc).unwrap());
        assert!(Sharing::Shared.is_shared(proc).unwrap());
        assert!(!Sharing::Alone.is_shared(proc).unwrap());
    }

    #[test]
    fn a_file_that_is_no_file_system_has_no_holder() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(holder(&file), None);
        file.set_len(1 << 20).unwrap();
        assert_eq!(holder(&file), None);
    }
}
