//! `bpf(2)`: which device nodes the processes of a version 2 cgroup may use.
//!
//! Version 1 has files for it (`devices.allow`), version 2 programs of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE` (`Documentation/admin-guide/cgroup-v2.rst`,
//! "Device controller"). Two calls without pointers in them are all that is
//! needed, which no loader of BPF objects is.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// One instruction, `struct bpf_insn` of `include/uapi/linux/bpf.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register, and source register times 16.
    pub registers: u8,
    /// Of a jump, in instructions; of a load, in bytes.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

/// `BPF_PROG_LOAD` and `BPF_PROG_ATTACH` of `enum bpf_cmd`.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
/// `BPF_PROG_TYPE_CGROUP_DEVICE` of `enum bpf_prog_type`.
const CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE` of `enum bpf_attach_type`.
const ATTACH_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: beside those of cgroups above, which are asked too.
const ALLOW_MULTI: u32 = 1 << 1;

/// The fields of `union bpf_attr` that `BPF_PROG_LOAD` reads here.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The fields of `union bpf_attr` that `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Has `program` decide on each use of a device node by processes in `cgroup`
/// and below it: zero refuses. It stays for as long as the cgroup.
///
/// The program finds `struct bpf_cgroup_dev_ctx` in register 1.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, or a cgroup above takes no others beside its
/// own; `EINVAL` for a program that the kernel does not accept, or a kernel
/// without `CONFIG_CGROUP_BPF`; `EBADF` for a directory that is no cgroup.
pub fn filter_devices(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let load = Load {
        kind: CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| invalid())?,
        instructions: program.as_ptr() as u64,
        // It calls nothing that the kernel reserves for certain licences.
        license: c"Apache-2.0".as_ptr() as u64,
        name: *b"rolltop_devices\0",
        expected_attach_type: ATTACH_DEVICE,
        ..Load::default()
    };
    // SAFETY: the attributes point at `instruction_count` instructions of the
    // kernel's layout and at a string with its NUL, alive across the call, which
    // copies both. Success is a new descriptor that is ours alone.
    let program = unsafe { OwnedFd::from_raw_fd(call(PROG_LOAD, &load)?) };
    let descriptor = |fd: libc::c_int| u32::try_from(fd).map_err(|_| invalid());
    let attach = Attach {
        target: descriptor(cgroup.as_raw_fd())?,
        program: descriptor(program.as_raw_fd())?,
        kind: ATTACH_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: two open descriptors and two numbers; no memory is touched.
    unsafe { call(PROG_ATTACH, &attach) }.map(|_zero| ())
}

/// `bpf(2)`.
///
/// # Safety
/// What the attributes point at has to be as the command wants it.
unsafe fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the pointer and size are those of a live value; the kernel takes
    // what is behind the size for zero. The rest is the caller's word.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    libc::c_int::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_refused() {
        let root = std::fs::File::open("/").unwrap();
        let exit = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };
        let refused = |program: &[Instruction]| {
            filter_devices(std::os::fd::AsFd::as_fd(&root), program).unwrap_err().raw_os_error()
        };
        assert!(refused(&[]).is_some());
        // No register 0 to exit with; without the right it is not even looked at.
        assert!(matches!(refused(&[exit]), Some(libc::EACCES | libc::EPERM | libc::EINVAL)));
    }
}
