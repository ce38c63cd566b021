//! Which certificates others are to show: TLS towards a directory or a provider.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

/// The file with the authorities cannot be used.
#[derive(Debug, Error)]
#[error("{} has no certificate that can be used: {reason}", path.display())]
pub struct AuthorityError {
    /// The file.
    path: PathBuf,
    /// Why not.
    reason: String,
}

/// Believes certificates that authorities in this PEM file have signed. One that cannot
/// be read is passed over, as a system's own file may have some.
///
/// # Errors
/// If there is none that can be used.
pub(crate) fn client(path: &Path) -> Result<ClientConfig, AuthorityError> {
    let bad = |reason: String| AuthorityError { path: path.to_owned(), reason };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    let certificates: Vec<_> = certificates.filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    if let (0, _) = roots.add_parsable_certificates(certificates) {
        return Err(bad("there is none in it".to_owned()));
    }
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
