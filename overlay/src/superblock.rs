//! The few fields of an ext4 superblock that matter here.
//!
//! Layout: the kernel's Documentation/filesystems/ext4/super.rst.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use uuid::Uuid;

use crate::overlay_file::SpaceInside;

/// Where the superblock lies in the file, and how long it is.
const OFFSET: u64 = 1024;
const LENGTH: usize = 1024;

const BLOCKS_LO: usize = 0x04;
const FREE_BLOCKS_LO: usize = 0x0C;
const LOG_BLOCK_SIZE: usize = 0x18;
const MAGIC: usize = 0x38;
const STATE: usize = 0x3A;
const COMPAT: usize = 0x5C;
const INCOMPAT: usize = 0x60;
const RO_COMPAT: usize = 0x64;
const UUID: usize = 0x68;
const BLOCKS_HI: usize = 0x150;
const FREE_BLOCKS_HI: usize = 0x158;
const MMP_BLOCK: usize = 0x168;
const OVERHEAD_BLOCKS: usize = 0x248;
const CHECKSUM: usize = 0x3FC;

const MAGIC_VALUE: u16 = 0xEF53;
const STATE_VALID: u16 = 0x1;
const STATE_ERRORS: u16 = 0x2;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_MMP: u32 = 0x100;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// What a superblock says about the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Unmounted in order.
    Clean,
    /// The kernel will replay the journal while mounting.
    Replay,
    /// Not to be mounted before a check, for this reason.
    NeedsCheck(&'static str),
    /// Not an ext4 superblock, for this reason.
    Unknown(&'static str),
}

/// A copy of a superblock.
#[derive(Clone)]
pub(crate) struct Superblock {
    bytes: [u8; LENGTH],
}

// === impl Superblock ===

impl Superblock {
    /// Reads it; `None` if the file is too short for one.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; LENGTH];
        match file.read_exact_at(&mut bytes, OFFSET) {
            Ok(()) => Ok(Some(Self { bytes })),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Judges it for a file of `file_bytes` bytes.
    pub(crate) fn condition(&self, file_bytes: u64) -> Condition {
        if self.u16(MAGIC) != MAGIC_VALUE {
            return Condition::Unknown("no ext4 magic number");
        }
        if self.file_system_bytes().is_none_or(|bytes| bytes > file_bytes) {
            return Condition::Unknown("the file is shorter than the file system");
        }
        let checksummed = self.u32(RO_COMPAT) & RO_COMPAT_METADATA_CSUM != 0;
        if checksummed && self.u32(CHECKSUM) != crc32c(&self.bytes[..CHECKSUM]) {
            return Condition::NeedsCheck("superblock checksum");
        }
        if self.u16(STATE) & STATE_ERRORS != 0 {
            return Condition::NeedsCheck("the kernel found errors");
        }
        let journal = self.u32(COMPAT) & COMPAT_HAS_JOURNAL != 0;
        if self.u16(STATE) & STATE_VALID == 0 && !journal {
            return Condition::NeedsCheck("not unmounted, and no journal");
        }
        if self.u32(INCOMPAT) & INCOMPAT_RECOVER != 0 {
            return Condition::Replay;
        }
        Condition::Clean
    }

    /// Whether the kernel has found an error and no check has been since.
    pub(crate) fn has_errors(&self) -> bool {
        self.u16(MAGIC) == MAGIC_VALUE && self.u16(STATE) & STATE_ERRORS != 0
    }

    /// Whether it has the layout that the kernel does not grow.
    pub(crate) fn has_sparse_super2(&self) -> bool {
        self.u32(COMPAT) & COMPAT_SPARSE_SUPER2 != 0
    }

    /// Gives the file system another UUID. Only with the feature
    /// `metadata_csum_seed`, without which every checksum depends on it;
    /// whether that is so comes back.
    pub(crate) fn set_uuid(&mut self, uuid: Uuid) -> bool {
        if self.u32(INCOMPAT) & INCOMPAT_CSUM_SEED == 0 {
            return false;
        }
        self.bytes[UUID..UUID + 16].copy_from_slice(uuid.as_bytes());
        let checksum = crc32c(&self.bytes[..CHECKSUM]);
        self.bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        true
    }

    pub(crate) fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.bytes, OFFSET)
    }

    /// The size of the file system, if it is one.
    pub(crate) fn file_system_bytes(&self) -> Option<u64> {
        self.blocks(BLOCKS_LO, BLOCKS_HI).checked_mul(self.block_bytes()?)
    }

    /// How full it was when this was written; `None` if that cannot be.
    pub(crate) fn space(&self) -> Option<SpaceInside> {
        if self.u16(MAGIC) != MAGIC_VALUE {
            return None;
        }
        let free = self.blocks(FREE_BLOCKS_LO, FREE_BLOCKS_HI);
        let all = self.blocks(BLOCKS_LO, BLOCKS_HI);
        let used = all.checked_sub(free)?;
        // What the kernel holds back for itself (ext4_calculate_resv_clusters).
        let free = free.saturating_sub((all / 50).min(4096));
        // ext4's own tables, which statfs(2) does not count either.
        let used = used.saturating_sub(u64::from(self.u32(OVERHEAD_BLOCKS)));
        Some(SpaceInside {
            used_bytes: used.checked_mul(self.block_bytes()?)?,
            free_bytes: free.checked_mul(self.block_bytes()?)?,
        })
    }

    /// Where the block of the multiple mount protection lies in the file, if
    /// the file system has one.
    pub(crate) fn mmp_offset(&self) -> Option<u64> {
        if self.u32(INCOMPAT) & INCOMPAT_MMP == 0 {
            return None;
        }
        let block = u64::from(self.u32(MMP_BLOCK)) | u64::from(self.u32(MMP_BLOCK + 4)) << 32;
        block.checked_mul(self.block_bytes()?)
    }

    fn block_bytes(&self) -> Option<u64> {
        1024_u64.checked_shl(self.u32(LOG_BLOCK_SIZE))
    }

    fn blocks(&self, low: usize, high: usize) -> u64 {
        let mut blocks = u64::from(self.u32(low));
        if self.u32(INCOMPAT) & INCOMPAT_64BIT != 0 {
            blocks |= u64::from(self.u32(high)) << 32;
        }
        blocks
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

/// CRC-32C as ext4 uses it: without the usual inversion at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE_BYTES: u64 = 1 << 20;

    fn good() -> Superblock {
        let mut block = Superblock { bytes: [0; LENGTH] };
        block.put(BLOCKS_LO, 256_u32);
        block.put(LOG_BLOCK_SIZE, 2_u32);
        block.put(MAGIC, u32::from(MAGIC_VALUE) | u32::from(STATE_VALID) << 16);
        block.put(COMPAT, COMPAT_HAS_JOURNAL);
        block.put(INCOMPAT, INCOMPAT_CSUM_SEED | INCOMPAT_64BIT);
        block.put(RO_COMPAT, RO_COMPAT_METADATA_CSUM);
        block.sealed()
    }

    impl Superblock {
        fn put(&mut self, at: usize, value: u32) {
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }

        fn sealed(mut self) -> Self {
            let checksum = crc32c(&self.bytes[..CHECKSUM]);
            self.put(CHECKSUM, checksum);
            self
        }

        fn with(mut self, at: usize, value: u32) -> Self {
            self.put(at, value);
            self.sealed()
        }
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of CRC-32C is 0xE3069283, inverted at the end.
        assert_eq!(!crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn conditions() {
        let magic = u32::from(MAGIC_VALUE);
        let cases = [
            (good(), Condition::Clean),
            (good().with(INCOMPAT, INCOMPAT_RECOVER), Condition::Replay),
            (good().with(MAGIC, magic), Condition::Clean),
            (good().with(MAGIC, magic | 3 << 16), Condition::NeedsCheck("the kernel found errors")),
            (
                good().with(COMPAT, 0).with(MAGIC, magic),
                Condition::NeedsCheck("not unmounted, and no journal"),
            ),
            (good().with(MAGIC, 0), Condition::Unknown("no ext4 magic number")),
            (
                good().with(BLOCKS_LO, 257),
                Condition::Unknown("the file is shorter than the file system"),
            ),
            (
                good().with(LOG_BLOCK_SIZE, 64),
                Condition::Unknown("the file is shorter than the file system"),
            ),
        ];
        for (index, (block, expected)) in cases.iter().enumerate() {
            assert_eq!(block.condition(FILE_BYTES), *expected, "case {index}");
        }
        let mut torn = good();
        torn.bytes[UUID] ^= 1;
        assert_eq!(torn.condition(FILE_BYTES), Condition::NeedsCheck("superblock checksum"));
    }

    #[test]
    fn a_new_uuid_keeps_it_clean_and_changes_nothing_else() {
        let mut block = good();
        let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert!(block.set_uuid(uuid));
        assert_eq!(block.condition(FILE_BYTES), Condition::Clean);
        assert_eq!(&block.bytes[UUID..UUID + 16], uuid.as_bytes());
        assert_eq!(block.bytes[..UUID], good().bytes[..UUID]);
        assert_eq!(block.bytes[UUID + 16..CHECKSUM], good().bytes[UUID + 16..CHECKSUM]);
        assert!(!good().with(INCOMPAT, 0).set_uuid(uuid));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_never_clean(bit in 0..CHECKSUM * 8) {
            let mut block = good();
            block.bytes[bit / 8] ^= 1 << (bit % 8);
            // All but the bit that says whether there is a checksum at all.
            prop_assume!(bit != RO_COMPAT * 8 + 10);
            prop_assert_ne!(block.condition(FILE_BYTES), Condition::Clean);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), LENGTH), size: u64) {
            let mut block = Superblock { bytes: [0; LENGTH] };
            block.bytes.copy_from_slice(&bytes);
            block.bytes[MAGIC..MAGIC + 2].copy_from_slice(&MAGIC_VALUE.to_le_bytes());
            block.condition(size);
        }
    }
}
