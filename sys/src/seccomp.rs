//! `seccomp(2)`: put a system call filter on the calling thread.
//!
//! `seccompiler` can install what it compiles, but sets `no_new_privs` first
//! whether asked or not, and then `sudo` in a desktop could never work.

use std::io;

/// One instruction of classic BPF, `struct sock_filter` of
/// `include/uapi/linux/filter.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Options of `seccomp(2)` for a filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterFlags {
    /// Log what is not allowed (`SECCOMP_FILTER_FLAG_LOG`).
    pub log: bool,
    /// Leave speculative store bypass on (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
    pub allow_speculation: bool,
}

/// Adds `filter` to those of the calling thread. It cannot be taken off again,
/// and is inherited.
///
/// The thread needs `CAP_SYS_ADMIN` in its user namespace or `no_new_privs`.
///
/// # Errors
/// `EINVAL` for a program that is empty, too long or malformed (the kernel
/// checks each instruction), `EACCES` without the right, `ENOMEM`.
pub fn install_filter(filter: &[Instruction], flags: FilterFlags) -> io::Result<()> {
    let len =
        u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { len, filter: filter.as_ptr() };
    let mut bits: libc::c_ulong = 0;
    if flags.log {
        bits |= libc::SECCOMP_FILTER_FLAG_LOG;
    }
    if flags.allow_speculation {
        bits |= libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    }
    // SAFETY: the program points at `len` instructions of the kernel's layout,
    // alive across the call, which copies them. A filter can only make later
    // calls fail or end the process: no memory is touched.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            bits,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_program_is_refused() {
        let error = install_filter(&[], FilterFlags::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
