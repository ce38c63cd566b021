//! What can be wrong with accounts.

use thiserror::Error;

use super::{FIRST_UID, LAST_UID};
use crate::{
    auth::{DirectoryError, PasswordError, Refusal, SecondError},
    names::{BadField, UserName},
    state::{DesktopState, Source},
    store::StoreError,
};

/// Something about an account cannot be done.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be worked on.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A field is not acceptable.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The name or the password is wrong; which, is not told.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// The present password, asked for again, is wrong.
    #[error("the present password is wrong")]
    WrongCurrentPassword,
    /// The password is right; a code is wanted too.
    #[error("a code of the second factor is wanted")]
    CodeWanted,
    /// The password is right, the code is not.
    #[error("the code is wrong, or was used already; wait for the next one")]
    WrongCode,
    /// The second factor cannot be looked at.
    #[error(transparent)]
    Second(SecondError),
    /// The directory cannot be asked.
    #[error("the directory cannot be asked at this moment; accounts of this cluster can sign in")]
    Directory(#[source] DirectoryError),
    /// A directory or a provider says what the password is.
    #[error("the password of {0} is not this cluster's; change it where it is kept")]
    Foreign(UserName),
    /// The name is that of an account somebody else vouches for.
    #[error("the name {name} is taken by an account {}; an operator has to give one of the two another name", owner_of(.by))]
    NameTaken {
        /// The name.
        name: UserName,
        /// Who vouches for that account.
        by: Source,
    },
    /// Too many wrong passwords.
    #[error("too many wrong passwords; try again in {} seconds", .0.wait.as_secs() + 1)]
    Refused(Refusal),
    /// The name is taken.
    #[error("there is a user {0} already")]
    Exists(UserName),
    /// There is no such user.
    #[error("there is no user {0}")]
    Unknown(UserName),
    /// Nobody would be left to give roles.
    #[error(
        "{0} is the last admin; make somebody else admin first: rolltop user set-role NAME admin"
    )]
    LastAdmin(UserName),
    /// Every uid has been given.
    #[error("all user ids from {FIRST_UID} to {LAST_UID} have been given")]
    NoUid,
    /// The user has a desktop.
    #[error("user {user} has a desktop of pool {pool} that is {state}")]
    HasDesktop {
        /// Who.
        user: UserName,
        /// Of which pool.
        pool: String,
        /// In which state.
        state: DesktopState,
    },
}

fn owner_of(source: &Source) -> &'static str {
    match source {
        Source::Local => "of this cluster",
        Source::Ldap => "of the directory",
        Source::Oidc => "of somebody else at the provider",
    }
}
