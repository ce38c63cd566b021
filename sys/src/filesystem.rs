//! What can be asked of a mounted file system through one of its directories.
//!
//! Numbers: `include/uapi/linux/fs.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const FIFREEZE: libc::c_ulong = 0xC004_5877;
const FITHAW: libc::c_ulong = 0xC004_5878;
const FITRIM: libc::c_ulong = 0xC018_5879;

/// Writes everything out and holds every further write back until [`thaw`].
///
/// # Errors
/// `EBUSY` when it is frozen already, `EOPNOTSUPP` when it cannot be.
pub fn freeze(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: FIFREEZE ignores its argument; the descriptor is open. No crate
    // in use wraps it.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FIFREEZE, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends a [`freeze`], whoever began it.
///
/// # Errors
/// `EINVAL` when it is not frozen.
pub fn thaw(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: FITHAW ignores its argument; the descriptor is open. No crate in
    // use wraps it.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FITHAW, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `struct fstrim_range`.
#[repr(C)]
struct RawTrimRange {
    start: u64,
    length: u64,
    min_length: u64,
}

/// Tells the device below about all blocks that are not in use, and says how
/// many bytes that were.
///
/// # Errors
/// `EOPNOTSUPP` when the device cannot discard.
pub fn trim(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let mut range = RawTrimRange { start: 0, length: u64::MAX, min_length: 0 };
    // SAFETY: FITRIM reads and writes one `struct fstrim_range`, whose layout
    // `RawTrimRange` has (checked by a test), alive across the call; the
    // descriptor is open. No crate in use wraps it.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FITRIM, std::ptr::from_mut(&mut range)) };
    if result == 0 { Ok(range.length) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn the_structure_has_the_kernel_s_layout() {
        // The number itself holds the size: bits 16 to 29.
        assert_eq!(size_of::<RawTrimRange>(), (FITRIM >> 16 & 0x3FFF) as usize);
    }

    #[test]
    fn what_is_no_file_system_on_a_device_is_refused() {
        let proc = File::open("/proc").unwrap();
        assert!(freeze(proc.as_fd()).is_err());
        assert!(thaw(proc.as_fd()).is_err());
        assert!(trim(proc.as_fd()).is_err());
    }
}
