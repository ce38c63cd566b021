//! Who is there: accounts, passwords, sessions, and limits on guessing.

mod accounts;
mod guess;
mod password;
mod sessions;

pub use accounts::{AccountError, Accounts, NewAccount};
pub use guess::{GuessLimiter, Limits, Refusal};
pub use password::{Password, PasswordError, Passwords};
pub use sessions::{Caller, Sessions, SignedIn};
