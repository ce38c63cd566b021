//! The agent of a host: what listens.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use rolltop_proto::v1::{
    host_agent_server::HostAgentServer, host_keys_server::HostKeysServer,
    host_stats_server::HostStatsServer, host_storage_server::HostStorageServer,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::{credentials::Keys, host::Host, service::Service, stats::Numbers};

/// Serves a host's API until dropped.
///
/// # Errors
/// Its credentials cannot be used.
pub async fn serve(host: Arc<Host>, keys: Keys, listener: TcpListener) -> anyhow::Result<()> {
    let tls = keys.tls().context("the host's credentials")?;
    Server::builder()
        .tls_config(tls)?
        .tcp_nodelay(true)
        .add_service(HostStorageServer::new(host.storage.clone()))
        .add_service(HostStatsServer::new(Numbers))
        .add_service(HostKeysServer::new(keys))
        .add_service(HostAgentServer::new(Service(host)))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .context("the agent has stopped")
}

/// An agent in a runtime of its own, so that it can be cut off in an instant.
#[derive(Debug)]
pub struct Agent {
    host: Arc<Host>,
    keys: Keys,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

// === impl Agent ===

impl Agent {
    /// The agent of `host`, which is to listen at `address`. It is not up yet.
    pub fn new(host: Arc<Host>, keys: Keys, address: SocketAddr) -> Self {
        Self { host, keys, address, runtime: None }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it shows.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The host it works for.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.runtime.is_some()
    }

    /// As by `kill -9`: all connections are cut, what the host has stays.
    pub fn vanish(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// A new agent takes over what the host has.
    ///
    /// # Errors
    /// There are no threads left.
    pub fn come_up(&mut self) -> io::Result<()> {
        self.vanish();
        self.host.table().begin_anew();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (host, keys, address) = (Arc::clone(&self.host), self.keys.clone(), self.address);
        runtime.spawn(async move {
            let listener = loop {
                // The last life's sockets may still be closing.
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            if let Err(error) = serve(host, keys, listener).await {
                eprintln!("{error:#}");
            }
        });
        self.runtime = Some(runtime);
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.vanish();
    }
}
