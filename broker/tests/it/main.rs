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

mod audit;
mod brokers;
mod data;
mod desktops;
mod enrol;
mod gateway;
mod hosts;
mod ldap;
mod limits;
mod lost;
mod metrics;
mod oidc;
mod people;
mod restore;
mod rollout;
mod second_factor;
mod sessions;
mod sign_in;
mod stats;
mod store;
mod support;
mod warm;
