//! The system calls of a desktop.
//!
//! Three classes. *Allowed*: what the programs of a Linux desktop use, by what
//! it is for; several are guarded by capabilities the desktop lacks besides.
//! *Denied*: calls that exist, that programs ask for knowing they may be
//! refused, and that a desktop must not have; they get `EPERM`, each group with
//! its reason. *Everything else*, what kernels to come will add included, gets
//! `ENOSYS`, as if the kernel were older: programs then use what they used
//! before the call existed.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

/// Whether programs in a desktop may make namespaces of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NestedNamespaces {
    /// They may not: the kernel shows its least-tested sides inside a new user
    /// namespace. Browsers fall back to their other sandboxes or, lacking
    /// them, must be told `--no-sandbox`.
    #[default]
    Denied,
    /// `clone`, `clone3`, `unshare` and `setns` pass, which is what the
    /// sandboxes of browsers need. Mounts are denied still, so Flatpak and
    /// containers within the desktop do not work.
    Allowed,
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Every `CLONE_NEW*` bit that `clone(2)` knows.
const NAMESPACE_BITS: u64 = 0x7E02_0000;

/// The first of the address families that desktops have no use for and kernels
/// had holes in: `ALG`, `NFC`, `VSOCK` (a way to the hypervisor), `KCM`,
/// `QIPCRTR`, `SMC`, `XDP`, `MCTP`.
const FIRST_ODD_FAMILY: u64 = 38;

/// Execution domains: Linux, 32-bit addresses in `uname`, old version numbers,
/// both, no address randomisation (debuggers), and the question for the current.
const PERSONALITIES: [u64; 6] = [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF];

/// Names by purpose. A name this machine lacks (`open` on ARM) does no harm.
const ALLOWED: [(&str, &str); 17] = [
    (
        "files: data",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile \
         splice tee vmsplice copy_file_range fallocate truncate ftruncate fsync fdatasync sync \
         syncfs sync_file_range readahead fadvise64 cachestat",
    ),
    (
        "files: names",
        "open openat openat2 creat close close_range access faccessat faccessat2 stat lstat fstat \
         newfstatat statx readlink readlinkat rename renameat renameat2 link linkat symlink \
         symlinkat unlink unlinkat mkdir mkdirat rmdir mknod mknodat chdir fchdir getcwd getdents \
         getdents64 chroot name_to_handle_at",
    ),
    (
        "files: attributes",
        "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat \
         futimesat umask getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr \
         llistxattr flistxattr removexattr lremovexattr fremovexattr getxattrat setxattrat \
         listxattrat removexattrat file_getattr file_setattr statfs fstatfs ustat statmount \
         listmount",
    ),
    (
        "descriptors and waiting",
        "dup dup2 dup3 fcntl flock ioctl pipe pipe2 poll ppoll select pselect6 epoll_create \
         epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd \
         signalfd4 timerfd_create timerfd_settime timerfd_gettime inotify_init inotify_init1 \
         inotify_add_watch inotify_rm_watch memfd_create memfd_secret",
    ),
    (
        "asynchronous files, the older way",
        "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents",
    ),
    (
        "memory",
        "brk mmap munmap mremap mprotect madvise process_madvise process_mrelease msync mincore \
         mlock mlock2 mlockall munlock munlockall membarrier mseal pkey_alloc pkey_free \
         pkey_mprotect map_shadow_stack remap_file_pages get_mempolicy",
    ),
    (
        "processes",
        "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid \
         getpgrp setpgid getsid setsid set_tid_address kill tkill tgkill pidfd_open \
         pidfd_send_signal pidfd_getfd prctl arch_prctl modify_ldt set_thread_area \
         get_thread_area capget capset seccomp landlock_create_ruleset landlock_add_rule \
         landlock_restrict_self lsm_get_self_attr lsm_list_modules uretprobe rseq getrandom",
    ),
    (
        "debuggers; whom one may trace is checked by owner",
        "ptrace process_vm_readv process_vm_writev kcmp",
    ),
    (
        "threads",
        "futex futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list \
         restart_syscall",
    ),
    (
        "users and groups",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid \
         setregid setresuid setresgid setgroups setfsuid setfsgid",
    ),
    (
        "signals",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait \
         rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack pause alarm getitimer setitimer",
    ),
    (
        "time; setting it needs a capability besides",
        "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep timer_create \
         timer_settime timer_gettime timer_getoverrun timer_delete times adjtimex clock_adjtime",
    ),
    (
        "scheduling",
        "sched_yield sched_getparam sched_setparam sched_getscheduler sched_setscheduler \
         sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getaffinity \
         sched_setaffinity sched_getattr sched_setattr getcpu getpriority setpriority ioprio_get \
         ioprio_set",
    ),
    ("limits and facts", "getrlimit setrlimit prlimit64 getrusage uname sysinfo"),
    (
        "sockets; families in a rule of its own",
        "socketpair bind listen accept accept4 connect getsockname getpeername getsockopt \
         setsockopt shutdown sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg",
    ),
    (
        "System V and POSIX IPC, in the desktop's own namespace",
        "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl \
         mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    ),
    (
        "architecture",
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
];

/// Reason and names.
const DENIED: [(&str, &str); 17] = [
    (
        "replaces or extends the host's kernel",
        "kexec_load kexec_file_load init_module finit_module delete_module create_module",
    ),
    ("runs code in the kernel", "bpf"),
    ("measures other desktops through shared hardware", "perf_event_open"),
    (
        "opens files past every path check, of any mount (CVE-2015-1334 and its kin)",
        "open_by_handle_at",
    ),
    (
        "keyrings belong to users of the whole host, not to a namespace",
        "keyctl add_key request_key",
    ),
    ("holds the kernel still in the middle of a copy: the attacker's stopwatch", "userfaultfd"),
    (
        "a second system call table that this filter cannot see",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    (
        "the desktop's mounts are the host's to make, and masked paths depend on them",
        "mount umount umount2 pivot_root move_mount open_tree open_tree_attr mount_setattr fsopen \
      fsconfig fsmount fspick",
    ),
    ("swap, accounting and quotas are the host's", "swapon swapoff acct quotactl quotactl_fd"),
    ("the clock is the host's", "settimeofday clock_settime stime"),
    ("the machine is the host's", "reboot ioperm iopl vhangup"),
    ("the kernel's log tells of other desktops", "syslog"),
    ("names come from the host", "sethostname setdomainname"),
    (
        "placement on memory nodes is the host's; programs do without",
        "mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages",
    ),
    ("watches whole mounts; inotify serves a desktop", "fanotify_init fanotify_mark"),
    ("relics with a history of holes", "lookup_dcookie nfsservctl sysfs uselib _sysctl"),
    ("changes the confinement of the process itself", "lsm_set_self_attr"),
];

/// Namespaces, as [`NestedNamespaces`] decides.
const NAMESPACE_CALLS: &str = "unshare setns";

/// The profile for `linux.seccomp`.
///
/// 32-bit programs are ended by their first system call: only the machine's
/// own architecture is named.
#[must_use]
pub fn default_seccomp(nested: NestedNamespaces) -> LinuxSeccomp {
    let mut rules: Vec<LinuxSyscall> = ALLOWED.iter().map(|(_, names)| allow(names, &[])).collect();
    rules.extend(DENIED.iter().map(|(_, names)| deny(names)));
    rules.push(allow("socket", &[arg(LinuxSeccompOperator::ScmpCmpLt, FIRST_ODD_FAMILY, None)]));
    rules.extend(PERSONALITIES.iter().map(|&domain| {
        allow("personality", &[arg(LinuxSeccompOperator::ScmpCmpEq, domain, None)])
    }));
    match nested {
        NestedNamespaces::Denied => {
            // The flags of clone3 lie in memory, where no filter can read them:
            // without it, the C library falls back to clone.
            rules.push(allow(
                "clone",
                &[arg(LinuxSeccompOperator::ScmpCmpMaskedEq, NAMESPACE_BITS, Some(0))],
            ));
            rules.push(deny(NAMESPACE_CALLS));
        }
        NestedNamespaces::Allowed => {
            rules.push(allow("clone clone3", &[]));
            rules.push(allow(NAMESPACE_CALLS, &[]));
        }
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(ENOSYS))
        .set_architectures(Some(vec![native()]))
        .set_syscalls(Some(rules));
    profile
}

fn native() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 }
}

fn names(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

fn allow(list: &str, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names(list)).set_action(LinuxSeccompAction::ScmpActAllow);
    if !args.is_empty() {
        rule.set_args(Some(args.to_vec()));
    }
    rule
}

fn deny(list: &str) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names(list))
        .set_action(LinuxSeccompAction::ScmpActErrno)
        .set_errno_ret(Some(EPERM));
    rule
}

