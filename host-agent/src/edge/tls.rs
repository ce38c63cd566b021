//! TLS for brokers. Handshakes run beside each other and have a deadline, so
//! that one who connects and says nothing holds up nobody.

use std::{io, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// At once; brokers are few, strangers wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// When the machine is out of file descriptors: some will be free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of those who have shown a good certificate, until `shutdown`.
pub(super) fn incoming(
    listener: TcpListener,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (good, streams) = mpsc::channel(1);
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        // Never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (acceptor, good) = (acceptor.clone(), good.clone());
            tokio::spawn(async move {
                let shaken = timeout(HANDSHAKE_DEADLINE, shake(stream, &acceptor)).await;
                drop(place);
                match shaken {
                    // Nobody takes it when the agent is about to end.
                    Ok(Ok(stream)) => good.send(Ok(stream)).await.unwrap_or_default(),
                    Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_elapsed) => debug!(%peer, "a TLS handshake took too long"),
                }
            });
        }
    }));
    ReceiverStream::new(streams)
}

async fn shake(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    // Without it the kernel holds small messages back for up to 40 ms, which is
    // most of what a start takes.
    stream.set_nodelay(true)?;
    acceptor.accept(stream).await
}
