//! A browser's way to a display: TLS, then a WebSocket of the broker's gateway.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async, tungstenite::client::IntoClientRequest as _,
};

/// For a broker to take a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Frames of a display, and in the end why it ended.
pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A way to brokers that show a certificate of this authority.
///
/// # Errors
/// It is no certificate.
pub fn trusting(ca: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to a display of the broker at `port` of this machine; `path` is what
/// the broker said it is to be had by.
///
/// # Errors
/// The broker does not answer, or refuses.
pub async fn connect(tls: &TlsConnector, port: u16, path: &str) -> anyhow::Result<Socket> {
    let tcp = timeout(CONNECT, TcpStream::connect(("127.0.0.1", port))).await??;
    let stream = tls.connect(ServerName::try_from("localhost")?, tcp).await?;
    let mut request = format!("wss://localhost:{port}{path}").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "binary".parse()?);
    Ok(client_async(request, stream).await?.0)
}
