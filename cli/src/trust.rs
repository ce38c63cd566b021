//! Which certificate of a server we accept.
//!
//! A broker's certificate is signed by the cluster's own CA, so the public
//! authorities play no part. Either the CA is known, and the usual rules hold
//! (name, dates, chain), or one certificate is: then its fingerprint decides
//! alone, and the handshake proves that the server has its key.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Fingerprint([u8; 32]);

/// Text that is no fingerprint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint: \"sha256:\" and 64 hexadecimal digits")]
pub(crate) struct BadFingerprint(String);

/// What makes a server's certificate good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Signed by one of these certificates, in PEM, and valid for the name.
    SignedBy { pem: String },
    /// This certificate and no other.
    Exactly(Fingerprint),
}

/// Why trust could not be made into a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("the CA certificate is not valid PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("there is no certificate in the CA file")]
    NoCertificate,
    #[error("the CA certificate cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A server showed another certificate than the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its certificate is {found}, not {expected}")]
pub(crate) struct WrongFingerprint {
    pub(crate) expected: Fingerprint,
    pub(crate) found: Fingerprint,
}

impl Trust {
    /// The TLS configuration that enforces this trust.
    pub(crate) fn tls_config(&self) -> Result<ClientConfig, TrustError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?;
        let mut config = match self {
            Self::SignedBy { pem } => {
                builder.with_root_certificates(roots(pem)?).with_no_client_auth()
            }
            Self::Exactly(expected) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned::new(*expected)))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn roots(pem: &str) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?).map_err(TrustError::Unusable)?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoCertificate);
    }
    Ok(roots)
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Matches no certificate: nobody knows one whose SHA-256 is zero.
    pub(crate) const NONE: Self = Self([0; 32]);

    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    /// Any case, with or without colons between the bytes, as other tools
    /// print them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadFingerprint(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let hex: Vec<u8> = lower
            .strip_prefix("sha256:")
            .ok_or_else(bad)?
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let bytes: Vec<u8> =
            hex.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if hex.len() == 64 => Ok(Self(bytes)),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// Accepts exactly one certificate. Name and dates do not matter: somebody
/// compared the fingerprint. The signature of the handshake does, for anyone
/// can show a copy of a certificate.
#[derive(Debug)]
struct Pinned {
    expected: Fingerprint,
    provider: CryptoProvider,
}

impl Pinned {
    fn new(expected: Fingerprint) -> Self {
        Self { expected, provider: ring::default_provider() }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongFingerprint { expected: self.expected, found };
        Err(CertificateError::Other(rustls::OtherError(Arc::new(wrong))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
