#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_enum_variant,
    reason = "tests fail by panicking; clippy exempts test functions, not their helpers"
)]
//! The broker from outside: a real port with TLS, a real store, and host
//! agents that follow a script, behind mutual TLS with issued certificates.

mod brokers;
mod data;
mod desktops;
mod gateway;
mod hosts;
mod sign_in;
mod store;
mod support;
