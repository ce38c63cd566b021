//! Running other programs.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use thiserror::Error;

/// How many of a program's last lines an error carries.
const TAIL_LINES: usize = 12;

/// Why another program did not do its work.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run {program}; is it installed?")]
    Start {
        /// The program.
        program: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Its output could not be read, or its end not awaited.
    #[error("cannot follow {program}")]
    Follow {
        /// The program.
        program: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("{program} failed ({status}): {tail}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        tail: String,
    },
}

/// Runs a program to its end; its output shows only in the error.
pub(crate) fn run(command: &mut Command, lock: &File) -> Result<(), ToolError> {
    follow(command, lock, &mut |_| ())
}

/// Runs a program to its end, giving each line of its output and errors as it
/// comes. It holds `lock` too: if this process is killed, what the program
/// writes to stays locked until it has ended as well.
pub(crate) fn follow(
    command: &mut Command,
    lock: &File,
    line: &mut dyn FnMut(&str),
) -> Result<(), ToolError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot_start = |source| ToolError::Start { program: program.clone(), source };
    let cannot_follow = |source| ToolError::Follow { program: program.clone(), source };

    let (reader, writer) = io::pipe().map_err(cannot_start)?;
    command.stdin(lock.try_clone().map_err(cannot_start)?);
    command.stdout(writer.try_clone().map_err(cannot_start)?).stderr(writer);
    let mut child = command.spawn().map_err(cannot_start)?;
    // The command holds the pipe's writing end: without this the reader never sees its end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

    let mut tail = std::collections::VecDeque::new();
    for bytes in BufReader::new(reader).split(b'\n') {
        let bytes = bytes.map_err(cannot_follow)?;
        let text = String::from_utf8_lossy(&bytes);
        // Progress bars redraw their line: the last state counts.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        line(text);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text.to_owned());
    }
    let status = child.wait().map_err(cannot_follow)?;
    if status.success() {
        return Ok(());
    }
    let tail: Vec<String> = tail.into();
    Err(ToolError::Failed { program, status, tail: tail.join(" | ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_lock() -> File {
        tempfile::tempfile().unwrap()
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_outputs_arrive_in_order() {
        let mut lines = Vec::new();
        follow(&mut sh("echo a; echo b >&2; printf '1%%\\r2%%\\nend'"), &no_lock(), &mut |l| {
            lines.push(l.to_owned())
        })
        .unwrap();
        assert_eq!(lines, ["a", "b", "2%", "end"]);
    }

    #[test]
    fn failure_carries_the_last_lines() {
        let error = run(&mut sh("for i in $(seq 50); do echo line $i; done; exit 3"), &no_lock())
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("line 50"), "{error}");
        assert!(!error.contains("line 10 "), "{error}");
    }

    #[test]
    fn what_it_writes_to_stays_locked_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let ours = crate::lock::open(&path).unwrap();
        crate::lock::wait(&ours, crate::lock::Sharing::Exclusive).unwrap();
        let mut others = Vec::new();
        follow(&mut sh("readlink /proc/self/fd/0"), &ours, &mut |line| {
            others.push(line.to_owned())
        })
        .unwrap();
        assert_eq!(others, [path.display().to_string()]);
        drop(ours);
        let next = crate::lock::open(&path).unwrap();
        assert!(crate::lock::attempt(&next, crate::lock::Sharing::Exclusive).unwrap());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error =
            run(&mut Command::new("rolltop-no-such-program"), &no_lock()).unwrap_err().to_string();
        assert!(error.contains("rolltop-no-such-program"), "{error}");
    }
}
