//! Why a launch failed, told by whichever process it failed in.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cgroup::CgroupError;
use crate::plan::PlanError;
use crate::seccomp::FilterError;

/// A step of a launch, as a verb that reads well before its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stage {
    /// Take over the request, its plan and its descriptors.
    Request,
    /// Open the container's root or the source of a bind mount on the host.
    OpenSource,
    /// Enter a cgroup.
    JoinCgroup,
    /// Enter a namespace that exists.
    JoinNamespace,
    /// Make the mount namespace containers start from.
    MakeSeed,
    /// Start the process in its new namespaces.
    Clone,
    /// Write the user and group maps.
    MapIds,
    /// Find or make the place something is mounted on.
    FindMountPoint,
    /// Make a file system or attach it.
    Mount,
    /// Make a device or link in `/dev`.
    MakeDevice,
    /// Hide a path.
    Mask,
    /// Make a path read-only.
    MakeReadOnly,
    /// Make the new root the root.
    PivotRoot,
    /// Set host or domain name.
    SetHostname,
    /// Write a sysctl.
    SetSysctl,
    /// Set a resource limit.
    SetLimit,
    /// Write the out-of-memory score.
    SetOomScore,
    /// Ask for an AppArmor profile.
    SetProfile,
    /// Start a new session.
    StartSession,
    /// Open the terminal, or make it the controlling one.
    OpenTerminal,
    /// Take the standard streams.
    SetStreams,
    /// Become the user.
    SetUser,
    /// Give up capabilities.
    DropCapabilities,
    /// Give up the right to gain privileges.
    SetNoNewPrivileges,
    /// Install the system call filter.
    InstallFilter,
    /// Change to the working directory.
    EnterDirectory,
    /// Keep descriptors from the program.
    GuardDescriptors,
    /// Give signals their default actions.
    ResetSignals,
    /// Look for the program.
    FindCommand,
    /// Wait for the word to start.
    AwaitStart,
    /// Execute the program.
    Execute,
}

/// Why a container or a process in one did not start. Whatever was made for it
/// is gone again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The bundle's configuration cannot be read.
    #[error("read {path}")]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The bundle's configuration is not OCI JSON.
    #[error("parse {path}")]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration asks for something impossible or not offered here.
    #[error("container configuration")]
    Plan(#[from] PlanError),
    /// The seccomp profile does not compile.
    #[error("seccomp profile")]
    Filter(#[from] FilterError),
    /// The cgroup cannot be made or limited.
    #[error("container cgroup")]
    Cgroup(#[from] CgroupError),
    /// The helper program cannot be copied, or does not start.
    #[error("{action} the launch helper")]
    Helper {
        /// A verb.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A step failed in the helper or in the container's first process.
    #[error("{stage} {operand}")]
    Step {
        /// The step.
        stage: Stage,
        /// What it was done to: a path, a name, a number.
        operand: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The program does not exist in the container or cannot be executed:
    /// the image's fault, not the host's.
    #[error("no such command in the image: {command}")]
    NoSuchCommand {
        /// `args[0]`.
        command: String,
        /// `ENOENT` or `EACCES`.
        #[source]
        source: io::Error,
    },
    /// The process ended without a word, so was killed: by the kernel when
    /// memory ran out, or by someone.
    #[error("the launch was killed while it was to {during}")]
    Killed {
        /// What was being waited for.
        during: &'static str,
    },
    /// Time ran out.
    #[error("the launch did not {during} within {} ms", after.as_millis())]
    Deadline {
        /// What was being waited for.
        during: &'static str,
        /// How long the wait was.
        after: Duration,
    },
    /// The container to execute something in has ended.
    #[error("the container has ended")]
    ContainerGone,
}

/// A step that failed, in the form that crosses from process to process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) operand: String,
    pub(crate) errno: i32,
}

/// Names the step and the operand of a system call's error.
pub(crate) trait AtStage<T> {
    fn at(self, stage: Stage, operand: impl fmt::Display) -> Result<T, Failure>;
}

// === impl Stage ===

impl Stage {
    const fn verb(self) -> &'static str {
        match self {
            Self::Request => "take over the request",
            Self::OpenSource => "open",
            Self::JoinCgroup => "join cgroup",
            Self::JoinNamespace => "join namespace",
            Self::MakeSeed => "make the seed namespace",
            Self::Clone => "clone",
            Self::MapIds => "write",
            Self::FindMountPoint => "find mount point",
            Self::Mount => "mount",
            Self::MakeDevice => "make device",
            Self::Mask => "mask",
            Self::MakeReadOnly => "make read-only",
            Self::PivotRoot => "pivot to root",
            Self::SetHostname => "set host name",
            Self::SetSysctl => "set sysctl",
            Self::SetLimit => "set limit",
            Self::SetOomScore => "set oom_score_adj",
            Self::SetProfile => "ask for the AppArmor profile",
            Self::StartSession => "start session",
            Self::OpenTerminal => "open terminal",
            Self::SetStreams => "set standard stream",
            Self::SetUser => "become user",
            Self::DropCapabilities => "set capabilities",
            Self::SetNoNewPrivileges => "set no_new_privs",
            Self::InstallFilter => "install seccomp filter",
            Self::EnterDirectory => "enter directory",
            Self::GuardDescriptors => "guard descriptors",
            Self::ResetSignals => "reset signals",
            Self::FindCommand => "find command",
            Self::AwaitStart => "await start",
            Self::Execute => "execute",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.verb())
    }
}

// === impl LaunchError ===

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        let source = io::Error::from_raw_os_error(failure.errno);
        let absent = matches!(
            source.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
        );
        match failure.stage {
            Stage::FindCommand | Stage::Execute if absent => {
                Self::NoSuchCommand { command: failure.operand, source }
            }
            stage => Self::Step { stage, operand: failure.operand, source },
        }
    }
}

// === impl AtStage ===

impl<T, E: Into<io::Error>> AtStage<T> for Result<T, E> {
    fn at(self, stage: Stage, operand: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            // Our own errors carry no number; they all mean bad input.
            let errno = error.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error());
            Failure { stage, operand: operand.to_string(), errno }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_failure_reads_as_verb_operand_reason() {
        let failure = Failure {
            stage: Stage::Mount,
            operand: "/dev/shm".into(),
            errno: rustix::io::Errno::NOSPC.raw_os_error(),
        };
        let error = LaunchError::from(failure);
        assert_eq!(error.to_string(), "mount /dev/shm");
        assert!(error.source().unwrap().to_string().starts_with("No space left"));
    }

    #[test]
    fn only_a_missing_command_is_the_images_fault() {
        let fail = |stage, errno: rustix::io::Errno| {
            LaunchError::from(Failure { stage, operand: "x".into(), errno: errno.raw_os_error() })
        };
        use rustix::io::Errno;
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOTDIR] {
            assert!(matches!(fail(Stage::Execute, errno), LaunchError::NoSuchCommand { .. }));
            assert!(matches!(fail(Stage::FindCommand, errno), LaunchError::NoSuchCommand { .. }));
            assert!(matches!(fail(Stage::Mount, errno), LaunchError::Step { .. }));
        }
        assert!(matches!(fail(Stage::Execute, Errno::NOMEM), LaunchError::Step { .. }));
    }
}
