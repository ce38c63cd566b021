//! The way to a broker: TCP, TLS with the trust we have, then gRPC.
//!
//! The first connection is made here rather than inside `tonic`, so that what
//! goes wrong (name, port, certificate) is known by its type and can be told
//! in a sentence.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rolltop_proto::v1::{
    audit_client::AuditClient, broker_client::BrokerClient, hosts_client::HostsClient,
    people_client::PeopleClient, rollouts_client::RolloutsClient, sessions_client::SessionsClient,
    sign_in_ways_client::SignInWaysClient, stats_client::StatsClient,
    storage_client::StorageClient,
};
use rustls::{
    CertificateError,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    metadata::{AsciiMetadataValue, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    server::ServerUrl,
    trust::{Fingerprint, Trust, TrustError, WrongFingerprint},
};

/// For each of: name and TCP, TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A peer that is gone is noticed within the sum of both, in an open shell too.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(10);

/// A client of the broker that sends our token with each call.
pub(crate) type Broker = BrokerClient<InterceptedService<Channel, Bearer>>;

/// A client of ways to sign in, likewise.
pub(crate) type Ways = SignInWaysClient<InterceptedService<Channel, Bearer>>;

/// A client of what is kept for users, likewise.
pub(crate) type Storage = StorageClient<InterceptedService<Channel, Bearer>>;

/// A client of what desktops are doing, likewise.
pub(crate) type Stats = StatsClient<InterceptedService<Channel, Bearer>>;

/// A client of hosts' lives, likewise.
pub(crate) type Hosts = HostsClient<InterceptedService<Channel, Bearer>>;

/// A client of accounts, groups and tokens, likewise.
pub(crate) type People = PeopleClient<InterceptedService<Channel, Bearer>>;

/// A client of who did what, likewise.
pub(crate) type Audit = AuditClient<InterceptedService<Channel, Bearer>>;

/// A client of who works in which desktop and who looks, likewise.
pub(crate) type Sessions = SessionsClient<InterceptedService<Channel, Bearer>>;

/// A client of image roll-outs, likewise.
pub(crate) type Rollouts = RolloutsClient<InterceptedService<Channel, Bearer>>;

/// A connection, with our token for each call.
#[derive(Clone)]
pub(crate) struct Line {
    channel: Channel,
    bearer: Bearer,
}

impl Line {
    pub(crate) fn broker(self) -> Broker {
        BrokerClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn stats(self) -> Stats {
        StatsClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn hosts(self) -> Hosts {
        HostsClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn audit(self) -> Audit {
        AuditClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn sessions(self) -> Sessions {
        SessionsClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn rollouts(self) -> Rollouts {
        RolloutsClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn people(self) -> People {
        PeopleClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn ways(self) -> Ways {
        SignInWaysClient::with_interceptor(self.channel, self.bearer)
    }

    pub(crate) fn storage(self) -> Storage {
        StorageClient::with_interceptor(self.channel, self.bearer)
    }
}

/// Why a broker was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{server}: not a host name that a certificate can carry: {source}")]
    Name { server: ServerUrl, source: InvalidDnsNameError },
    #[error("cannot reach {server}: {source}")]
    Tcp { server: ServerUrl, source: io::Error },
    #[error("{server} did not answer within {} s", CONNECT_DEADLINE.as_secs())]
    Silent { server: ServerUrl },
    #[error("the certificate of {server} is not the one that is trusted: {wrong}")]
    Changed { server: ServerUrl, wrong: WrongFingerprint },
    #[error("the certificate of {server} is not trusted: {source}")]
    Certificate { server: ServerUrl, source: rustls::Error },
    #[error("{server} does not speak TLS as a broker does: {source}")]
    Tls { server: ServerUrl, source: io::Error },
    #[error("{server} showed no certificate")]
    NoCertificate { server: ServerUrl },
    #[error("{server} does not speak gRPC: {source}")]
    Grpc { server: ServerUrl, source: tonic::transport::Error },
    #[error("the session token has characters that cannot be sent")]
    Token,
}

/// Puts "authorization: Bearer TOKEN" on each call, if there is a token.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<AsciiMetadataValue>);

impl Bearer {
    fn new(token: Option<&str>) -> Result<Self, ConnectError> {
        let header = |token| -> Result<_, ConnectError> {
            let mut value = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|_| ConnectError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self(token.map(header).transpose()?))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Connects, and checks the server's certificate.
pub(crate) async fn connect(
    server: &ServerUrl,
    trust: &Trust,
    token: Option<&str>,
) -> Result<Line, ConnectError> {
    let bearer = Bearer::new(token)?;
    let dialer = Dialer { server: server.clone(), tls: Arc::new(trust.tls_config()?) };
    let first = Arc::new(Mutex::new(Some(dialer.dial().await?)));
    let connector = tower::service_fn(move |_| {
        let (dialer, first) = (dialer.clone(), Arc::clone(&first));
        async move {
            // Afterwards `tonic` may call again, when the connection was lost.
            let stream = match first.lock().await.take() {
                Some(stream) => stream,
                None => dialer.dial().await?,
            };
            Ok::<_, ConnectError>(TokioIo::new(stream))
        }
    });
    let grpc = |source| ConnectError::Grpc { server: server.clone(), source };
    // "http" keeps `tonic` from laying a second TLS over ours.
    let channel = Endpoint::from_shared(format!("http://{}", server.authority()))
        .map_err(grpc)?
        .user_agent(concat!("rolltop/", env!("CARGO_PKG_VERSION")))
        .map_err(grpc)?
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_DEADLINE)
        .connect_with_connector(connector)
        .await
        .map_err(grpc)?;
    Ok(Line { channel, bearer })
}

/// The fingerprint of the certificate that a server shows. Nothing vouches for
/// it yet: a person has to compare it.
pub(crate) async fn shown_fingerprint(server: &ServerUrl) -> Result<Fingerprint, ConnectError> {
    // A pin that no certificate matches: the handshake ends as soon as the
    // certificate has been shown, and nothing of ours has been sent.
    let nothing = Trust::Exactly(Fingerprint::NONE);
    let dialer = Dialer { server: server.clone(), tls: Arc::new(nothing.tls_config()?) };
    match dialer.dial().await {
        Err(ConnectError::Changed { wrong, .. }) => Ok(wrong.found),
        Err(error) => Err(error),
        Ok(_) => Err(ConnectError::NoCertificate { server: server.clone() }),
    }
}

/// Makes TLS connections to one server.
#[derive(Clone)]
struct Dialer {
    server: ServerUrl,
    tls: Arc<rustls::ClientConfig>,
}

impl Dialer {
    async fn dial(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let server = || self.server.clone();
        let name = ServerName::try_from(self.server.host().to_owned())
            .map_err(|source| ConnectError::Name { server: server(), source })?;
        let tcp = TcpStream::connect((self.server.host(), self.server.port()));
        let tcp = timeout(CONNECT_DEADLINE, tcp)
            .await
            .map_err(|_| ConnectError::Silent { server: server() })?
            .map_err(|source| ConnectError::Tcp { server: server(), source })?;
        // A key pressed in a shell goes out at once.
        tcp.set_nodelay(true).map_err(|source| ConnectError::Tcp { server: server(), source })?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        timeout(CONNECT_DEADLINE, tls)
            .await
            .map_err(|_| ConnectError::Silent { server: server() })?
            .map_err(|error| handshake_error(server(), error))
    }
}

/// The typed cause of a failed handshake, which arrives inside an `io::Error`.
fn handshake_error(server: ServerUrl, error: io::Error) -> ConnectError {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};

    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(InvalidCertificate(CertificateError::Other(cause))) => {
            match cause.0.downcast_ref::<WrongFingerprint>() {
                Some(&wrong) => ConnectError::Changed { server, wrong },
                None => ConnectError::Tls { server, source: error },
            }
        }
        Some(source @ InvalidCertificate(_)) => {
            ConnectError::Certificate { server, source: source.clone() }
        }
        Some(NoCertificatesPresented) => ConnectError::NoCertificate { server },
        Some(_) | None => ConnectError::Tls { server, source: error },
    }
}
