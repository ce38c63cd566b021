//! The agent's two doors: mutual TLS for brokers, a Unix socket for root.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rolltop_proto::v1::{
    self, host_agent_server::HostAgentServer, host_storage_server::HostStorageServer,
};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{
    Certificate, Identity, Server, ServerTlsConfig,
    server::{Router, TcpIncoming},
};

use super::service::Service;
use crate::{config::Listen, host::Host};

/// Largest message a caller may send; a display chunk is 64 KiB.
const MAX_MESSAGE: usize = 4 << 20;

/// Sockets that are bound, before anything is served.
#[derive(Debug)]
pub struct Listening {
    unix: UnixListener,
    file: SocketFile,
    network: Option<(TcpListener, ServerTlsConfig)>,
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
                let tcp =
                    TcpListener::bind(listen.address).await.map_err(|source| ServeError::Io {
                        verb: "listen at",
                        operand: listen.address.to_string(),
                        source,
                    })?;
                Some((tcp, credentials(listen)?))
            }
        };
        Ok(Self { unix: bind_unix(socket)?, file: SocketFile(socket.into()), network })
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
/// A file that cannot be read.
pub(crate) fn credentials(listen: &Listen) -> Result<ServerTlsConfig, ServeError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| ServeError::Io {
            verb: "read",
            operand: path.display().to_string(),
            source,
        })
    };
    let identity = Identity::from_pem(read(&listen.certificate)?, read(&listen.key)?);
    // A caller must show a certificate of the cluster's CA that is made for
    // clients: hosts' are made for servers, so a stolen one commands nobody.
    Ok(ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(Certificate::from_pem(read(&listen.ca)?)))
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
    let local = router(Server::builder(), &host)?.serve_with_incoming_shutdown(
        UnixListenerStream::new(unix),
        shutdown.clone().cancelled_owned(),
    );
    let remote = async {
        let Some((tcp, tls)) = network else { return Ok(()) };
        let server = Server::builder()
            .tls_config(tls)?
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(20)));
        // Without it the kernel holds small messages back for up to 40 ms, which
        // is most of what a start takes.
        let incoming = TcpIncoming::from(tcp).with_nodelay(Some(true));
        router(server, &host)?
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
            .map_err(ServeError::from)
    };
    let served = tokio::try_join!(async { local.await.map_err(ServeError::from) }, remote);
    served.map(|_| ())
}

fn router(mut server: Server, host: &Arc<Host>) -> Result<Router, ServeError> {
    let service = HostAgentServer::new(Service { host: Arc::clone(host) })
        .max_decoding_message_size(MAX_MESSAGE);
    let storage = HostStorageServer::new(Service { host: Arc::clone(host) })
        .max_decoding_message_size(MAX_MESSAGE);
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move { reporter.set_serving::<HostAgentServer<Service>>().await });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
        .build_v1()
        .map_err(ServeError::Reflection)?;
    Ok(server.add_service(service).add_service(storage).add_service(health).add_service(reflection))
}
