//! The last steps before the program.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rolltop_sys::descriptors::close_on_exec_from;
use rolltop_sys::seccomp::install_filter;
use rolltop_sys::signals::reset_signals;
use rustix::fs::{Access, FileType, Mode, access, stat};
use rustix::io::{Errno, read};
use rustix::process::{chdir, getcwd, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::set_no_new_privs;

use super::inbox::Streams;
use super::{Ending, credentials, report};
use crate::error::{AtStage, Failure, Stage};
use crate::plan::ProcessPlan;
use crate::seccomp::FilterStack;
use crate::wire::{Report, START};

/// What the other runtimes give where nothing is said.
const DEFAULT_UMASK: u32 = 0o022;

/// When to execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    AtOnce,
    OnWord,
}

/// A process in its place, still with all rights.
pub(super) struct Ready<'launch> {
    pub(super) control: &'launch OwnedFd,
    pub(super) process: &'launch ProcessPlan,
    pub(super) filters: Option<&'launch FilterStack>,
}

// === impl Ready ===

impl Ready<'_> {
    /// Gives up every right, and executes the program. Returns only to tell
    /// why that did not come to pass.
    pub(super) fn execute(&self, streams: Streams, start: Start) -> Ending {
        match self.try_execute(streams, start) {
            Ok(never) => match never {},
            Err(ending) => ending,
        }
    }

    fn try_execute(
        &self,
        streams: Streams,
        start: Start,
    ) -> Result<std::convert::Infallible, Ending> {
        set_streams(streams)?;
        let mask = self.process.umask.unwrap_or(DEFAULT_UMASK);
        umask(Mode::from_raw_mode(mask));
        close_on_exec_from(3).at(Stage::GuardDescriptors, "3 and up")?;
        credentials::limit_capabilities(&self.process.capabilities)?;
        if !self.process.no_new_privileges {
            // Takes a capability that is about to be given up.
            self.install_filters()?;
        }
        credentials::become_user(self.process)?;
        enter_directory(self.process)?;
        let program = find(self.process)?;
        let strings = Strings::new(self.process)?;
        reset_signals().at(Stage::ResetSignals, "all")?;
        if self.process.no_new_privileges {
            set_no_new_privs(true).at(Stage::SetNoNewPrivileges, "1")?;
            self.install_filters()?;
        }
        if start == Start::OnWord {
            self.await_word()?;
        }
        report(self.control.as_fd(), &Report::Executing).at(Stage::Execute, "report")?;
        let Err(error) = nix::unistd::execve(&program, &strings.args, &strings.env);
        let command = self.process.args.first().map_or("", String::as_str);
        Err(Ending::Failed(Failure {
            stage: Stage::Execute,
            operand: command.into(),
            errno: error as i32,
        }))
    }

    fn install_filters(&self) -> Result<(), Failure> {
        let Some(stack) = self.filters else { return Ok(()) };
        for program in stack.programs() {
            install_filter(&program, stack.flags()).at(Stage::InstallFilter, program.len())?;
        }
        Ok(())
    }

    fn await_word(&self) -> Result<(), Ending> {
        report(self.control.as_fd(), &Report::Ready).at(Stage::AwaitStart, "report")?;
        let mut word = [0; START.len()];
        match read(self.control, &mut word) {
            Ok(length) if word[..length] == *START => Ok(()),
            // The agent is gone: nobody would look after this container.
            Ok(_) | Err(Errno::CONNRESET) => Err(Ending::Abandoned),
            Err(error) => Err(error).at(Stage::AwaitStart, "word").map_err(Ending::from),
        }
    }
}

fn set_streams(streams: Streams) -> Result<(), Failure> {
    dup2_stdin(&streams.stdin).at(Stage::SetStreams, "stdin")?;
    dup2_stdout(&streams.stdout).at(Stage::SetStreams, "stdout")?;
    dup2_stderr(&streams.stderr).at(Stage::SetStreams, "stderr")
}

/// Goes to the working directory, as the user, and makes sure that it lies
/// within the root: a path like `/proc/self/fd/7` could lead out through a
/// descriptor (CVE-2024-21626). The kernel marks what it cannot reach from the
/// root by a path that does not start with a slash.
fn enter_directory(process: &ProcessPlan) -> Result<(), Failure> {
    let name = process.cwd.display();
    chdir(&process.cwd).at(Stage::EnterDirectory, &name)?;
    let here = getcwd(Vec::new()).at(Stage::EnterDirectory, &name)?;
    if here.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Errno::NOENT).at(Stage::EnterDirectory, name)
    }
}

/// Finds the program as a shell would.
fn find(process: &ProcessPlan) -> Result<CString, Failure> {
    let command = process.args.first().map_or("", String::as_str);
    if command.contains('/') {
        return executable(command).at(Stage::FindCommand, command);
    }
    let path = process.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let mut best = Errno::NOENT;
    for directory in path.unwrap_or_default().split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        match executable(&format!("{directory}/{command}")) {
            Ok(program) => return Ok(program),
            // Found but not for this user: worth more than not found.
            Err(Errno::ACCESS) => best = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(best).at(Stage::FindCommand, command)
}

fn executable(path: &str) -> Result<CString, Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    access(path, Access::EXEC_OK)?;
    CString::new(path).map_err(|_| Errno::INVAL)
}

/// Arguments and environment as the kernel takes them.
struct Strings {
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Strings {
    fn new(process: &ProcessPlan) -> Result<Self, Failure> {
        let convert = |texts: &[String]| {
            texts.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>()
        };
        let args = convert(&process.args).at(Stage::Execute, "arguments")?;
        let env = convert(&process.env).at(Stage::Execute, "environment")?;
        Ok(Self { args, env })
    }
}
