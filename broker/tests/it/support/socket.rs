//! A browser's side of the gateway.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::Request},
};

use super::{House, SOON};

pub(crate) struct Socket(WebSocketStream<TlsStream<TcpStream>>);

/// HTTP/1.1 over TLS to the broker.
pub(crate) async fn connect_tls(house: &House) -> TlsStream<TcpStream> {
    tls_over(house, TcpStream::connect(("127.0.0.1", house.port)).await.unwrap()).await
}

async fn tls_over(house: &House, stream: TcpStream) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.ca().as_bytes()).unwrap()).unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

impl Socket {
    pub(crate) fn request(house: &House, ticket: &str) -> Request<()> {
        let url = format!("wss://localhost:{}/gateway?ticket={ticket}", house.port);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "binary".parse().unwrap());
        request
    }

    pub(crate) async fn open(house: &House, ticket: &str) -> Self {
        let (socket, response) =
            client_async(Self::request(house, ticket), connect_tls(house).await).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "binary");
        Self(socket)
    }

    /// Over a connection that is there.
    pub(crate) async fn open_over(house: &House, ticket: &str, stream: TcpStream) -> Self {
        let stream = tls_over(house, stream).await;
        Self(client_async(Self::request(house, ticket), stream).await.unwrap().0)
    }

    /// The status of an upgrade that is refused.
    pub(crate) async fn refused(house: &House, request: Request<()>) -> u16 {
        match client_async(request, connect_tls(house).await).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("the upgrade was not refused"),
        }
    }

    /// Open, and the display has greeted.
    pub(crate) async fn greeted(house: &House, ticket: &str) -> Self {
        let mut socket = Self::open(house, ticket).await;
        assert_eq!(socket.bytes().await, b"RFB 003.008\n");
        socket
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    pub(crate) async fn bytes(&mut self) -> Vec<u8> {
        loop {
            match timeout(SOON, self.0.next()).await.unwrap().unwrap().unwrap() {
                Message::Binary(bytes) => return bytes.to_vec(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not bytes: {other:?}"),
            }
        }
    }

    /// The close code and reason; whatever comes before is passed over.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match timeout(SOON, self.0.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("ended without a close frame: {other:?}"),
            }
        }
    }
}
