//! Runs the program and kills it before its n-th change of the file system.

use std::{
    collections::HashSet,
    process::{Child, Command},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Killed before the change that was asked for.
    Killed,
    /// It came to its end with so many changes.
    Finished { changes: usize, code: i32 },
}

/// System calls that change what is on disk, or make it last.
fn is_change(registers: &libc::user_regs_struct) -> bool {
    let number = i64::try_from(registers.orig_rax).unwrap_or(-1);
    match number {
        libc::SYS_openat => registers.rdx & u64::from(libc::O_CREAT.cast_unsigned()) != 0,
        libc::SYS_open => registers.rsi & u64::from(libc::O_CREAT.cast_unsigned()) != 0,
        _ => [
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_rmdir,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_symlink,
            libc::SYS_symlinkat,
            libc::SYS_chmod,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_syncfs,
        ]
        .contains(&number),
    }
}

/// Runs `program` with its arguments; kills it with all its threads before
/// change `at`, counted from 1. Programs that it starts live on.
pub fn run_until(at: usize, program: &str, arguments: &[&str]) -> End {
    // It waits for us before it becomes the program.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\"", program]).args(arguments);
    shell.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = shell.spawn().unwrap();
    let leader = Pid::from_raw(child.id().cast_signed());
    waitpid(leader, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).unwrap();
    kill(leader, Signal::SIGCONT).unwrap();
    let end = follow(leader, at);
    reap(&mut child);
    end
}

fn follow(leader: Pid, at: usize) -> End {
    let mut inside = HashSet::new();
    let mut changes = 0;
    loop {
        let (thread, signal) = match waitpid(None, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Exited(pid, code) if pid == leader => {
                return End::Finished { changes, code };
            }
            WaitStatus::Signaled(pid, signal, _) if pid == leader => {
                panic!("ended by {signal} without our doing")
            }
            WaitStatus::PtraceSyscall(pid) => {
                let entered = inside.insert(pid) || !inside.remove(&pid);
                if entered && ptrace::getregs(pid).is_ok_and(|registers| is_change(&registers)) {
                    changes += 1;
                    if changes == at {
                        kill(leader, Signal::SIGKILL).unwrap();
                        return End::Killed;
                    }
                }
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => continue,
        };
        match ptrace::syscall(thread, signal) {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("cannot go on with {thread}: {error}"),
        }
    }
}

/// Waits for every thread that is still to be told of.
fn reap(child: &mut Child) {
    while waitpid(None, Some(WaitPidFlag::__WALL)) != Err(Errno::ECHILD) {}
    // Its end was taken above: there is nothing left for this to find.
    child.try_wait().ok();
}