/// A condition on the first argument.
fn arg(op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    let mut arg = LinuxSeccompArgBuilder::default().index(0_usize).op(op).value(value);
    if let Some(value_two) = value_two {
        arg = arg.value_two(value_two);
    }
    // The builder has a default for every field, so it cannot fail; if it did,
    // the default (equal to zero) would allow next to nothing.
    arg.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::FilterStack;
    use std::collections::HashMap;
    use std::str::FromStr;
    use syscalls::Sysno;

    #[test]
    fn no_name_is_in_two_groups() {
        let mut seen = HashMap::new();
        let groups = ALLOWED.iter().chain(&DENIED);
        for (purpose, list) in groups {
            for name in list.split_whitespace() {
                if let Some(other) = seen.insert(name, purpose) {
                    panic!("{name} is in {other:?} and in {purpose:?}");
                }
            }
        }
    }

    #[test]
    fn every_system_call_of_this_machine_is_judged() {
        // Deliberately left to ENOSYS: decided by a rule elsewhere, or gone
        // from every kernel that this launcher runs on.
        const ELSEWHERE: &str = "clone clone3 socket personality unshare setns";
        const GONE: &str = "afs_syscall tuxcall vserver security getpmsg putpmsg epoll_ctl_old \
                            epoll_wait_old get_kernel_syms query_module listns uprobe";
        let known: Vec<&str> = ALLOWED
            .iter()
            .chain(&DENIED)
            .flat_map(|(_, list)| list.split_whitespace())
            .chain(ELSEWHERE.split_whitespace())
            .chain(GONE.split_whitespace())
            .collect();
        let unjudged: Vec<&str> =
            Sysno::iter().map(|call| call.name()).filter(|name| !known.contains(name)).collect();
        assert_eq!(unjudged, Vec::<&str>::new());
    }

    #[test]
    fn names_are_spelled_as_the_kernel_does() {
        const OTHER_MACHINES: &str = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush \
                                      set_tls sync_file_range2 umount stime";
        for (_, list) in ALLOWED.iter().chain(&DENIED) {
            for name in list.split_whitespace() {
                let other = OTHER_MACHINES.split_whitespace().any(|known| known == name);
                let x86 = cfg!(target_arch = "x86_64");
                assert!(!x86 || other || Sysno::from_str(name).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn both_variants_compile() {
        for nested in [NestedNamespaces::Denied, NestedNamespaces::Allowed] {
            let stack = FilterStack::compile(&default_seccomp(nested)).unwrap();
            assert_eq!(stack.programs().count(), 2, "{nested:?}");
        }
    }
}
