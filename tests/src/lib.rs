//! What system tests and the benchmark have in common: an agent on
//! directories of its own, a client of its API, a viewer of its displays, and
//! the state of the machine before and after.
//!
//! A failure here ends a test or a run, so errors are sentences (`anyhow`).

#![forbid(unsafe_code)]

pub mod agent;
pub mod bench;
pub mod broker;
pub mod client;
pub mod daemon;
pub mod display;
pub mod durability;
pub mod exposition;
pub mod faults;
pub mod gateway;
pub mod http;
pub mod images;
pub mod isolation;
pub mod machine;
pub mod memory;
pub mod patience;
pub mod rfb;
pub mod rules;
pub mod sample;
pub mod scale;
pub mod vm;
