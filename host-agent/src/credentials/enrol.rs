//! `rolltop-agent enrol`: a machine becomes a host. It has nothing to trust but
//! the token, which carries the fingerprint of the cluster's authority: a broker
//! has to show that authority, and be certified by it, before it gets the token.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rolltop_proto::v1::{EnrolRequest, enrolment_client::EnrolmentClient};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::{Code, Status, transport::Endpoint};

use super::{CredentialError, Files};
use crate::config::{Config, Listen};

const KIND: &str = "rte1";
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Of a broker, when its address says none.
const USUAL_PORT: u16 = 8443;

/// What a machine is enrolled with.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// `https://broker[:port]`.
    pub broker: String,
    /// From `rolltop host enrol-token`.
    pub token: String,
    /// How brokers reach this agent, if not by the address it listens at.
    pub endpoint: Option<String>,
}

/// This machine was not enrolled. Nothing that was in use has changed.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The configuration says nothing of brokers.
    #[error(
        "there is no [listen] section in the configuration: it says where brokers reach this agent and where the certificate goes"
    )]
    NoListen,
    /// The token was damaged on its way.
    #[error("the token is not whole: it looks like rte1.SECRET.FINGERPRINT, in one line")]
    Token,
    /// The broker's address.
    #[error("{0:?} is not a broker's address such as https://broker.example:8443")]
    Address(String),
    /// The broker's name.
    #[error("{0:?} cannot be the name in a certificate")]
    Name(String, #[source] InvalidDnsNameError),
    /// No connection.
    #[error("cannot reach {broker}: {reason}")]
    Reach {
        /// The broker.
        broker: String,
        /// Why not.
        reason: String,
    },
    /// It is not the broker the token is from, or somebody is in between.
    #[error(
        "{broker} is not the broker this token is from, or somebody is in between ({reason}); the token was not sent"
    )]
    Stranger {
        /// The broker.
        broker: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It said no.
    #[error("the broker refused: {}", .0.message())]
    Refused(Status),
    /// It did not answer.
    #[error("the broker did not answer within {} s", ANSWER_DEADLINE.as_secs())]
    Silent,
    /// What it answered is not what the token promises.
    #[error("the broker answered with another authority than the token's")]
    OtherAuthority,
    /// Files.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

#[derive(Debug, Error)]
#[error("it does not show the authority whose fingerprint is {0}")]
struct NotShown(String);

/// Believes the one authority that has this fingerprint, which the server has
/// to show.
#[derive(Debug)]
struct Pinned {
    sha256: String,
    provider: Arc<CryptoProvider>,
}

/// Asks a broker to make this machine the host of the configuration's name, and
/// puts certificate, key and authority where the configuration says. Answers
/// with where brokers will look for it.
///
/// # Errors
/// [`EnrolError`]; what was in use stays in use.
pub async fn enrol(config: &Config, enrolment: &Enrolment) -> Result<String, EnrolError> {
    let listen = config.listen.as_ref().ok_or(EnrolError::NoListen)?;
    let fingerprint = fingerprint_of(&enrolment.token).ok_or(EnrolError::Token)?;
    let files = Files::new(listen);
    files.make_dirs()?;
    let request = EnrolRequest {
        token: enrolment.token.trim().to_owned(),
        name: config.name.clone(),
        request_pem: files.request()?,
        endpoint: enrolment.endpoint.clone().or_else(|| endpoint_of(listen)).unwrap_or_default(),
        port: listen.address.port().into(),
    };
    let mut broker = connect(&enrolment.broker, fingerprint).await?;
    let answer = timeout(ANSWER_DEADLINE, broker.enrol(request)).await;
    let answer = answer.map_err(|_| EnrolError::Silent)?.map_err(EnrolError::Refused)?.into_inner();
    let ca = CertificateDer::from_pem_slice(answer.ca_pem.as_bytes())
        .map_err(CredentialError::NotACertificate)?;
    if sha256(&ca) != fingerprint {
        return Err(EnrolError::OtherAuthority);
    }
    files.trust(&answer.ca_pem)?;
    files.install(&answer.certificate_pem)?;
    Ok(answer.endpoint)
}

/// The address it listens at, if that is one.
fn endpoint_of(listen: &Listen) -> Option<String> {
    (!listen.address.ip().is_unspecified()).then(|| format!("https://{}", listen.address))
}

fn fingerprint_of(token: &str) -> Option<&str> {
    let (kind, rest) = token.trim().split_once('.')?;
    let (secret, fingerprint) = rest.split_once('.')?;
    let whole = kind == KIND
        && !secret.is_empty()
        && fingerprint.len() == 64
        && fingerprint.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    whole.then_some(fingerprint)
}

async fn connect(
    broker: &str,
    fingerprint: &str,
) -> Result<EnrolmentClient<tonic::transport::Channel>, EnrolError> {
    let address = || EnrolError::Address(broker.to_owned());
    let uri: tonic::transport::Uri = broker.parse().map_err(|_| address())?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(address());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(USUAL_PORT);
    let reach = |reason: String| EnrolError::Reach { broker: broker.to_owned(), reason };

    let name = ServerName::try_from(host.clone())
        .map_err(|source| EnrolError::Name(host.clone(), source))?;
    let tcp = timeout(CONNECT_DEADLINE, TcpStream::connect((host, port))).await;
    let tcp = tcp
        .map_err(|_| reach("it does not take connections".to_owned()))?
        .map_err(|error| reach(error.to_string()))?;
    let tls = TlsConnector::from(Arc::new(client_config(fingerprint)?)).connect(name, tcp);
    let tls = timeout(CONNECT_DEADLINE, tls)
        .await
        .map_err(|_| reach("it does not speak TLS".to_owned()))?
        .map_err(|error| stranger_or(broker, &error))?;
    // One connection for one call: it is not made again.
    let mut once = Some(TokioIo::new(tls));
    let connector = tower::service_fn(move |_| {
        let stream = once.take().ok_or(std::io::ErrorKind::ConnectionAborted);
        async move { stream.map_err(std::io::Error::from) }
    });
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let channel = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|_| address())?
        .connect_with_connector(connector)
        .await
        .map_err(|error| reach(error.to_string()))?;
    Ok(EnrolmentClient::new(channel))
}

