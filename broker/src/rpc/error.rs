//! The one place where errors become gRPC statuses.

mod status;

use thiserror::Error;
use tonic::Status;

use crate::{
    auth::{
        AccountError, Act, GroupError, Lack, ProgramError, Right, Scope, SecondError, TokenError,
    },
    data::DataError,
    desktops::{DesktopError, TicketError},
    enrol::EnrolError,
    hosts::HostError,
    names::{BadField, HostName, PoolName},
    rollout::RolloutError,
    state::Role,
    store::StoreError,
};

pub use status::DOMAIN;
pub(super) use status::{shared_desktop_status, status_of};

/// Everything a call can fail with.
#[derive(Debug, Error)]
pub enum RpcError {
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something about an account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Something about a second factor.
    #[error(transparent)]
    Second(#[from] SecondError),
    /// Something about a program that may sign in.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Something about a group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Something about a desktop.
    #[error(transparent)]
    Desktop(#[from] DesktopError),
    /// Something about a roll-out.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// Something about kept data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Something about a host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Something about enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Something about a ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// No session, or one that has ended.
    #[error("sign in first")]
    NotSignedIn,
    /// See `caller`.
    #[error("a cookie counts in gRPC-web calls only; send the token as \"authorization: Bearer\"")]
    CookieOutsideWeb,
    /// The server did not note it.
    #[error("the address of the client is not known")]
    NoAddress,
    /// The caller has none of the roles it takes.
    #[error("this is for {}", roles_of(.0))]
    NotFor(&'static [Role]),
    /// The caller's token is not for this.
    #[error("this takes a token with the scope \"{0}\", or a session")]
    OutOfScope(Scope),
    /// No token will do.
    #[error("this takes a session: sign in")]
    SessionOnly,
    /// Something about a token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The desktop is someone else's.
    #[error("this desktop is someone else's")]
    NotYours,
    /// The data is someone else's.
    #[error("this data is someone else's")]
    NotYourData,
    /// A slip would lock them out.
    #[error("operators cannot delete their own account")]
    OwnAccount,
    /// The pool has desktops.
    #[error("pool {pool} has {desktops} desktops; stop them first")]
    PoolInUse {
        /// The pool.
        pool: PoolName,
        /// How many.
        desktops: usize,
    },
    /// There is no such host.
    #[error("there is no host {0}")]
    UnknownHost(HostName),
    /// The host has something that would be lost sight of.
    #[error(
        "host {host} has {desktops} desktops and {overlays} kept disks; drain it (rolltop host drain {host}) and \
         move what it keeps (rolltop data export, import), or forget them with --force if it will not come back"
    )]
    HostInUse {
        /// The host.
        host: HostName,
        /// How many live there.
        desktops: usize,
        /// How many disks are kept there.
        overlays: usize,
    },
    /// A host is to be forgotten that is there.
    #[error(
        "host {host} answers and has {desktops} desktops; drain it first: rolltop host drain {host} --deadline 0s --wait"
    )]
    HostAnswers {
        /// The host.
        host: HostName,
        /// How many live there.
        desktops: i64,
    },
    /// The broker is about to end.
    #[error("the broker is being restarted; try again in a moment")]
    Ending,
    /// What an agent said to a call that is passed on.
    #[error("{}", .0.message())]
    Relayed(Status),
}

impl RpcError {
    /// The caller has none of the roles that may do this.
    pub(super) fn not_for(act: Act) -> Self {
        Self::NotFor(act.right().roles())
    }

    /// The caller lacks this for that.
    pub(super) fn lacking(act: Act, lack: Lack) -> Self {
        match (lack, act.right()) {
            (Lack::Scope(scope), _) => Self::OutOfScope(scope),
            (Lack::Session, _) => Self::SessionOnly,
            (Lack::Role, Right::Only(_)) => Self::not_for(act),
            (Lack::Role, Right::Anyone | Right::Own | Right::OwnOr(_)) => match act.right().roles()
            {
                [] => Self::NotYours,
                roles => Self::NotFor(roles),
            },
        }
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        status_of(&error)
    }
}

/// "operators", "operators and admins", for people.
fn roles_of(roles: &[Role]) -> String {
    match roles {
        [] => "whose it is".to_owned(),
        [only] => format!("{only}s"),
        [some @ .., last] => {
            let some: Vec<String> = some.iter().map(|role| format!("{role}s")).collect();
            format!("{} and {last}s", some.join(", "))
        }
    }
}
