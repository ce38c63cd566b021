//! A broker, a host and their clients.

mod agent;
mod browser;
mod socket;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Parser as _;
use rolltop_broker::{
    cli::Cli,
    clock::{Clock, SystemClock, Timestamp},
    config::Config,
    daemon::Daemon,
    offline,
};
use rolltop_proto::v1::{
    self, audit_client::AuditClient, broker_client::BrokerClient, hosts_client::HostsClient,
    people_client::PeopleClient, start_desktop_response::Message, stats_client::StatsClient,
    storage_client::StorageClient,
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

pub(crate) use agent::{Agent, Behaviour};
pub(crate) use browser::{Answer, Browser};
pub(crate) use rolltop_sim::{Gate, new_key};
pub(crate) use socket::{Socket, connect_tls};

/// For anything that is to happen soon; far longer than it takes.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) const PASSWORD: &str = "correct horse battery";

/// The machine's clock, moved.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicU64);

impl MovedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().after(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
}

/// A cluster of one broker and one scripted host "h1".
pub(crate) struct House {
    pub dir: TempDir,
    pub agent: Agent,
    pub others: Vec<Agent>,
    pub clock: Arc<MovedClock>,
    config: String,
    daemon: Option<Daemon>,
    pub port: u16,
}

impl House {
    /// Users "anna" and "ben", and "olga" the operator.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines of configuration.
    pub(crate) async fn with(more: &str) -> Self {
        Self::build(more, &[]).await
    }

    /// And a second host, "h2".
    pub(crate) async fn with_two_hosts(more: &str) -> Self {
        let house = Self::build(more, &["h2"]).await;
        let mut olga = house.sign_in("olga").await;
        loop_until("both hosts are ready", async || {
            let hosts = [house.host(&mut olga, "h1").await, house.host(&mut olga, "h2").await];
            hosts.iter().all(|host| host.state() == v1::HostState::Ready).then_some(())
        })
        .await;
        house
    }

    async fn build(more: &str, others: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state");
        let config =
            format!("listen = \"127.0.0.1:0\"\nstate_dir = {:?}\n{more}", state.to_str().unwrap());
        let parsed = Config::read(&config, std::iter::empty()).unwrap();
        for (user, flag) in [("anna", ""), ("ben", ""), ("olga", "--operator")] {
            let words = ["rolltop-broker", "user", "add", user, "--password-stdin", flag];
            offline(&parsed, &words, &format!("{PASSWORD}\n")).await;
        }
        let agent = Agent::new(&parsed, dir.path(), "h1").await;
        let mut house = Self {
            agent,
            others: Vec::new(),
            clock: Arc::default(),
            config,
            daemon: None,
            port: 0,
            dir,
        };
        for name in others {
            house.others.push(Agent::new(&parsed, house.dir.path(), name).await);
        }
        house.start_broker().await;
        house.host_is(v1::HostState::Ready).await;
        house
    }

    /// The agent of a host.
    pub(crate) fn agent_of(&mut self, host: &str) -> &mut Agent {
        match host {
            "h1" => &mut self.agent,
            _ => &mut self.others[0],
        }
    }

    pub(crate) fn parsed_config(&self) -> Config {
        Config::read(&self.config, std::iter::empty()).unwrap()
    }

    pub(crate) async fn start_broker(&mut self) {
        let clock: Arc<dyn Clock> = Arc::<MovedClock>::clone(&self.clock);
        let daemon = Daemon::start(self.parsed_config(), clock).await.unwrap();
        self.port = daemon.address().port();
        self.daemon = Some(daemon);
    }

    /// Another broker over the same store, which brokers can share, and its port.
    pub(crate) async fn second_broker(&self) -> (Daemon, u16) {
        let state_dir = |name: &str| format!("state_dir = {:?}\n", self.dir.path().join(name));
        let config = self.config.replace(&state_dir("state"), &state_dir("second"));
        let config = Config::read(&config, std::iter::empty()).unwrap();
        let clock: Arc<dyn Clock> = Arc::<MovedClock>::clone(&self.clock);
        let daemon = Daemon::start(config, clock).await.unwrap();
        let port = daemon.address().port();
        (daemon, port)
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.daemon().metrics_address().unwrap()
    }

    pub(crate) async fn stop_daemon(&mut self) {
        self.daemon.take().unwrap().stop().await;
    }

    /// And waits until the embedded store can be opened by another.
    pub(crate) async fn stop_broker(&mut self) {
        self.stop_daemon().await;
        // Background threads may hold the file a moment longer.
        let store = self.dir.path().join("state/store.redb");
        eventually("the store is free", || {
            let store = store.clone();
            async move { rolltop_broker::store::EmbeddedStore::open(&store).await.ok().map(drop) }
        })
        .await;
    }

    /// The broker, with a role given on its machine; and whose it is, signed in.
    pub(crate) async fn promoted(&mut self, name: &str, role: &str) -> User {
        self.stop_broker().await;
        let words = ["rolltop-broker", "user", "set-role", name, role];
        offline(&self.parsed_config(), &words, "").await;
        self.start_broker().await;
        self.sign_in(name).await
    }

    pub(crate) fn ca(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("state/ca.pem")).unwrap()
    }

    pub(crate) async fn client(&self) -> BrokerClient<Channel> {
        BrokerClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.ca()))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.port)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn sign_in(&self, name: &str) -> User {
        let mut client = self.client().await;
        let request = v1::SignInRequest {
            name: name.into(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        let token = client.sign_in(request).await.unwrap().into_inner().token;
        let channel = self.channel().await;
        let stats = StatsClient::new(channel.clone());
        let audit = AuditClient::new(channel.clone());
        let people = PeopleClient::new(channel.clone());
        let (storage, hosts) = (StorageClient::new(channel.clone()), HostsClient::new(channel));
        User { client, stats, storage, hosts, audit, people, token }
    }

    pub(crate) async fn host(&self, operator: &mut User, name: &str) -> v1::Host {
        let request = operator.ask(v1::ListHostsRequest {});
        let hosts = operator.client.list_hosts(request).await.unwrap().into_inner().hosts;
        hosts.into_iter().find(|host| host.name == name).unwrap()
    }

    pub(crate) async fn host_is(&self, state: v1::HostState) -> v1::Host {
        let mut operator = self.sign_in("olga").await;
        loop_until("the host's state", async || {
            let hosts = operator
                .client
                .list_hosts(request(&operator.token, v1::ListHostsRequest {}))
                .await
                .unwrap();
            hosts.into_inner().hosts.into_iter().find(|host| host.state() == state)
        })
        .await
    }
}

/// Runs an offline command.
pub(crate) async fn offline(config: &Config, words: &[&str], input: &str) {
    let cli = Cli::try_parse_from(words.iter().filter(|word| !word.is_empty())).unwrap();
    let mut input = input.as_bytes();
    offline::run(config, cli.command.unwrap(), &mut input, &mut std::io::sink()).await.unwrap();
}

/// Someone who has signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub client: BrokerClient<Channel>,
    pub storage: StorageClient<Channel>,
    pub stats: StatsClient<Channel>,
    pub hosts: HostsClient<Channel>,
    pub audit: AuditClient<Channel>,
    pub people: PeopleClient<Channel>,
    pub token: String,
}

