//! Why something in a container could not be begun.

use std::{io, path::PathBuf};

use rolltop_launcher::{LaunchError, Stage, cgroup::CgroupError};
use thiserror::Error;

/// A container or a process in it could not be made.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// By the launcher.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// By the control groups.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// By a runtime binary.
    #[error("{program} {verb} failed: {message}")]
    Oci {
        /// The binary.
        program: PathBuf,
        /// Its command, such as `create`.
        verb: &'static str,
        /// What it wrote, or why it could not be run.
        message: String,
    },
    /// Around it.
    #[error("cannot {verb}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl RuntimeError {
    /// The desktop may make no more processes (`EAGAIN` in `clone(2)`).
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Launch(LaunchError::Step { stage: Stage::Clone, source, .. })
            if source.kind() == io::ErrorKind::WouldBlock)
    }

    /// The program asked for is not in the image, or cannot be run there.
    pub fn is_missing_program(&self) -> bool {
        match self {
            Self::Launch(error) => matches!(error, LaunchError::NoSuchCommand { .. }),
            // runc's words for ENOENT and EACCES on the first argument.
            Self::Oci { message, .. } => {
                message.contains("no such file or directory")
                    || message.contains("executable file not found")
                    || message.contains("permission denied")
            }
            Self::Group(_) | Self::Io { .. } => false,
        }
    }
}
