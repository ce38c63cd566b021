//! The broker as a whole: everything is built here, in the order a reader
//! needs, and taken down in the other.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rolltop_metrics::{Port, PortError};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    auth::{
        Accounts, Directory, DirectoryError, Groups, Limits, PasswordError, Passwords, Programs,
        SecondFactors, Sessions, Tokens,
    },
    clock::Clock,
    cluster::{Cluster, ClusterError},
    config::Config,
    data::Data,
    desktops::{self, Desktops, Reconciler, Tickets},
    drain::Drainer,
    enrol::Enrolments,
    gateway::{self, Gateway, Viewers},
    hosts::{self, Hosts, Renewer, TrustError},
    metrics::{self, Measured, Metrics, MetricsError},
    oidc::{Door, Provider, ProviderError},
    pki::PkiError,
    presence::Presence,
    rollout::{self, Rollouts},
    routes::routes,
    rpc::Api,
    server::{Server, TlsError},
    store::Store,
    timing::Keeper,
    versions::Versions,
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
    /// A certificate cannot be used towards hosts.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Passwords cannot be hashed here.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A file for the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The provider of the configuration cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The port for readers of metrics cannot be opened.
    #[error(transparent)]
    MetricsPort(#[from] PortError),
    /// The labels of the metrics come from the API's description.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The API's own description cannot be read.
    #[error("the description of the API cannot be read")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// A broker that runs.
pub struct Daemon {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    shutdown: CancellationToken,
    /// Those that are to run all the time.
    services: JoinSet<&'static str>,
    /// Starts, stops, streams and connections.
    tasks: TaskTracker,
    /// Ends last: what the others did on their way out is noted too.
    audit_ending: CancellationToken,
    audit: JoinHandle<()>,
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
        let metrics = Arc::new(Metrics::new()?);
        let metrics_port = match config.metrics {
            Some(address) => Some(Port::bind(address).await?),
            None => None,
        };
        let Cluster { store, authority } = Cluster::open(&config, clock.as_ref()).await?;
        let store: Arc<dyn Store> = Arc::new(Measured::new(store, Arc::clone(&metrics)));
        let certificate =
            authority.server(store.as_ref(), clock.as_ref(), &config.certificate_names()).await?;
        // With the authority's: a machine to be enrolled knows no more of it
        // than its fingerprint.
        let certificate = certificate.followed_by(authority.certificate_pem());
        let server = Server::new(listener, &certificate, config.server, config.proxies.clone())?;
        let client = authority.issue_client(clock.now())?;
        let hosts = Hosts::new(authority.certificate_pem(), &client)?;
        let renewer = Renewer {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            authority: authority.clone(),
            certificate_days: config.hosts.certificate_days,
        };

        let (audit, writer) = Audit::new(Arc::clone(&store), Arc::clone(&clock), config.audit);
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
        let parts = desktops::Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            hosts: hosts.clone(),
            data: data.clone(),
            presence: presence.clone(),
            tasks: tasks.clone(),
            metrics: Arc::clone(&metrics),
        };
        let desktops = Desktops::new(parts, &config);
        let viewers = Viewers::new(Arc::clone(&store), Arc::clone(&clock), presence.name());
        let tickets = Tickets::new(Arc::clone(&store), Arc::clone(&clock), config.gateway.ticket);
        let at_once =
            std::thread::available_parallelism().map_or(1, usize::from).min(HASHES_AT_ONCE);
        let limits = Limits {
            account_attempts: config.sign_in.account_attempts,
            address_attempts: config.sign_in.address_attempts,
            lockout: config.sign_in.lockout,
        };
        let passwords = Passwords::new(at_once).await?;
        let directory = config.ldap.clone().map(Directory::new).transpose()?;
        let parts = gateway::Parts {
            store: Arc::clone(&store),
            hosts: hosts.clone(),
            audit: audit.clone(),
            tickets: tickets.clone(),
            viewers: viewers.clone(),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
            metrics: Arc::clone(&metrics),
        };
        let gateway = Gateway::new(parts, config.gateway);
        let enrolments = Enrolments::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            authority,
            config.hosts.certificate_days,
            limits,
        );
        let groups = Groups::new(Arc::clone(&store), Arc::clone(&clock));
        let versions = Versions::new(Arc::clone(&store), hosts.clone());
        let rollouts = Rollouts::new(rollout::Parts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            desktops: desktops.clone(),
            hosts: hosts.clone(),
            groups: groups.clone(),
            presence: presence.clone(),
            tasks: tasks.clone(),
        });
        let wall_clock = Arc::clone(&clock);
        let provider =
            config.oidc.clone().map(|oidc| Provider::new(oidc, Arc::clone(&clock))).transpose()?;
        let api = Api {
            accounts: Accounts::new(Arc::clone(&store), Arc::clone(&clock), passwords, limits)
                .with_directory(directory),
            tokens: Tokens::new(Arc::clone(&store), Arc::clone(&clock)),
            seconds: SecondFactors::new(Arc::clone(&store), Arc::clone(&clock)),
            programs: Programs::new(Arc::clone(&store), Arc::clone(&clock)),
            provider,
            groups,
            sessions: Sessions::new(Arc::clone(&store), Arc::clone(&clock), config.sign_in.session),
            store: Arc::clone(&store),
            clock,
            audit,
            desktops: desktops.clone(),
            data,
            hosts: hosts.clone(),
            versions: versions.clone(),
            rollouts: rollouts.clone(),
            enrolments,
            tickets,
            viewers: viewers.clone(),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        let (sessions, tokens) = (api.sessions.clone(), api.tokens.clone());
        let door = api.provider.clone().map(|provider| {
            let (store, clock) = (Arc::clone(&api.store), Arc::clone(&api.clock));
            let parts = (api.accounts.clone(), api.sessions.clone(), api.audit.clone());
            Arc::new(Door::new(provider, store, clock, parts, limits))
        });
        let router =
            routes(api, Arc::new(gateway), door, &metrics).await.map_err(StartError::Reflection)?;

        let mut services = JoinSet::new();
        let metrics_ending = shutdown.clone();
        let drainer = Drainer {
            store: Arc::clone(&store),
            clock: Arc::clone(&wall_clock),
            desktops: desktops.clone(),
        };
        let timekeeper = Keeper {
            store: Arc::clone(&store),
            clock: Arc::clone(&wall_clock),
            desktops: desktops.clone(),
            viewers: viewers.clone(),
        };
        let metrics_address = metrics_port.as_ref().and_then(|port| port.address().ok());
        if let Some(port) = metrics_port {
            let now = metrics::Present {
                hosts: hosts.clone(),
                desktops: desktops.clone(),
                versions: versions.clone(),
                rollouts: rollouts.clone(),
            };
            let read = move || {
                let text = metrics::read(&metrics, &now);
                async move { text }
            };
            services.spawn(async move {
                port.serve(read, metrics_ending).await;
                "metrics"
            });
        }
        let keeper = desktops::Keeper { desktops: desktops.clone() };
        let books = desktops.clone().keep_books();
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
            Box::pin(async move { reconciler.look_again().await })
        });
        keep("orphans", Box::pin(until(ending.clone(), orphans)));
        let settling = Arc::clone(&observer).settle();
        keep("settling", Box::pin(until(ending.clone(), settling)));
        keep("time limits", Box::pin(until(ending.clone(), timekeeper.run())));
        keep("drain", Box::pin(until(ending.clone(), drainer.run())));
        keep("books", Box::pin(until(ending.clone(), books)));
        keep("versions", Box::pin(until(ending.clone(), versions.run())));
        keep("roll-outs", Box::pin(until(ending.clone(), rollouts.keep())));
        keep("warm", Box::pin(until(ending.clone(), keeper.run())));
        let sightings = hosts::sightings::tell(hosts.clone(), presence.clone());
        keep("sightings", Box::pin(until(ending.clone(), sightings)));
        keep(
            "hosts",
            Box::pin(until(
                ending.clone(),
                hosts::supervise(hosts, renewer, config.hosts, observer),
            )),
        );
        keep("presence", Box::pin(until(ending.clone(), presence.keep(lease))));
        keep("viewers", Box::pin(until(ending.clone(), viewers.keep())));
        keep("sessions", Box::pin(until(ending, prune(sessions, tokens))));
        let audit_ending = CancellationToken::new();
        let ending = audit_ending.clone();
        let audit = tokio::spawn(writer.run(ending));
        tracing::info!(%address, "the broker serves");
        let drain = config.server.drain;
        Ok(Self { address, metrics_address, shutdown, services, tasks, audit_ending, audit, drain })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the metrics can be read; none: nowhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
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
        self.audit_ending.cancel();
        match timeout(self.drain, self.audit).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit log's writer broke"),
            Err(_) => tracing::error!("the last entries of the audit log are in this log alone"),
        }
    }
}

async fn until(shutdown: CancellationToken, work: impl Future<Output = ()>) {
    // Which of both it was does not matter here: `broken` tells.
    shutdown.run_until_cancelled(work).await.unwrap_or_default();
}

async fn prune(sessions: Sessions, tokens: Tokens) {
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
        if let Err(error) = tokens.prune().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "tokens cannot be pruned");
        }
    }
}
