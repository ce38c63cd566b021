//! The port that a Prometheus server reads: plain HTTP/1.1, one answer a
//! connection, with bounds that keep a bad caller from costing anything.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::CONTENT_TYPE;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// From accepting a connection to the end of its answer.
const CONNECTION: Duration = Duration::from_secs(15);
/// For the request's head.
const HEAD: Duration = Duration::from_secs(5);
/// When no descriptor is free: some will be again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The port cannot be opened.
#[derive(Debug, Error)]
#[error("cannot listen at {address} for readers of metrics")]
pub struct PortError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound port.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
}

impl Port {
    /// Binds it.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, PortError> {
        let bound = TcpListener::bind(address).await;
        Ok(Self { listener: bound.map_err(|source| PortError { address, source })? })
    }

    /// Where it is.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers `GET /metrics` with what `read` returns, until `shutdown`.
    pub async fn serve<R, F>(self, read: R, shutdown: CancellationToken)
    where
        R: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<String>> + Send,
    {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let accept = async {
            loop {
                // The place first. Cannot fail: it is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match self.listener.accept().await {
                    Ok((stream, _peer)) => {
                        let read = read.clone();
                        tokio::spawn(async move {
                            answer(stream, read).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a reader of metrics could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(accept).await;
    }
}

async fn answer<R, F>(stream: TcpStream, read: R)
where
    R: Fn() -> F,
    F: Future<Output = Option<String>>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let read = &read;
        async move {
            let begun = Instant::now();
            let response = match refused(&request) {
                Some(response) => response,
                None => match read().await {
                    Some(text) => metrics(text),
                    None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be told"),
                },
            };
            tracing::debug!(elapsed_us = begun.elapsed().as_micros() as u64, "metrics were read");
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a reader of metrics broke off"),
        Err(_elapsed) => tracing::debug!("a reader of metrics is too slow"),
    }
}

/// The answer to what asks for something else.
fn refused(request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    if request.uri().path() != "/metrics" {
        return Some(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics"));
    }
    match *request.method() {
        Method::GET | Method::HEAD => None,
        _ => Some(plain(StatusCode::METHOD_NOT_ALLOWED, "the metrics can be read only: use GET")),
    }
}

fn metrics(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn asked(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_one_path_only_and_ends_when_told() {
        let port = Port::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = port.address().unwrap();
        let shutdown = CancellationToken::new();
        let read = || async { Some("x 1\n# EOF\n".to_owned()) };
        let serving = tokio::spawn(port.serve(read, shutdown.clone()));

        let answer = asked(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(CONTENT_TYPE) && answer.ends_with("x 1\n# EOF\n"), "{answer}");
        let answer = asked(address, "GET /other HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let answer = asked(address, "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        let answer = asked(address, "not HTTP at all\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

        shutdown.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_an_error() {
        let port = Port::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = port.address().unwrap();
        tokio::spawn(port.serve(|| async { None }, CancellationToken::new()));
        let answer = asked(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let port = Port::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = port.address().unwrap();
        let error = Port::bind(address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
