//! The broker as a whole: everything is built here, in the order a reader
//! needs, and taken down in the other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Accounts, Limits, PasswordError, Passwords, Sessions},
    clock::Clock,
    cluster::{Cluster, ClusterError},
    config::Config,
    data::Data,
    desktops::{Desktops, Reconciler, Tickets},
    gateway::{Gateway, Viewers},
    hosts::{self, Hosts},
    pki::PkiError,
    presence::Presence,
    routes::routes,
    rpc::Api,
    server::{Server, TlsError},
};

/// Between looks for sessions that have run out.
const PRUNE: Duration = Duration::from_secs(10 * 60);
/// Passwords hashed at once: each takes a processor and 19 MiB.
const HASHES_AT_ONCE: usize = 4;

/// The broker could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The state cannot be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Passwords cannot be hashed here.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The API's own description cannot be read.
    #[error("the description of the API cannot be read")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// A broker that runs.
pub struct Daemon {
    address: SocketAddr,
    shutdown: CancellationToken,
    /// Those that are to run all the time.
    services: JoinSet<&'static str>,
    /// Starts, stops, streams and connections.
    tasks: TaskTracker,
    drain: Duration,
}

// === impl Daemon ===

impl Daemon {
    /// Starts it; when this returns, clients are served.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let Cluster { store, authority } = Cluster::open(&config, clock.as_ref()).await?;
        let certificate =
            authority.server(store.as_ref(), clock.as_ref(), &config.certificate_names()).await?;
        let server = Server::new(listener, &certificate, config.server)?;
        let hosts = Hosts::new(authority.certificate_pem(), &authority.issue_client(clock.now())?);

        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let data = Data::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            hosts.clone(),
            tasks.clone(),
            shutdown.clone(),
        );
        let presence = Presence::new(Arc::clone(&store));
        // Before it claims anything.
        let lease = presence.announce().await.map_err(ClusterError::from)?;
        let desktops = Desktops::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            hosts.clone(),
            data.clone(),
            presence.clone(),
            &config,
            tasks.clone(),
        );
        let viewers = Viewers::new(Arc::clone(&store), Arc::clone(&clock));
        let tickets = Tickets::new(Arc::clone(&store), Arc::clone(&clock), config.gateway.ticket);
        let at_once =
            std::thread::available_parallelism().map_or(1, usize::from).min(HASHES_AT_ONCE);
        let limits = Limits {
            account_attempts: config.sign_in.account_attempts,
            address_attempts: config.sign_in.address_attempts,
            lockout: config.sign_in.lockout,
        };
        let passwords = Passwords::new(at_once).await?;
        let gateway = Gateway::new(
            Arc::clone(&store),
            hosts.clone(),
            tickets.clone(),
            viewers.clone(),
            config.gateway,
            shutdown.clone(),
            tasks.clone(),
        );
        let api = Api {
            accounts: Accounts::new(Arc::clone(&store), Arc::clone(&clock), passwords, limits),
            sessions: Sessions::new(Arc::clone(&store), Arc::clone(&clock), config.sign_in.session),
            store: Arc::clone(&store),
            clock,
            desktops: desktops.clone(),
            data,
            hosts: hosts.clone(),
            tickets,
            viewers: viewers.clone(),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        let sessions = api.sessions.clone();
        let router = routes(api, Arc::new(gateway)).await.map_err(StartError::Reflection)?;

        let mut services = JoinSet::new();
        let observer = Arc::new(Reconciler::new(desktops));
        let ending = shutdown.clone();
        let mut keep = |name, work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            services.spawn(async move {
                work.await;
                name
            });
        };
        keep("server", Box::pin(server.run(router, ending.clone())));
        let (reconciler, brokers) = (Arc::clone(&observer), presence.clone());
        let orphans = brokers.watch(move || {
            let reconciler = Arc::clone(&reconciler);
            Box::pin(async move { reconciler.fail_orphans().await })
        });
        keep("orphans", Box::pin(until(ending.clone(), orphans)));
        keep("hosts", Box::pin(until(ending.clone(), hosts::supervise(hosts, store, observer))));
        keep("presence", Box::pin(until(ending.clone(), presence.keep(lease))));
        keep("viewers", Box::pin(until(ending.clone(), viewers.keep())));
        keep("sessions", Box::pin(until(ending, prune(sessions))));
        tracing::info!(%address, "the broker serves");
        Ok(Self { address, shutdown, services, tasks, drain: config.server.drain })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when a part of it has ended that must not: the name of it.
    pub async fn broken(&mut self) -> String {
        match self.services.join_next().await {
            Some(Ok(name)) => name.to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "all".to_owned(),
        }
    }

    /// Ends it: no new clients, those there get a moment. Desktops go on.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.tasks.close();
        let drained = timeout(self.drain, async {
            self.tasks.wait().await;
            while self.services.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "not everything ended in time");
        }
    }
}

async fn until(shutdown: CancellationToken, work: impl Future<Output = ()>) {
    // Which of both it was does not matter here: `broken` tells.
    shutdown.run_until_cancelled(work).await.unwrap_or_default();
}

async fn prune(sessions: Sessions) {
    let mut ticks = interval(PRUNE);
    loop {
        ticks.tick().await;
        match sessions.prune().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "sessions ran out"),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "sessions cannot be pruned"
                );
            }
        }
    }
}
