//! The agent's two doors: mutual TLS for brokers, a Unix socket for root.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rolltop_proto::v1::{
    self, host_agent_server::HostAgentServer, host_keys_server::HostKeysServer,
    host_stats_server::HostStatsServer, host_storage_server::HostStorageServer,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener},
    time::{Instant, sleep},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};

use super::{keys::Keys, service::Service, tls};
use crate::{
    config::Listen,
    credentials::{CredentialError, Files, Shown},
    host::Host,
};

/// Largest message a caller may send; a display chunk is 64 KiB.
const MAX_MESSAGE: usize = 4 << 20;

/// Sockets that are bound, before anything is served.
#[derive(Debug)]
pub struct Listening {
    unix: UnixListener,
    file: SocketFile,
    network: Option<(TcpListener, Arc<Shown>)>,
}

/// A socket's name in the file system; removed when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

/// A door cannot be opened.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A socket or file.
    #[error("cannot {verb} {operand}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        operand: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another agent serves there.
    #[error(
        "another agent answers at {0}: stop it first, or give this one its own run_dir and socket"
    )]
    Taken(PathBuf),
    /// What brokers are to be shown.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// gRPC reflection cannot read the API's description.
    #[error("the API's description is damaged")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Serving failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
}

impl Listening {
    /// Binds every socket.
    ///
    /// # Errors
    /// Taken, not permitted, or a credential that cannot be read.
    pub async fn bind(socket: &Path, network: Option<&Listen>) -> Result<Self, ServeError> {
        let network = match network {
            None => None,
            Some(listen) => {
                let bind = async || TcpListener::bind(listen.address).await;
                let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
                let tcp = once_let_go(bind, taken).await.map_err(|source| ServeError::Io {
                    verb: "listen at",
                    operand: listen.address.to_string(),
                    source,
                })?;
                Some((tcp, credentials(listen)?))
            }
        };
        let taken = |error: &ServeError| matches!(error, ServeError::Taken(_));
        let unix = once_let_go(async || bind_unix(socket), taken).await?;
        Ok(Self { unix, file: SocketFile(socket.into()), network })
    }
}

/// For how long the sockets of a killed agent may outlive it: what it was just
/// forking has them until it runs its program or dies, too.
const LETTING_GO: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// What `open` gives, tried again while it finds the door `taken`, for a while.
async fn once_let_go<T, E>(
    open: impl AsyncFn() -> Result<T, E>,
    taken: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match open().await {
            Err(error) if taken(&error) && Instant::now() < deadline => sleep(PAUSE).await,
            result => return result,
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the socket stays; the next agent replaces it");
        }
    }
}

/// Reads what brokers are met with.
///
/// # Errors
/// A file that cannot be read or used.
pub(crate) fn credentials(listen: &Listen) -> Result<Arc<Shown>, CredentialError> {
    let shown = Shown::load(Files::new(listen))?;
    crate::credentials::server_config(Arc::clone(&shown))?;
    Ok(shown)
}

fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed =
        |verb| move |source| ServeError::Io { verb, operand: path.display().to_string(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
    }
    // A socket that nobody answers is a dead agent's.
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ServeError::Taken(path.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => fs::remove_file(path).map_err(failed("replace"))?,
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("protect"))?;
    Ok(listener)
}

/// Serves until `shutdown`, then lets running calls end.
///
/// # Errors
/// A door breaks.
pub async fn serve(
    host: Arc<Host>,
    listening: Listening,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let Listening { unix, file: _removed_at_the_end, network } = listening;
    let calls = &host.metrics.calls;
    let local = router(Server::builder().layer(calls.clone()), &host)?
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(unix),
            shutdown.clone().cancelled_owned(),
        );
    let remote = async {
        let Some((tcp, shown)) = network else { return Ok(()) };
        let server =
            Server::builder().http2_keepalive_interval(Some(std::time::Duration::from_secs(20)));
        let config = crate::credentials::server_config(Arc::clone(&shown))?;
        let incoming = tls::incoming(tcp, config, shutdown.clone());
        router(server.layer(calls.clone()), &host)?
            .add_service(HostKeysServer::new(Keys { shown }))
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
            .map_err(ServeError::from)
    };
    let served = tokio::try_join!(async { local.await.map_err(ServeError::from) }, remote);
    served.map(|_| ())
}

fn router<L: Clone>(mut server: Server<L>, host: &Arc<Host>) -> Result<Router<L>, ServeError> {
    let service = HostAgentServer::new(Service { host: Arc::clone(host) })
        .max_decoding_message_size(MAX_MESSAGE);
    let storage = HostStorageServer::new(Service { host: Arc::clone(host) })
        .max_decoding_message_size(MAX_MESSAGE);
    let stats = HostStatsServer::new(Service { host: Arc::clone(host) });
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move { reporter.set_serving::<HostAgentServer<Service>>().await });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .build_v1()
        .map_err(ServeError::Reflection)?;
    let router = server.add_service(service).add_service(storage).add_service(stats);
    Ok(router.add_service(health).add_service(reflection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_killed_agents_sockets_are_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            sleep(LETTING_GO / 2).await;
            drop(held);
        });
        Listening::bind(&socket, None).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_living_agents_socket_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let _held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let refused = Listening::bind(&socket, None).await.unwrap_err();
        assert!(matches!(refused, ServeError::Taken(taken) if taken == socket));
        assert!(socket.exists());
    }
}
