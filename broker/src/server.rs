//! The port: TLS, then HTTP/1.1 or HTTP/2 as agreed in the handshake. Every
//! step of a connection has a deadline, and their number a bound.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{config, pki::Credentials, proxy::Proxies};

/// Streams one client may have open: a page has three or four.
const MAX_STREAMS: u32 = 128;
/// A silent HTTP/2 client is asked this often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// When the machine is out of file descriptors: some will be free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of a client, as its load balancer tells it; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate or key cannot be read.
    #[error("the server certificate cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// They do not fit together, or to the library.
    #[error("the server certificate cannot be used")]
    Config(#[source] rustls::Error),
}

/// The one way in.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    config: config::Server,
    proxies: Arc<Proxies>,
    places: Arc<Semaphore>,
}

// === impl Server ===

impl Server {
    /// Serves on `listener` with this certificate.
    ///
    /// # Errors
    /// If the certificate cannot be used.
    pub fn new(
        listener: TcpListener,
        credentials: &Credentials,
        config: config::Server,
        proxies: Proxies,
    ) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(credentials.certificate_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(TlsError::Pem)?;
        let key =
            PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).map_err(TlsError::Pem)?;
        let mut tls =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Config)?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(TlsError::Config)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let places = Arc::new(Semaphore::new(config.max_connections));
        Ok(Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            config,
            proxies: Arc::new(proxies),
            places,
        })
    }

    /// Serves until `shutdown`, then lets calls under way end, for a while.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.accept() => accepted,
                // So that the set does not grow.
                Some(_) = connections.join_next() => continue,
            };
            let (stream, peer, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a connection could not be accepted"
                    );
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let work = serve(
                stream,
                peer,
                self.tls.clone(),
                router.clone(),
                (self.config, Arc::clone(&self.proxies)),
                shutdown.clone(),
            );
            connections.spawn(async move {
                work.await;
                drop(place);
            });
        }
        drop(self.listener);
        let drained =
            timeout(self.config.drain, async { while connections.join_next().await.is_some() {} })
                .await;
        if drained.is_err() {
            tracing::info!(left = connections.len(), "connections are cut");
        }
    }

    /// The place first: beyond the bound clients wait in the kernel's queue.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer, place))
    }
}

async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    (config, proxies): (config::Server, Arc<Proxies>),
    shutdown: CancellationToken,
) {
    let peer = match timeout(config.handshake, proxies.client_of(peer, &mut stream)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            return tracing::info!(%peer, %error, "a connection of a load balancer was refused");
        }
        Err(_) => return tracing::debug!(%peer, "a load balancer took too long"),
    };
    let stream = match timeout(config.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
    };
    let called = CancellationToken::new();
    let seen = called.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        seen.cancel();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let http = protocol(&stream, config);
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let too_quiet = async {
        // hyper's own deadline covers the headers of HTTP/1 alone.
        if timeout(config.handshake, called.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(too_quiet);
    let mut ending = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = shutdown.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut too_quiet => return tracing::debug!(%peer, "a client asks for nothing"),
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error, "a connection broke");
    }
}

fn protocol(stream: &TlsStream<TcpStream>, config: config::Server) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(config.handshake);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS);
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => http.http2_only(),
        Some(_) | None => http.http1_only(),
    }
}