fn stranger_or(broker: &str, error: &std::io::Error) -> EnrolError {
    let (broker, reason) = (broker.to_owned(), error.to_string());
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) => {
            EnrolError::Stranger { broker, reason: cause.to_string() }
        }
        Some(rustls::Error::InvalidCertificate(_)) => EnrolError::Stranger { broker, reason },
        Some(_) | None => EnrolError::Reach { broker, reason },
    }
}

fn client_config(fingerprint: &str) -> Result<ClientConfig, CredentialError> {
    let provider = Arc::new(ring::default_provider());
    let pinned = Pinned { sha256: fingerprint.to_owned(), provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn sha256(der: &[u8]) -> String {
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let other = |error: Arc<dyn std::error::Error + Send + Sync>| {
            rustls::Error::from(CertificateError::Other(OtherError(error)))
        };
        let authority = intermediates
            .iter()
            .find(|der| sha256(der) == self.sha256)
            .ok_or_else(|| other(Arc::new(NotShown(self.sha256.clone()))))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        // With it known, the usual rules hold: chain, name, dates.
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| other(Arc::new(error)))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl EnrolError {
    /// Whether another try with the same token may do.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Refused(status) => status.code() == Code::Unavailable,
            Self::NoListen
            | Self::Token
            | Self::Address(_)
            | Self::Name(..)
            | Self::Stranger { .. }
            | Self::Silent
            | Self::OtherAuthority
            | Self::Credential(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_whom_to_trust() {
        let pin = "0123456789abcdef".repeat(4);
        assert_eq!(fingerprint_of(&format!(" rte1.abc.{pin}\n")), Some(pin.as_str()));
        let cut = format!("rte1.abc.{}", &pin[..60]);
        let upper = format!("rte1.abc.{}", pin.to_uppercase());
        for damaged in ["", "rte1", "rte1.abc", "abc", &cut, &upper, &format!("rte2.abc.{pin}")] {
            assert_eq!(fingerprint_of(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn an_unspecified_address_is_none_to_be_reached_at() {
        let at = |address: &str| {
            let file = || "/none".into();
            let address = address.parse().unwrap();
            endpoint_of(&Listen { address, ca: file(), certificate: file(), key: file() })
        };
        assert_eq!(at("0.0.0.0:7443"), None);
        assert_eq!(at("[::]:7443"), None);
        assert_eq!(at("192.0.2.1:7443").as_deref(), Some("https://192.0.2.1:7443"));
    }
}
