//! Where calls come in: translates, classifies errors, decides nothing.

mod convert;
mod error;
mod exec;
mod keys;
mod orders;
mod relay;
mod server;
mod service;
mod stats;
mod stats_convert;
mod storage;
mod storage_convert;
mod tls;

pub(crate) use self::server::credentials;
pub use self::server::{Listening, ServeError, serve};
