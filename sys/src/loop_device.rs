//! Loop devices, attached in one step.
//!
//! `LOOP_CONFIGURE` (Linux 5.8) binds file, flags and block size at once, so a
//! killed process cannot leave a device behind that is bound but not yet set
//! to clear itself, as the older pair `LOOP_SET_FD`, `LOOP_SET_STATUS` can.
//! Layout and numbers: `include/uapi/linux/loop.h`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// The number from `LOOP_CTL_GET_FREE` is a hint that any process may use up
/// first. One of the rivals wins each round, so this many rounds outlast as
/// many rivals.
const ATTEMPTS: u32 = 512;

static TURN: Mutex<()> = Mutex::new(());

const CONTROL: &str = "/dev/loop-control";

/// Why a file could not be attached.
#[derive(Debug, Error)]
pub enum LoopError {
    /// The control device does not open: no loop driver, or no right to it.
    #[error("open {CONTROL}")]
    Control(#[source] io::Error),
    /// The kernel has no free number to give.
    #[error("find a free loop device")]
    NoFree(#[source] io::Error),
    /// The device node does not open.
    #[error("open /dev/loop{number}")]
    Node {
        /// N of /dev/loopN.
        number: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the backing file or the settings.
    #[error("configure /dev/loop{number}")]
    Configure {
        /// N of /dev/loopN.
        number: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Other processes were faster every time.
    #[error("no loop device after {ATTEMPTS} attempts")]
    Contended(#[source] Box<LoopError>),
}

/// How to attach. The device always clears itself at its last close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopOptions {
    /// Refuse writes.
    pub read_only: bool,
    /// Bypass the page cache of the backing file where its file system can
    /// (otherwise the kernel goes on without, silently).
    pub direct_io: bool,
    /// Logical block size in bytes, a power of two from 512 to the page size;
    /// `None`: the kernel's choice.
    pub block_size: Option<u32>,
}

/// An attached loop device.
///
/// It detaches when it is dropped and nothing else (a mount) has it open.
/// Until then the kernel holds the open file it was given, locks included.
#[derive(Debug)]
pub struct LoopDevice {
    node: File,
    number: u32,
}

// === impl LoopDevice ===

impl LoopDevice {
    /// Attaches `backing` to a free device.
    ///
    /// # Errors
    /// See [`LoopError`]. Nothing stays attached.
    pub fn attach(backing: BorrowedFd<'_>, options: LoopOptions) -> Result<Self, LoopError> {
        let control = open(CONTROL, false).map_err(LoopError::Control)?;
        // Rivals in this process wait here, rather than hold open, for a moment,
        // the device that another thread has just released.
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempt = 1;
        loop {
            let number = free_number(&control).map_err(LoopError::NoFree)?;
            match try_attach(number, backing, options) {
                Err(error) if !is_lost_race(&error) => return Err(error),
                Err(error) if attempt == ATTEMPTS => {
                    return Err(LoopError::Contended(Box::new(error)));
                }
                Err(_) => {
                    attempt += 1;
                    std::thread::yield_now();
                }
                Ok(device) => return Ok(device),
            }
        }
    }

    /// N of /dev/loopN.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The device node.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.number))
    }
}

/// Makes /dev/loop`number` as large as its file is by now.
///
/// # Errors
/// `ENXIO` when no file is attached, or the error of opening the node.
pub fn follow_file_size(number: u32) -> io::Result<()> {
    let node = open(&format!("/dev/loop{number}"), true)?;
    // SAFETY: LOOP_SET_CAPACITY ignores its argument; the descriptor is open.
    // No crate in use wraps it.
    let result = unsafe { libc::ioctl(node.as_raw_fd(), LOOP_SET_CAPACITY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

/// `struct loop_info64`; only the flags are used here.
#[repr(C)]
struct RawLoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct RawLoopConfig {
    fd: u32,
    block_size: u32,
    info: RawLoopInfo,
    reserved: [u64; 8],
}

fn open(path: &str, read_only: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
}

/// Whether another process took the device first, or its node is not there:
/// not yet, or no more after LOOP_CTL_REMOVE.
fn is_lost_race(error: &LoopError) -> bool {
    match error {
        LoopError::Node { source, .. } | LoopError::Configure { source, .. } => matches!(
            source.raw_os_error(),
            Some(libc::EBUSY | libc::ENOENT | libc::ENXIO | libc::ENODEV)
        ),
        LoopError::Control(_) | LoopError::NoFree(_) | LoopError::Contended(_) => false,
    }
}

fn free_number(control: &File) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number; the
    // descriptor is open. No crate in use wraps it.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

fn try_attach(
    number: u32,
    backing: BorrowedFd<'_>,
    options: LoopOptions,
) -> Result<LoopDevice, LoopError> {
    let node = open(&format!("/dev/loop{number}"), options.read_only)
        .map_err(|source| LoopError::Node { number, source })?;
    let mut flags = LO_FLAGS_AUTOCLEAR;
    if options.read_only {
        flags |= LO_FLAGS_READ_ONLY;
    }
    if options.direct_io {
        flags |= LO_FLAGS_DIRECT_IO;
    }
    let config = RawLoopConfig {
        fd: backing.as_raw_fd().unsigned_abs(),
        block_size: options.block_size.unwrap_or(0),
        info: RawLoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, whose layout
    // `RawLoopConfig` has (checked by a test), alive across the call; both
    // descriptors are open. No crate in use wraps it.
    let result =
        unsafe { libc::ioctl(node.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) };
    if result == 0 {
        Ok(LoopDevice { node, number })
    } else {
        Err(LoopError::Configure { number, source: io::Error::last_os_error() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn structures_have_the_kernel_s_layout() {
        assert_eq!(size_of::<RawLoopInfo>(), 232);
        assert_eq!(offset_of!(RawLoopInfo, flags), 52);
        assert_eq!(offset_of!(RawLoopInfo, init), 216);
        assert_eq!(size_of::<RawLoopConfig>(), 304);
        assert_eq!(offset_of!(RawLoopConfig, info), 8);
    }
}