impl User {
    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        request(&self.token, message)
    }

    /// Follows a start to its end: phases told, and the desktop.
    pub(crate) async fn start(
        &mut self,
        pool: &str,
    ) -> Result<(Vec<v1::Progress>, v1::Desktop), Status> {
        let request = v1::StartDesktopRequest { pool: pool.into(), ..Default::default() };
        let mut steps = self.client.start_desktop(self.ask(request)).await?.into_inner();
        let mut told = Vec::new();
        while let Some(step) = steps.message().await? {
            match step.message.unwrap() {
                Message::Progress(progress) => told.push(progress),
                Message::Desktop(desktop) => return Ok((told, desktop)),
            }
        }
        panic!("a start ended without a desktop");
    }

    pub(crate) async fn list(&mut self) -> Vec<v1::Desktop> {
        let request = self.ask(v1::ListDesktopsRequest::default());
        self.client.list_desktops(request).await.unwrap().into_inner().desktops
    }

    pub(crate) async fn get(&mut self, desktop: &str) -> Result<v1::Desktop, Status> {
        let request = self.ask(v1::GetDesktopRequest { desktop: desktop.into() });
        Ok(self.client.get_desktop(request).await?.into_inner())
    }

    pub(crate) async fn stop(&mut self, desktop: &str) -> Result<v1::Desktop, Status> {
        let request = self.ask(v1::StopDesktopRequest { desktop: desktop.into() });
        Ok(self.client.stop_desktop(request).await?.into_inner().desktop.unwrap())
    }

    pub(crate) async fn ticket(&mut self, desktop: &str) -> Result<String, Status> {
        let request = self.ask(v1::OpenConnectionRequest { desktop: desktop.into() });
        let opened = self.client.open_connection(request).await?.into_inner();
        assert_eq!(opened.path, format!("/gateway?ticket={}", opened.ticket));
        Ok(opened.ticket)
    }

    pub(crate) async fn state_is(&mut self, desktop: &str, state: v1::DesktopState) -> v1::Desktop {
        loop_until("the desktop's state", async || {
            self.get(desktop).await.ok().filter(|desktop| desktop.state() == state)
        })
        .await
    }
}

pub(crate) fn request<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub(crate) fn reason_of(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Tries again until there is an answer, or too much time has passed.
pub(crate) async fn loop_until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(answer) = condition().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, tries).await.unwrap_or_else(|_| panic!("in vain waited for: {what}"))
}

/// As [`loop_until`], for conditions that own what they need.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    loop_until(what, async || condition().await).await
}
