//! PID 1: reaps what is orphaned, and ends the desktop when told to.

use std::fs;

use crate::failure::Failure;
use crate::kernel::{self, SIGCHLD, SIGCONT, SIGINT, SIGTERM, Signals};

/// Reaps until SIGTERM or SIGINT, then ends every process and returns when none is left.
///
/// Sleeps in between: there is no timer here. With no process left to reap it
/// lives on; whether that ends the desktop is the agent's decision.
pub(crate) fn run() -> Result<(), Failure> {
    let signals = Signals::block(&[SIGCHLD, SIGTERM, SIGINT])
        .map_err(|e| Failure::system("block signals", e))?;
    loop {
        match signals.wait().map_err(|e| Failure::system("wait for signals", e))? {
            SIGTERM | SIGINT => return end_all(),
            _ => reap(),
        }
    }
}

fn reap() {
    while kernel::reap_one() {}
}

fn end_all() -> Result<(), Failure> {
    // What is stopped must run to heed it. No SIGHUP beside it, which would kill whoever
    // tidies up on SIGTERM; shells, which ignore SIGTERM, get theirs when their terminal ends.
    for signal in [SIGTERM, SIGCONT] {
        kernel::signal_all(signal);
    }
    // Processes that entered from outside are nobody's children here, so
    // waiting for children is not enough.
    loop {
        reap();
        match a_living_process().map_err(|e| Failure::system("read /proc", e))? {
            Some(pid) => {
                kernel::wait_for_end(pid).map_err(|e| Failure::system("wait for a process", e))?
            }
            None => return Ok(()),
        }
    }
}

/// Any process but this one that has not ended. (An ended one may stay, as long
/// as its parent outside does not reap it.)
fn a_living_process() -> std::io::Result<Option<u32>> {
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        // No file any more: it ended meanwhile.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        if is_alive(&stat) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// By the state in `/proc/PID/stat`, which follows the name in brackets; the name may hold brackets.
fn is_alive(stat: &[u8]) -> bool {
    let after_name = stat.iter().rposition(|byte| *byte == b')').map(|at| at + 2);
    let state = after_name.and_then(|at| stat.get(at));
    !matches!(state, Some(b'Z' | b'X' | b'x') | None)
}
