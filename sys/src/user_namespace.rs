//! A user namespace with a given mapping and nobody in it, for ID-mapped mounts.

use std::ffi::{c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::ptr;

use thiserror::Error;

/// Ids `0..count` inside, `first..first + count` outside; but for one, if so
/// wished, that is the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdMap {
    /// The outer id of the inner id 0.
    pub first: u32,
    /// How many ids; not 0.
    pub count: u32,
    /// The id that is the same inside and outside: below `count`, and not in the
    /// outer range.
    pub kept: Option<u32>,
}

/// Ids that follow one another on both sides: `inner..inner + count`, and
/// `outer..outer + count`. A line of `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first inside.
    pub inner: u32,
    /// The first outside.
    pub outer: u32,
    /// How many.
    pub count: u32,
}

/// Why no namespace came to be.
#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// The range is empty or ends beyond the largest id, 4294967294.
    #[error(
        "id map first {first}, count {count}: count must be at least 1 and the last id at most 4294967294"
    )]
    Range {
        /// Outer id of the inner id 0.
        first: u32,
        /// Number of ids.
        count: u32,
    },
    /// The kept id is not one of the map's, or somebody else's outside already.
    #[error("id map first {first}, count {count}: {kept} cannot stay as it is")]
    Kept {
        /// Outer id of the inner id 0.
        first: u32,
        /// Number of ids.
        count: u32,
        /// The id.
        kept: u32,
    },
    /// `clone(2)` with `CLONE_NEWUSER` failed.
    #[error("make a user namespace")]
    Clone(#[source] io::Error),
    /// A map could not be written, or the namespace not be opened.
    #[error("{operation} {path}")]
    Proc {
        /// "write" or "open".
        operation: &'static str,
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

// === impl IdMap ===

impl IdMap {
    /// The outer id that the inner `id` has, if it is mapped.
    #[must_use]
    pub fn outer(&self, id: u32) -> Option<u32> {
        match self.kept {
            _ if id >= self.count => None,
            Some(kept) if kept == id => Some(id),
            _ => self.first.checked_add(id),
        }
    }

    /// What is mapped to what; three ranges at most.
    ///
    /// # Errors
    /// [`UserNamespaceError::Range`] and [`UserNamespaceError::Kept`].
    pub fn ranges(&self) -> Result<Vec<IdRange>, UserNamespaceError> {
        let IdMap { first, count, kept } = *self;
        // 4294967295 is "no id" to the kernel.
        if count == 0 || first.checked_add(count).is_none() {
            return Err(UserNamespaceError::Range { first, count });
        }
        let shifted =
            |from: u32, to: u32| IdRange { inner: from, outer: first + from, count: to - from };
        let Some(kept) = kept else { return Ok(vec![shifted(0, count)]) };
        if kept >= count || (first..first + count).contains(&kept) {
            return Err(UserNamespaceError::Kept { first, count, kept });
        }
        let same = IdRange { inner: kept, outer: kept, count: 1 };
        let mut ranges = vec![shifted(0, kept), same, shifted(kept + 1, count)];
        ranges.retain(|range| range.count > 0);
        Ok(ranges)
    }

    /// A descriptor of a new user namespace with this mapping for users and
    /// groups. The namespace lives as long as the descriptor and the mounts
    /// that use it.
    ///
    /// For any thread of any process: what is started ends before it could
    /// touch anything of the caller's, and it cannot be left behind.
    ///
    /// # Errors
    /// See [`UserNamespaceError`].
    pub fn user_namespace(&self) -> Result<OwnedFd, UserNamespaceError> {
        namespace(&self.ranges()?)
    }
}

/// A descriptor of a new user namespace in which one inner id, and no other, is
/// mapped: to `outer`. As [`IdMap::user_namespace`] otherwise.
///
/// # Errors
/// See [`UserNamespaceError`].
pub fn namespace_of_one(inner: u32, outer: u32) -> Result<OwnedFd, UserNamespaceError> {
    if inner == u32::MAX || outer == u32::MAX {
        return Err(UserNamespaceError::Range { first: outer, count: 1 });
    }
    namespace(&[IdRange { inner, outer, count: 1 }])
}

fn namespace(ranges: &[IdRange]) -> Result<OwnedFd, UserNamespaceError> {
    let zombie = Zombie::in_new_user_namespace().map_err(UserNamespaceError::Clone)?;
    let line = |range: &IdRange| format!("{} {} {}\n", range.inner, range.outer, range.count);
    // The kernel takes a map in one write.
    let map: String = ranges.iter().map(line).collect();
    for name in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{name}", zombie.pid);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(map.as_bytes()))
            .map_err(|source| UserNamespaceError::Proc { operation: "write", path, source })?;
    }
    let path = format!("/proc/{}/ns/user", zombie.pid);
    File::open(&path).map(OwnedFd::from).map_err(|source| UserNamespaceError::Proc {
        operation: "open",
        path,
        source,
    })
}

/// A child that has exited and waits to be reaped.
///
/// Its credentials, and with them its user namespace, stay reachable through
/// /proc until then. So nothing has to be kept running, told to end, or killed
/// when the caller fails or dies half-way: a zombie of a dead parent goes by
/// itself.
struct Zombie {
    pid: libc::pid_t,
}

/// Room for `clone`'s trampoline, a function that returns at once, and a signal
/// frame that never comes (signals are blocked).
const STACK_BYTES: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);

