//! Inside the helper process, and inside the process it makes.
//!
//! Nothing here is for other crates: the one entry is the program's `main`.

mod container;
mod credentials;
mod devices;
mod execute;
mod gate;
mod inbox;
mod join;
mod mounts;
mod seed;
mod sources;
mod terminal;
mod tree;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::error::{AtStage, Failure, Stage};
use crate::wire::{self, Report, Request, Task};
use inbox::Inbox;

/// Does the one task that the agent sends over standard input.
///
/// Two processes return from here: the helper, and the one it makes when that
/// does not get as far as its program.
pub fn main() -> ExitCode {
    let control = match fcntl_dupfd_cloexec(io::stdin().as_fd(), 3) {
        Ok(control) => control,
        // Nobody to tell: standard input is the only way there is.
        Err(_) => return ExitCode::FAILURE,
    };
    match run(&control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ending::Failed(failure)) => {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "without the agent there is nobody to tell"
            )]
            let _ = report(control.as_fd(), &Report::Failed(failure));
            ExitCode::FAILURE
        }
        Err(Ending::Abandoned) => ExitCode::FAILURE,
    }
}

/// Why a process of a launch ends early.
enum Ending {
    /// For a reason the agent has to be told.
    Failed(Failure),
    /// Because its counterpart has ended; that one has told the reason.
    Abandoned,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn run(control: &OwnedFd) -> Result<(), Ending> {
    // Nobody inside a container may look into this process or take over one of
    // its descriptors through /proc while it is half in there.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Request, "dumpable")?;
    let received = wire::receive::<Request>(control.as_fd()).at(Stage::Request, "message")?;
    let Some((request, descriptors)) = received else { return Err(Ending::Abandoned) };
    let inbox = Inbox::sort(&request, descriptors)?;
    match request.task {
        Task::Seed => Ok(seed::make(control.as_fd())?),
        Task::Create => container::create(control, inbox),
        Task::Exec => join::exec(control, inbox),
    }
}

/// Reports without descriptors, with nothing but `write(2)`: what seccomp
/// profile would forbid that?
fn report(control: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
    let bytes = serde_json::to_vec(report)?;
    match rustix::io::write(control, &bytes) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::MSGSIZE.into()),
        Err(error) => Err(error.into()),
    }
}
