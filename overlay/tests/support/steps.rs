//! Killing a process at every step of what it does.
//!
//! A step is a system call that may change something. The process is a test
//! of the same program, which says by [`begin`] and [`end`] where its work lies;
//! the kernel (`ptrace(2)`) stops it before each call. So no step can be
//! forgotten, and the code under test knows nothing of it.

use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Calls that change nothing outside of the process.
const HARMLESS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    libc::SYS_pidfd_open,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_clock_gettime,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_prctl,
    libc::SYS_exit,
    libc::SYS_capget,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_tgkill,
];

/// Where the steps begin; in the child.
pub(crate) fn begin() {
    ptrace::traceme().unwrap();
    raise(Signal::SIGSTOP).unwrap();
}

/// Where they end.
pub(crate) fn end() {
    raise(Signal::SIGSTOP).unwrap();
}

/// What became of the child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took that many steps and ended well.
    Ended { steps: usize },
    /// It was killed before its step.
    Killed,
}

/// Runs the ignored test `helper` of this program with `env`, and kills it before
/// its step `kill_at`, counted from 0. Programs it has started run on to their
/// end, for which this waits.
pub(crate) fn run(helper: &str, env: &[(&str, &str)], kill_at: Option<usize>) -> Outcome {
    watch(helper, env, |call| kill_at == Some(call.step))
}

/// A call that a child is about to make.
#[derive(Debug)]
pub(crate) struct Call {
    /// Of the thread that makes it.
    pub(crate) pid: Pid,
    /// Counted from 0.
    pub(crate) step: usize,
    pub(crate) number: libc::c_long,
    pub(crate) arguments: Vec<u64>,
}

/// [`run`], where `before` is asked before each step whether to kill; the child
/// waits for the answer.
#[expect(clippy::zombie_processes, reason = "the tracer waits for it, and for its children")]
pub(crate) fn watch(
    helper: &str,
    env: &[(&str, &str)],
    mut before: impl FnMut(&Call) -> bool,
) -> Outcome {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", helper, "--ignored", "--test-threads=1"])
        .envs(env.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = Pid::from_raw(child.id().try_into().unwrap());
    let outcome = trace(child, &mut before);
    // Whatever it started is ours now.
    while !matches!(waitpid(None, Some(WaitPidFlag::__WALL)), Err(Errno::ECHILD)) {}
    outcome
}

fn trace(child: Pid, before: &mut dyn FnMut(&Call) -> bool) -> Outcome {
    let flags = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    let (mut tracee, mut ended, mut steps, mut previous) = (None, false, 0, -1);
    loop {
        match waitpid(None, flags).unwrap() {
            WaitStatus::Exited(pid, code) if pid == child => {
                assert!(ended && code == 0, "the child failed: {code}");
                return Outcome::Ended { steps };
            }
            WaitStatus::Signaled(pid, signal, _) if pid == child => {
                assert_eq!(signal, Signal::SIGKILL);
                return Outcome::Killed;
            }
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if tracee.is_none() => {
                tracee = Some(pid);
                let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
                ptrace::setoptions(pid, options | Options::PTRACE_O_EXITKILL).unwrap();
                ptrace::syscall(pid, None).unwrap();
            }
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if tracee == Some(pid) => {
                ended = true;
                ptrace::detach(pid, None).unwrap();
            }
            // A thread of its begins.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) => ptrace::syscall(pid, None).unwrap(),
            WaitStatus::Stopped(pid, signal) => ptrace::syscall(pid, signal).unwrap(),
            WaitStatus::PtraceEvent(pid, ..) => ptrace::syscall(pid, None).unwrap(),
            WaitStatus::PtraceSyscall(pid) => {
                if let Some(call) = entered(pid, steps)
                    && !HARMLESS.contains(&call.number)
                    // Of calls in a row, in a copy say, the first stands for all.
                    && call.number != previous
                {
                    previous = call.number;
                    steps += 1;
                    if before(&call) {
                        kill(child, Signal::SIGKILL).unwrap();
                        continue;
                    }
                }
                // Killed by now, if not by us.
                if ptrace::syscall(pid, None) == Err(Errno::ESRCH) {
                    continue;
                }
            }
            _ => {}
        }
    }
}

/// The call that a stopped thread is about to make; `None` if it comes back
/// from one.
fn entered(pid: Pid, step: usize) -> Option<Call> {
    if ptrace::syscall_info(pid).ok()?.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // The number is in a union there, which safe code does not look into.
    let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let mut fields = text.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    let hex = |field: &str| u64::from_str_radix(field.trim_start_matches("0x"), 16).ok();
    Some(Call { pid, step, number, arguments: fields.map_while(hex).collect() })
}
