//! Why a roll-out cannot be had.

use thiserror::Error;

use crate::{
    names::{BadField, ImageRef, PoolName},
    state::{IllegalRollout, RolloutState},
    store::StoreError,
};

/// What an operator wants of a roll-out cannot be done.
#[derive(Debug, Error)]
pub enum RolloutError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// There is no such pool.
    #[error("there is no pool {0}")]
    UnknownPool(PoolName),
    /// The pool never had one.
    #[error("pool {0} has had no roll-out")]
    Unknown(PoolName),
    /// One with other settings has not ended.
    #[error(
        "a roll-out of pool {pool} with other settings is {state}; cancel it first (rolltop pool rollout cancel {pool})"
    )]
    UnderWay {
        /// The pool.
        pool: PoolName,
        /// Where that one is.
        state: RolloutState,
    },
    /// There is nothing to restart.
    #[error(
        "no desktop of pool {pool} is behind: all that run have what {image} means on their hosts"
    )]
    NothingBehind {
        /// The pool.
        pool: PoolName,
        /// What it names.
        image: ImageRef,
    },
    /// Its life does not allow this.
    #[error("pool {pool}: {illegal}")]
    Illegal {
        /// The pool.
        pool: PoolName,
        /// State and event.
        illegal: IllegalRollout,
    },
    /// Nobody knows what ran before.
    #[error(
        "it is not known which version of its image pool {0} had before; name it (--to VERSION, see `rolltop image list`)"
    )]
    NoEarlierVersion(PoolName),
    /// No host has what it is to be rolled back to.
    #[error("no host that takes desktops has {0}")]
    UnknownVersion(ImageRef),
}
