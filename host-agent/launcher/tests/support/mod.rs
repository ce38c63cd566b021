//! A small root, bundles made of it, and runtimes to run them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by test programs that use a part each, and fail by panic"
)]

pub mod bundle;
pub mod host;
pub mod runtime;
