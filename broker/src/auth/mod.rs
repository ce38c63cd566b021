//! Who is there and what they may do: accounts, passwords, sessions, rights, and
//! limits on guessing.

mod accounts;
mod act;
mod caller;
mod groups;
mod guess;
mod ldap;
mod password;
mod roles;
mod second;
mod sessions;
mod tokens;

pub use accounts::{AccountError, Accounts, NewAccount};
pub use act::{Act, Right};
pub use caller::{Caller, Credential, Lack};
pub use groups::{GroupError, Groups, Member};
pub use guess::{GuessLimiter, Limits, Refusal};
pub use ldap::{Directory, DirectoryError, Known};
pub use password::{Password, PasswordError, Passwords};
pub use second::{Enrolment, SecondError, SecondFactors, Shown};
pub use sessions::{Sessions, SignedIn};
pub use tokens::{LONGEST_LIFE, NewToken, Scope, TokenError, TokenRecord, Tokens, USUAL_LIFE};
