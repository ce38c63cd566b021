//! Where calls come in: translates, classifies errors, decides nothing.

mod convert;
mod error;
mod exec;
mod relay;
mod server;
mod service;

pub use self::server::{Listening, ServeError, serve};
