//! What is kept between two calls: which servers are known and trusted
//! (`config.toml`), and our session at each (`sessions.toml`, mode 0600).

mod config;
mod file;
mod sessions;

use std::path::PathBuf;

pub(crate) use config::Config;
pub(crate) use sessions::{Session, Sessions};

/// Why a file of ours could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    NoHome(#[from] crate::env::NoHome),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} is longer than {limit} bytes, which no file of rolltop is")]
    TooLong { path: PathBuf, limit: u64 },
    #[error("{path} is not valid: {source}")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("cannot put {path} into TOML: {source}")]
    Format { path: PathBuf, source: toml::ser::Error },
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
}
