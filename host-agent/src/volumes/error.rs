//! Why something was not done to a volume.

use std::io;

use rolltop_overlay::{NameError, SizeError, StoreError};
use thiserror::Error;

use super::Busy;

/// Something about a volume failed.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The library's reason.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else is being done to it.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// A snapshot's name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A size that cannot be.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// There is no such snapshot.
    #[error("{volume} has no snapshot {name}")]
    NoSnapshot {
        /// The volume.
        volume: super::VolumeKey,
        /// The name.
        name: String,
    },
    /// The caller of an export has gone.
    #[error("the caller has gone away")]
    CallerGone(#[source] io::Error),
    /// No thread could be started for it.
    #[error("no thread could be started for it")]
    Thread(#[source] io::Error),
    /// The work ended in the middle; a fault of the agent's.
    #[error("the work ended in the middle")]
    Interrupted,
}
