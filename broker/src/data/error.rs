//! What can go wrong with kept data.

use thiserror::Error;
use tonic::Status;

use super::DataId;
use crate::{
    hosts::HostError,
    names::{DesktopId, HostName, UserName},
    state::WorkKind,
    store::StoreError,
};

/// Data cannot be had, or this cannot be done to it now.
#[derive(Debug, Error)]
pub enum DataError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Nothing is kept.
    #[error("nothing is kept for {0}")]
    None(DataId),
    /// The user is gone.
    #[error("there is no user {0}")]
    UnknownUser(UserName),
    /// A desktop uses it.
    #[error("{data} is in use by desktop {desktop}; stop that first")]
    InUse {
        /// The data.
        data: DataId,
        /// The desktop.
        desktop: DesktopId,
    },
    /// Something is being done to it.
    #[error("{data} is being {kind}, as {by} asked {seconds} s ago; try again when that is done")]
    Busy {
        /// The data.
        data: DataId,
        /// What is being done.
        kind: WorkKind,
        /// Who asked for it.
        by: UserName,
        /// How long ago.
        seconds: u64,
    },
    /// There is something already.
    #[error("{0} is there already; delete it first")]
    Exists(DataId),
    /// It is being deleted.
    #[error("{0} is being deleted; delete it again to go on with that")]
    Deleting(DataId),
    /// It was never finished.
    #[error("{0} was not made to its end; delete it, and make it again")]
    Unfinished(DataId),
    /// Overlays and homes do not become each other.
    #[error("{from} and {to} are of different kinds")]
    Kinds {
        /// From which.
        from: DataId,
        /// To which.
        to: DataId,
    },
    /// No host answers.
    #[error("no host answers that could take {0}")]
    NoHost(DataId),
    /// The host refused, with its own words and code.
    #[error("host {host}: {}", .status.message())]
    Refused {
        /// The host.
        host: HostName,
        /// What it said.
        status: Status,
    },
    /// The host said nothing for too long, or ended the line.
    #[error("host {host} could not say how it ended: {problem}; look with `data show`")]
    Lost {
        /// The host.
        host: HostName,
        /// What happened to the line.
        problem: String,
    },
    /// The caller's stream is not what it should be.
    #[error("the stream is not whole: {0}")]
    BadStream(&'static str),
    /// The broker is about to end.
    #[error("the broker is being restarted; try again in a moment")]
    Ending,
}

impl DataError {
    /// The host said that it was not done, so that it need not be undone.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Ending => false,
            Self::Refused { status, .. } => !super::lost(status),
            Self::Store(_)
            | Self::Host(_)
            | Self::None(_)
            | Self::UnknownUser(_)
            | Self::InUse { .. }
            | Self::Busy { .. }
            | Self::Exists(_)
            | Self::Deleting(_)
            | Self::Unfinished(_)
            | Self::Kinds { .. }
            | Self::NoHost(_)
            | Self::BadStream(_) => true,
        }
    }
}
