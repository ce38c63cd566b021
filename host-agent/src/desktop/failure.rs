//! From a step's error to words: a stable code for programs and a sentence for
//! the person who waits.

use std::{io, time::Duration};

use nix::errno::Errno;
use oci_spec::OciSpecError;
use rolltop_launcher::cgroup::CgroupError;
use rolltop_overlay::StoreError;
use thiserror::Error;

use super::{disks::DisksError, home::HomeError, inside::InsideError};
use crate::{
    display::DisplayError,
    extra::ExtraDirMissing,
    keep::KeepError,
    network::NetworkError,
    process::Ending,
    runtime::RuntimeError,
    storage::StorageError,
    view::{Failure, Phase},
    volumes::Busy,
};

/// For whoever finds that their files are there, and not to be had.
const WHAT_TO_DO_WITH_DAMAGE: &str = "; the file is kept as it is: an operator can roll it back to \
    a snapshot, import a backup under another name, or have it repaired";

/// What can go wrong while a desktop comes up.
#[derive(Debug, Error)]
pub(super) enum StepError {
    #[error("cannot {verb} {operand}")]
    Io {
        verb: &'static str,
        operand: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    ExtraDir(#[from] ExtraDirMissing),
    #[error(transparent)]
    Overlay(#[from] StoreError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    Disks(#[from] DisksError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Inside(#[from] InsideError),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error(transparent)]
    Bundle(#[from] OciSpecError),
    #[error(transparent)]
    Group(#[from] CgroupError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the session command of the image cannot be run")]
    SessionMissing(#[source] RuntimeError),
    #[error("the session {0} before its display answered")]
    SessionEnded(Ending),
    #[error("{0}")]
    OutOfMemory(String),
    #[error("init ended while the desktop was starting")]
    InitEnded,
    #[error(
        "the image's own init has not started everything within {limit:?} (deadlines.boot_ms){}",
        told(.status)
    )]
    NotBooted { limit: Duration, status: String },
    #[error(transparent)]
    Display(#[from] DisplayError),
    #[error("only {free_mib} MiB are free where the overlays lie, and {reserve_mib} are reserved")]
    NoSpace { free_mib: u64, reserve_mib: u64 },
}

impl StepError {
    pub(super) fn io(verb: &'static str, operand: impl ToString, source: io::Error) -> Self {
        Self::Io { verb, operand: operand.to_string(), source }
    }

    /// Stable word for programs.
    pub(super) fn code(&self) -> &'static str {
        if is_disk_full(self) {
            return "DISK_FULL";
        }
        match self {
            Self::NoSpace { .. } => "DISK_FULL",
            Self::Storage(error) => error.code(),
            Self::ExtraDir(_) => "EXTRA_DIRECTORY_MISSING",
            Self::Overlay(StoreError::LargerThanDisk { .. }) => "OVERLAY_TOO_LARGE",
            Self::Overlay(_) => "OVERLAY_FAILED",
            Self::Keep(error) => error.code(),
            Self::Disks(_) => "CONTAINER_FAILED",
            Self::Home(error) => error.code(),
            Self::Busy(_) => "OVERLAY_BUSY",
            Self::Network(_) => "NETWORK_FAILED",
            Self::SessionMissing(_) => "SESSION_COMMAND_MISSING",
            Self::Runtime(_) | Self::Group(_) | Self::Inside(_) => "CONTAINER_FAILED",
            Self::SessionEnded(_) => "SESSION_ENDED_EARLY",
            Self::OutOfMemory(_) => "OUT_OF_MEMORY",
            Self::InitEnded => "INIT_ENDED_EARLY",
            Self::NotBooted { .. } => "BOOT_TIMEOUT",
            Self::Display(DisplayError::Timeout(_)) => "DISPLAY_TIMEOUT",
            Self::Display(_) => "DISPLAY_FAILED",
            Self::Io { .. } | Self::Bundle(_) => "INTERNAL",
        }
    }

    /// With the phase it happened in and what the session said.
    pub(super) fn into_failure(self, phase: Phase, output_tail: Vec<String>) -> Failure {
        let mut reason = sentence(&self);
        let code = self.code();
        if matches!(code, "OVERLAY_DAMAGED" | "HOME_DAMAGED") {
            reason.push_str(WHAT_TO_DO_WITH_DAMAGE);
        }
        Failure { phase, code, reason, output_tail }
    }
}

/// What an init said last of itself.
fn told(status: &str) -> String {
    if status.is_empty() { String::new() } else { format!("; it says: {status}") }
}

/// Whether a full disk is at the bottom of it.
pub fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if errno == Some(Errno::ENOSPC as i32) || errno == Some(Errno::EDQUOT as i32) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error and its causes in one line.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_recognised_however_deep() {
        let deep = StepError::io("write", "x", io::Error::from_raw_os_error(Errno::ENOSPC as i32));
        assert_eq!(deep.code(), "DISK_FULL");
        assert_eq!(sentence(&deep), "cannot write x: No space left on device (os error 28)");
        let other = StepError::io("write", "x", io::Error::from_raw_os_error(Errno::EIO as i32));
        assert_eq!(other.code(), "INTERNAL");
    }

    #[test]
    fn an_early_end_says_how() {
        let failure =
            StepError::SessionEnded(Ending::Code(3)).into_failure(Phase::Display, vec!["x".into()]);
        assert_eq!(failure.code, "SESSION_ENDED_EARLY");
        assert_eq!(
            failure.reason,
            "the session ended with exit code 3 before its display answered"
        );
    }
}
