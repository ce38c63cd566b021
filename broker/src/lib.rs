#![forbid(unsafe_code)]
//! The session broker: who gets which desktop where; store, accounts, gateway,
//! web.
//!
//! ```text
//! main ─► cli, config ─► daemon ─► server ─► routes ─┬─► rpc ─────┐
//!              └──────► offline                      ├─► gateway ─┤  edge
//!                                                    ├─► oidc ────┤
//!                                                    └─► web      │
//!              ┌──────────────────────────────────────────────────┘
//!              ├─► audit     who did what, and what came of it
//!              ├─► auth      accounts, sessions, guessing
//!              ├─► desktops  claim, start, stop, reconcile ─► placement (pure)
//!              ├─► data      what is kept: snapshots, clones, streams, deletion
//!              ├─► drain     hosts that are to have no desktops
//!              ├─► enrol     how machines become hosts
//!              ├─► hosts     lines to the host agents, and their certificates
//!              ├─► rollout   desktops restarted on another version, in batches
//!              ├─► versions  what a next start would take, and who is behind
//!              └─► state     typed records ─► store        hands
//! ```
//! Arrows point at what is used. The edge translates and classifies errors
//! (`rpc::error`), the middle decides, the store and the hosts' agents act.

#[cfg(test)]
extern crate self as rolltop_broker;

pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod cookie;
pub mod daemon;
pub mod data;
pub mod desktops;
pub mod drain;
pub mod enrol;
pub mod gateway;
pub mod hosts;
pub mod metrics;
pub mod names;
pub mod offline;
pub mod oidc;
pub mod pki;
pub mod placement;
pub mod presence;
pub mod proxy;
mod queue;
pub mod rollout;
pub mod routes;
pub mod rpc;
pub mod secret;
pub mod secret_file;
pub mod server;
pub mod state;
pub mod store;
pub mod timing;
pub mod versions;
pub mod web;
