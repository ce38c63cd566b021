//! Where calls come in: translates, classifies errors, decides nothing.

mod convert;
mod error;
mod exec;
mod relay;
mod server;
mod service;
mod storage;
mod storage_convert;

pub(crate) use self::server::credentials;
pub use self::server::{Listening, ServeError, serve};
