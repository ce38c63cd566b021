//! The host daemon: makes, watches, keeps and removes desktops on one host.
//!
//! A request walks `edge` → `request` and `plan` (pure, or only reading) →
//! `desktop`, whose task uses the hands: `storage` and `rolltop-overlay`,
//! `network`, `runtime`. What must outlive the agent is in `record`; `recovery` brings
//! records and kernel in line when the next one starts.

#![forbid(unsafe_code)]

pub mod address;
pub mod apparmor;
pub mod bundle;
pub mod check;
pub mod config;
pub mod credentials;
pub mod desktop;
pub mod display;
pub mod edge;
pub mod events;
pub mod extra;
pub mod facts;
pub mod host;
pub mod keep;
pub mod lifecycle;
pub mod metrics;
pub mod network;
pub mod paths;
pub mod plan;
pub mod process;
mod purge;
pub mod readiness;
pub mod record;
pub mod recovery;
pub mod registry;
pub mod reload;
pub mod request;
pub mod runtime;
pub mod session_log;
pub mod stats;
pub mod storage;
pub mod terminal;
pub mod view;
pub mod volumes;
pub mod watcher;
mod watches;
pub mod work;

pub use purge::{PurgeError, purge};
