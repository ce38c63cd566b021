//! The certificate that is shown now, and TLS that shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};

use super::{CredentialError, Files};

/// The certificate in use; another can take its place while the agent serves.
#[derive(Debug)]
pub struct Shown {
    files: Files,
    pair: Mutex<Arc<CertifiedKey>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Shown {
    /// Those in the files.
    ///
    /// # Errors
    /// They cannot be read or used.
    pub fn load(files: Files) -> Result<Arc<Self>, CredentialError> {
        let pair = Mutex::new(files.load()?);
        Ok(Arc::new(Self { files, pair, changing: Mutex::default() }))
    }

    /// SHA-256 of the certificate in use, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let pair = lock(&self.pair);
        let digest = pair.cert.first().map(|der| Sha256::digest(der.as_ref()));
        digest
            .map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
            .unwrap_or_default()
    }

    /// As [`Files::request`]. Blocking.
    ///
    /// # Errors
    /// The same.
    pub fn request(&self) -> Result<String, CredentialError> {
        let _one_at_a_time = lock(&self.changing);
        self.files.request()
    }

    /// As [`Files::install`]; new connections see it at once. Blocking.
    ///
    /// # Errors
    /// The same.
    pub fn install(&self, certificate_pem: &str) -> Result<(), CredentialError> {
        let _one_at_a_time = lock(&self.changing);
        let pair = self.files.install(certificate_pem)?;
        *lock(&self.pair) = pair;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&lock(&self.pair)))
    }
}

/// What brokers are met with. A caller must show a certificate of the cluster's
/// authority that is made for clients: hosts' are made for servers, so a stolen
/// one commands nobody.
///
/// # Errors
/// The credentials cannot be used.
pub(crate) fn server_config(shown: Arc<Shown>) -> Result<ServerConfig, CredentialError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(shown.files.authority()?)?;
    let brokers =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(brokers)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A certificate that is replaced is not shown to anybody again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
