//! The size of an overlay.

use std::fmt;

use thiserror::Error;

/// The smallest overlay, MiB: below it ext4's own tables take too large a part.
pub const MIN_SIZE_MIB: i64 = 64;

/// The largest overlay, MiB: 16 TiB, where a file on ext4 ends.
pub const MAX_SIZE_MIB: i64 = 16 * 1024 * 1024 - 1;

const MIB: u64 = 1024 * 1024;

/// A size that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("size_mib is {value}, must be from {MIN_SIZE_MIB} to {MAX_SIZE_MIB} MiB")]
pub struct SizeError {
    /// What was asked for, MiB.
    pub value: i64,
}

/// The size of the file system in an overlay: whole MiB, within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverlaySize {
    mib: u32,
}

// === impl OverlaySize ===

impl OverlaySize {
    /// Checks a size in MiB.
    ///
    /// # Errors
    /// [`SizeError`] outside of [`MIN_SIZE_MIB`]..=[`MAX_SIZE_MIB`].
    pub fn from_mib(value: i64) -> Result<Self, SizeError> {
        if !(MIN_SIZE_MIB..=MAX_SIZE_MIB).contains(&value) {
            return Err(SizeError { value });
        }
        u32::try_from(value).map(|mib| Self { mib }).map_err(|_| SizeError { value })
    }

    /// Whole MiB.
    #[must_use]
    pub fn mib(self) -> u32 {
        self.mib
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.mib) * MIB
    }
}

impl fmt::Display for OverlaySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_message_names_field_value_and_bounds() {
        let error = OverlaySize::from_mib(-5).unwrap_err();
        assert_eq!(error.to_string(), "size_mib is -5, must be from 64 to 16777215 MiB");
    }

    #[test]
    fn bounds() {
        for bad in [i64::MIN, -1, 0, 1, 63, MAX_SIZE_MIB + 1, 1 << 44, i64::MAX] {
            assert_eq!(OverlaySize::from_mib(bad), Err(SizeError { value: bad }));
        }
        assert_eq!(OverlaySize::from_mib(64).unwrap().bytes(), 67_108_864);
        assert_eq!(OverlaySize::from_mib(MAX_SIZE_MIB).unwrap().bytes(), (1 << 44) - (1 << 20));
    }

    proptest! {
        #[test]
        fn bytes_are_mib_times_a_million_or_so(mib in MIN_SIZE_MIB..=MAX_SIZE_MIB) {
            let size = OverlaySize::from_mib(mib).unwrap();
            prop_assert_eq!(i64::from(size.mib()), mib);
            prop_assert_eq!(size.bytes() / MIB, u64::from(size.mib()));
        }
    }
}