/// All that runs in the child. It touches neither memory nor `errno`.
extern "C" fn exit_at_once(_: *mut c_void) -> c_int {
    0
}

// === impl Zombie ===

impl Zombie {
    fn in_new_user_namespace() -> io::Result<Self> {
        let mut stack = Box::new(Stack([0; STACK_BYTES]));
        // CLONE_VM: no page tables to copy, however large the caller.
        // CLONE_FILES: a copy of the descriptors would keep what another thread
        // closes meanwhile open, and the mounts behind it busy.
        // CLONE_VFORK: this thread goes on when the child has exited.
        // No exit signal: `waitpid(-1)` elsewhere in the process (a reaper)
        // does not see the child, which needs __WALL.
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK | libc::CLONE_NEWUSER;
        let blocked = SignalsBlocked::new()?;
        // SAFETY: the stack pointer is the aligned upper end of memory that
        // lives until after the child's exit, since CLONE_VFORK suspends this
        // thread until then. The child shares our memory but runs only
        // `exit_at_once` and libc's exit call; all signals are blocked, so no
        // handler of ours runs in it. `std` cannot make a namespace this way.
        let pid = unsafe {
            let top = ptr::from_mut(stack.as_mut()).add(1).cast::<c_void>();
            libc::clone(exit_at_once, top, flags, ptr::null_mut())
        };
        let result = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Zombie { pid }) };
        drop(blocked);
        drop(stack);
        result
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        loop {
            // SAFETY: waitpid(2) accepts a null status pointer; `pid` is our
            // child and nobody else's, so it cannot be reused before this.
            let pid = unsafe { libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL) };
            // The one other error is ECHILD: someone waited with __WALL for
            // all, and it is reaped already.
            if pid >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}

/// Blocks every signal on this thread while it lives.
struct SignalsBlocked {
    before: libc::sigset_t,
}

// === impl SignalsBlocked ===

impl SignalsBlocked {
    fn new() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid value; sigfillset and
        // pthread_sigmask get pointers to live, initialised sets.
        let (result, before) = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            (libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before), before)
        };
        if result == 0 { Ok(Self { before }) } else { Err(io::Error::from_raw_os_error(result)) }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the set that pthread_sigmask(3) itself reported.
        // It fails only for an unknown `how`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_beyond_the_largest_id_are_refused() {
        for (first, count) in [(0, 0), (100_000, 0), (u32::MAX, 1), (4_294_901_760, 65_536)] {
            let error = IdMap { first, count, kept: None }.user_namespace().unwrap_err();
            assert!(matches!(error, UserNamespaceError::Range { .. }), "{first} {count}: {error}");
        }
    }

    #[test]
    fn an_id_may_stay_as_it_is() {
        let map = |kept| IdMap { first: 100_000, count: 65_536, kept: Some(kept) };
        let texts = |kept| {
            let ranges = map(kept).ranges().unwrap();
            let text = |range: &IdRange| format!("{} {} {}", range.inner, range.outer, range.count);
            ranges.iter().map(text).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(texts(1000), "0 100000 1000, 1000 1000 1, 1001 101001 64535");
        assert_eq!(texts(0), "0 0 1, 1 100001 65535");
        assert_eq!(texts(65_535), "0 100000 65535, 65535 65535 1");
        assert_eq!(
            [999, 1000, 1001].map(|id| map(1000).outer(id)),
            [Some(100_999), Some(1000), Some(101_001)]
        );
        let low = IdMap { first: 500, count: 1000, kept: Some(600) };
        for wrong in [map(65_536), low] {
            let error = wrong.ranges().unwrap_err();
            assert!(matches!(error, UserNamespaceError::Kept { .. }), "{error}");
        }
    }

    #[test]
    fn outer_ids() {
        let map = IdMap { first: 100_000, count: 10, kept: None };
        assert_eq!(map.outer(0), Some(100_000));
        assert_eq!(map.outer(9), Some(100_009));
        assert_eq!(map.outer(10), None);
    }
}
