//! The way to a host: TCP, then mutual TLS in which the host's certificate must
//! be one that counts now, not merely one that was once signed.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{
        CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime,
        pem::PemObject as _,
    },
};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint as Dialer};

use super::lock;
use crate::{
    names::Endpoint,
    pki::{Credentials, host_tls_name, sha256},
    state::{CredentialRecord, HostRecord},
};

/// For each of: TCP, TLS.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A dead peer is noticed within twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// What this broker shows to hosts, and whom it believes to be one.
pub(super) struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// TLS towards hosts cannot be set up.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A certificate or key cannot be read.
    #[error("the cluster's certificates cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// They do not fit together, or to the library.
    #[error("the cluster's certificates cannot be used")]
    Tls(#[source] rustls::Error),
    /// The authority's cannot be used.
    #[error("the authority's certificate cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

#[derive(Debug, Error)]
enum DialError {
    #[error("its address cannot be read")]
    Address(#[from] std::net::AddrParseError),
    #[error("its name cannot be in a certificate")]
    Name(#[from] InvalidDnsNameError),
    #[error("no connection")]
    Tcp(#[source] io::Error),
    #[error("no secure connection")]
    Tls(#[source] io::Error),
    #[error("it does not take connections")]
    Silent,
    #[error(transparent)]
    DoesNotCount(DoesNotCount),
}

#[derive(Debug, Clone, Copy, Error)]
#[error("it shows a certificate that does not count any more; enrol the host anew")]
struct DoesNotCount;

/// As the library verifies, and then: does it count?
#[derive(Debug)]
struct Verifier {
    signed: Arc<WebPkiServerVerifier>,
    credential: Arc<Mutex<CredentialRecord>>,
}

/// The way to one host.
#[derive(Clone)]
pub(super) struct Way {
    endpoint: Endpoint,
    name: String,
    tls: Arc<ClientConfig>,
}

// === impl Trust ===

impl Trust {
    pub(super) fn new(ca_pem: &str, client: &Credentials) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(TrustError::Pem)?;
        roots.add(ca).map_err(TrustError::Tls)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(TrustError::Verifier)?;
        let chain = CertificateDer::pem_slice_iter(client.certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(TrustError::Pem)?;
        let key =
            PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).map_err(TrustError::Pem)?;
        Ok(Self { verifier, chain, key })
    }

    /// `credential` is looked at in each handshake.
    pub(super) fn way(
        &self,
        host: &HostRecord,
        credential: Arc<Mutex<CredentialRecord>>,
    ) -> Result<Way, rustls::Error> {
        let verifier = Verifier { signed: Arc::clone(&self.verifier), credential };
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // A session taken up again shows no certificate to be looked at.
        tls.resumption = rustls::client::Resumption::disabled();
        let name = host_tls_name(&host.name);
        Ok(Way { endpoint: host.endpoint.clone(), name, tls: Arc::new(tls) })
    }
}

// === impl Way ===

impl Way {
    /// A connection; `settings` changes what is usual.
    pub(super) async fn connect(
        &self,
        settings: impl FnOnce(Dialer) -> Dialer,
    ) -> Result<Channel, tonic::transport::Error> {
        // "http" keeps tonic from laying a second TLS over ours.
        let plain = self.endpoint.as_str().replacen("https://", "http://", 1);
        let dialer = Dialer::from_shared(plain)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let way = self.clone();
        let connector = tower::service_fn(move |_| {
            let way = way.clone();
            async move { way.dial().await.map(TokioIo::new) }
        });
        settings(dialer).connect_with_connector(connector).await
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let address: SocketAddr = self.endpoint.as_str().trim_start_matches("https://").parse()?;
        let name = ServerName::try_from(self.name.clone())?;
        let tcp = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
        let tcp = tcp.map_err(|_| DialError::Silent)?.map_err(DialError::Tcp)?;
        tcp.set_nodelay(true).map_err(DialError::Tcp)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        timeout(CONNECT_DEADLINE, tls)
            .await
            .map_err(|_| DialError::Silent)?
            .map_err(DialError::handshake)
    }
}

// === impl DialError ===

impl DialError {
    /// Our own refusal comes back wrapped, and without its sentence.
    fn handshake(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
                match other.0.downcast_ref::<DoesNotCount>() {
                    Some(refusal) => Self::DoesNotCount(*refusal),
                    None => Self::Tls(error),
                }
            }
            Some(_) | None => Self::Tls(error),
        }
    }
}

// === impl Verifier ===

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.signed.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if lock(&self.credential).accepts(&sha256(end_entity)) {
            Ok(verified)
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(DoesNotCount))).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
