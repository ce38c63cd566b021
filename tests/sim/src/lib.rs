//! Hosts without desktops: the host agent's API over mutual TLS, with nothing
//! behind it but memory. What a real agent promises its callers holds here, too:
//! a start goes on when its caller leaves, the same request joins it, an older
//! epoch is refused, and a stream of changes goes on where one broke off.
//!
//! A [`Host`] outlives its [`Agent`], as desktops do. Tests tell it how to
//! behave and ask it what it has done; the binary serves many of them.

#![forbid(unsafe_code)]

mod agent;
mod credentials;
mod deed;
mod displays;
mod events;
mod host;
mod service;
mod start;
mod stats;
mod storage;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use agent::{Agent, serve};
pub use credentials::{Keys, new_key};
pub use deed::{Deed, What};
pub use host::{Behaviour, Host, Pace};
pub use storage::{Disks, Gate};

/// No step under the locks here can leave their contents half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
