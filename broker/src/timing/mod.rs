//! Time limits of pools: desktops that nobody uses, or that have run for long
//! enough, are ended, and their users are told before.
//!
//! * `table`: the desktops that run, and when each is to be looked at again;
//! * `rules`: what is to be done about a desktop now: a pure function;
//! * `keeper`: follows desktops and viewers in the store, and does it.
//!
//! Everything counted is in the desktop's record, by the brokers' clock: when it
//! was claimed, when somebody came and left, what its user was told. When a user
//! last did something is known to the broker that relays, which therefore is the
//! one to find a desktop idle while somebody is connected. All brokers do the
//! rest; what is done twice changes nothing the second time.

mod keeper;
mod rules;
mod table;

pub use keeper::Keeper;
pub use rules::{Facts, Step, step};
