//! Running a program of e2fsprogs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use thiserror::Error;

/// Output worth reading; the rest is cut off.
const MAX_OUTPUT_BYTES: u64 = 4096;

/// Why a program gave no answer.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("run {program}: is e2fsprogs installed?")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It could not be watched, or its output not be read.
    #[error("watch {program}")]
    Watch {
        /// Its name.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was killed at its deadline.
    #[error("{program} did not end within {seconds} s")]
    Deadline {
        /// Its name.
        program: &'static str,
        /// The time it had.
        seconds: u64,
    },
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    /// Standard output and error, cut to a length that can be shown.
    pub(crate) output: String,
}

/// Runs `command`, which works on `file`, to its end, or to the deadline. It
/// gets a copy of the descriptor, and with that the file's lock: should this
/// process be killed, nobody else touches the file before the program is done.
pub(crate) fn run_on(
    file: &File,
    program: &'static str,
    command: &mut Command,
    deadline: Duration,
) -> Result<Answer, ToolError> {
    let copy = file.try_clone().map_err(|source| ToolError::Watch { program, source })?;
    run_with(copy.into(), program, command, deadline)
}

/// Runs `command` to its end, or to the deadline.
#[cfg(test)]
fn run(
    program: &'static str,
    command: &mut Command,
    deadline: Duration,
) -> Result<Answer, ToolError> {
    run_with(Stdio::null(), program, command, deadline)
}

fn run_with(
    stdin: Stdio,
    program: &'static str,
    command: &mut Command,
    deadline: Duration,
) -> Result<Answer, ToolError> {
    let watch = |source: io::Error| ToolError::Watch { program, source };
    // A pipe would have to be drained while waiting; a file does not fill up.
    let output = memfd_create("output", MemfdFlags::CLOEXEC).map_err(|e| watch(e.into()))?;
    let mut output = File::from(output);
    let stdout = output.try_clone().map_err(watch)?;
    let stderr = output.try_clone().map_err(watch)?;
    let mut child = command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|source| ToolError::Start { program, source })?;
    let ended = wait_until(&child, deadline);
    if !matches!(ended, Ok(true)) {
        // Killing fails only for a child that is reaped, and it is not.
        child.kill().map_err(watch)?;
    }
    let status = child.wait().map_err(watch)?;
    if !ended.map_err(watch)? {
        return Err(ToolError::Deadline { program, seconds: deadline.as_secs() });
    }
    let mut text = Vec::new();
    output.seek(SeekFrom::Start(0)).map_err(watch)?;
    output.take(MAX_OUTPUT_BYTES).read_to_end(&mut text).map_err(watch)?;
    let output = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    Ok(Answer { status, output })
}

/// Whether the child ended before the deadline.
fn wait_until(child: &Child, deadline: Duration) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = std::time::Instant::now() + deadline;
    loop {
        let left = limit.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut watched = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_come_back() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let answer = run("sh", &mut command, Duration::from_secs(60)).unwrap();
        assert_eq!(answer.status.code(), Some(3));
        assert_eq!(answer.output, "out; err");
    }

    #[test]
    fn more_output_than_a_pipe_holds_is_cut() {
        let mut command = Command::new("sh");
        command.args(["-c", "yes | head -c 300000"]);
        let answer = run("sh", &mut command, Duration::from_secs(60)).unwrap();
        assert!(answer.status.success());
        assert!(answer.output.len() < 10_000);
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let error = run("sleep", &mut command, Duration::ZERO).unwrap_err();
        assert!(matches!(error, ToolError::Deadline { program: "sleep", .. }), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error =
            run("nosuch", &mut Command::new("/nosuch/program"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("nosuch"), "{error}");
    }
}
