//! What every daemon of the house tells a Prometheus server, and how: a port
//! for it, the process itself, and the gRPC calls it answers.
//!
//! Names and labels are closed sets, fixed when the program is built: what a
//! caller or a desktop sends never becomes a label, so that nobody can fill the
//! memory of whoever stores them.

#![forbid(unsafe_code)]

pub mod calls;
mod port;
mod process;
mod text;

pub use port::{Port, PortError};
pub use process::register_process;
pub use text::{CONTENT_TYPE, encode};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Labels by name, both fixed when the program is built.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Seconds from 0.5 ms to half a minute in sixteen steps: from a mount to a
/// display that nearly did not answer.
pub fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.1, 16))
}
