//! What can go wrong with a desktop.

use thiserror::Error;

use crate::{
    data::DataError,
    hosts::HostError,
    names::{DesktopId, HostName, PoolName, UserName},
    placement::NoRoom,
    state::{DesktopState, Illegal},
    store::StoreError,
};

/// A desktop cannot be had, or cannot do this now.
#[derive(Debug, Error)]
pub enum DesktopError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There is no such desktop.
    #[error("there is no desktop {0}")]
    Unknown(DesktopId),
    /// There is no such pool.
    #[error("there is no pool {0}")]
    UnknownPool(PoolName),
    /// The user is gone.
    #[error("there is no user {0}")]
    UnknownUser(UserName),
    /// The pool is not open to the user.
    #[error("pool {pool} is not open to {user}")]
    NotEntitled {
        /// The pool.
        pool: PoolName,
        /// The user.
        user: UserName,
    },
    /// The pool takes no new desktops now.
    #[error("pool {pool} is closed: {why}")]
    PoolClosed {
        /// The pool.
        pool: PoolName,
        /// What its operator says.
        why: String,
    },
    /// The pool has as many desktops as it may have.
    #[error(
        "pool {pool} has {present} desktops, as many as it may have; try again when somebody has logged out"
    )]
    PoolFull {
        /// The pool.
        pool: PoolName,
        /// How many there are.
        present: u32,
    },
    /// No host fits.
    #[error("{0}")]
    NoRoom(NoRoom),
    /// It is in another state than it would have to be.
    #[error("desktop {desktop} is {state}; for this it would have to be {wanted}")]
    WrongState {
        /// The desktop.
        desktop: DesktopId,
        /// Its state.
        state: DesktopState,
        /// The state it would have to be in.
        wanted: DesktopState,
    },
    /// Its life does not allow this.
    #[error("desktop {desktop}: {illegal}")]
    Illegal {
        /// The desktop.
        desktop: DesktopId,
        /// State and happening.
        illegal: Illegal,
    },
    /// Another start of the same desktop came after.
    #[error("desktop {desktop} was started anew meanwhile")]
    Superseded {
        /// The desktop.
        desktop: DesktopId,
    },
    /// The kept data it would take cannot be taken.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Overlay and home are on different hosts.
    #[error(
        "what desktop {desktop} keeps is on host {overlay}, and the home on host {home}; an operator can \
         export one of them and import it on the other host"
    )]
    DataApart {
        /// The desktop.
        desktop: DesktopId,
        /// Where the overlay is.
        overlay: HostName,
        /// Where the home is.
        home: HostName,
    },
    /// What it keeps is on the disk of a host that is lost.
    #[error(
        "what desktop {desktop} keeps is on host {host}, which has not been heard for {seconds} s; it can be \
         started again when that host is back, and nothing of it is lost until then"
    )]
    DataOnLostHost {
        /// The desktop.
        desktop: DesktopId,
        /// The host that has the data.
        host: HostName,
        /// For how long it has been silent.
        seconds: u64,
    },
    /// What it keeps could go on elsewhere, but somebody holds it.
    #[error(
        "desktop {desktop} was on host {host}, which is not heard, and what it keeps is still held by {holder}: it \
         may well be running there. It can be started elsewhere as soon as it is let go, which takes up to two \
         minutes after a host has crashed; nothing of it is lost until then"
    )]
    DataHeld {
        /// The desktop.
        desktop: DesktopId,
        /// The host that is lost.
        host: HostName,
        /// Who holds it, as it is written there.
        holder: String,
    },
    /// It was stopped while it was being started.
    #[error("desktop {0} was stopped while it was being started")]
    Stopped(DesktopId),
    /// It takes longer than a caller waits.
    #[error("desktop {desktop} has not ended after {seconds} s; the host is still at it")]
    SlowStop {
        /// The desktop.
        desktop: DesktopId,
        /// How long was waited.
        seconds: u64,
    },
    /// Its host has not so much left to give out.
    #[error("host {host} cannot give desktop {desktop} as much: {against}")]
    LimitsTooLarge {
        /// The desktop.
        desktop: DesktopId,
        /// Where it is.
        host: HostName,
        /// What is against it.
        against: String,
    },
    /// It uses more than it would be left.
    #[error("desktop {desktop}: {message}")]
    LimitInUse {
        /// The desktop.
        desktop: DesktopId,
        /// What its host says.
        message: String,
    },
    /// The agent refused or failed.
    #[error("host {host} could not {verb}: {message}")]
    Agent {
        /// The host.
        host: String,
        /// What it was asked.
        verb: &'static str,
        /// What it answered.
        message: String,
    },
    /// The task that worked on it ended early.
    #[error("the work on desktop {0} ended unexpectedly")]
    Abandoned(DesktopId),
}
