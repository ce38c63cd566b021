//! Who is there and what they may do: accounts, passwords, sessions, rights, and
//! limits on guessing.

mod accounts;
mod act;
pub(crate) mod authority;
mod caller;
mod groups;
mod guess;
mod identity;
mod ldap;
mod password;
mod programs;
mod roles;
mod second;
mod sessions;
mod tokens;

pub use accounts::{AccountError, Accounts, NewAccount};
pub use act::{Act, Right};
pub use authority::AuthorityError;
pub use caller::{Caller, Credential, Lack};
pub use groups::{GroupError, Groups, Member};
pub use guess::{GuessLimiter, Limits, Refusal};
pub use identity::Person;
pub use ldap::{Directory, DirectoryError};
pub use password::{Password, PasswordError, Passwords};
pub use programs::{ProgramError, Programs};
pub use roles::Known;
pub use second::{Enrolment, SecondError, SecondFactors, Shown};
pub use sessions::{Sessions, SignedIn};
pub use tokens::{LONGEST_LIFE, NewToken, Scope, TokenError, TokenRecord, Tokens, USUAL_LIFE};
