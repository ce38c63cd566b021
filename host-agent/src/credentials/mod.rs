//! What this host shows to brokers: a certificate and its key. The key is made
//! here and never leaves; brokers renew the certificate while the agent runs.

mod enrol;
mod files;
mod tls;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use enrol::{EnrolError, Enrolment, enrol};
pub use files::Files;
pub use tls::Shown;
pub(crate) use tls::server_config;

/// A certificate or key cannot be read, made or put in place.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// A file.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {wanted} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// Why it does not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key are not each other's.
    #[error(
        "the certificate in {} is not for the key in {}; enrol this host anew (rolltop-agent enrol)",
        certificate.display(),
        key.display()
    )]
    Apart {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate came for a key that does not wait for one.
    #[error("no key waits for this certificate; ask for a request first")]
    NoSuchKey,
    /// What came is no certificate.
    #[error("this is no certificate in PEM")]
    NotACertificate(#[source] rustls::pki_types::pem::Error),
    /// Keys or requests cannot be made.
    #[error("cannot make a key and a request for its certificate")]
    Request(#[from] rcgen::Error),
    /// TLS cannot be set up with them.
    #[error("these credentials cannot be used")]
    Tls(#[from] rustls::Error),
    /// The authority cannot be used.
    #[error("the authority's certificate cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
