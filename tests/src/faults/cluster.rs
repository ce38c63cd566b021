//! The cluster, and what can be done to it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_sim::{Agent, Host, Keys, Pace};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    BROKERS, HOSTS, MEMBERS, clocks, etcd,
    hosts::{self, Kinds, Unit},
    kept::{Kept, Recipe},
    lan, links, namespaces,
    real::{Plan, RealHost},
    schedule::Node,
    sightings::Lookout,
    snapshot::Snapshot,
    strikes::Harm,
    truth::Truth,
};
use crate::patience::on_this_machine;

/// A cluster that has to elect, on a machine that does much else.
const BIRTH: Duration = Duration::from_secs(60);
/// Starts and ends take a while, so that faults meet them.
const PACE: Pace = Pace { phase: Duration::from_millis(40), stop: Duration::from_millis(100) };
/// Less than people want: some are refused.
const DESKTOPS_PER_HOST: i64 = 4;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `rolltop-broker` is.
    pub programs: PathBuf,
    /// For all it keeps; empty.
    pub dir: PathBuf,
    /// How many people there are.
    pub people: usize,
    /// Which hosts.
    pub hosts: Kinds,
    /// The image store, for real ones.
    pub images: PathBuf,
}

/// Someone with an account.
#[derive(Clone, Debug)]
pub struct Person {
    /// Login name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Brokers, etcd and hosts.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    brokers: Vec<Kept>,
    members: Vec<Kept>,
    hosts: Vec<Unit>,
    people: Vec<Person>,
    lookout: Option<Lookout>,
    pub(super) harm: Harm,
}

pub(super) fn broker_uid(broker: usize) -> u32 {
    63_200 + u32::try_from(broker).unwrap_or(0)
}

pub(super) fn member_uid(member: usize) -> u32 {
    63_100 + u32::try_from(member).unwrap_or(0)
}

/// Ports are all ours.
pub(super) fn broker_port(broker: usize) -> usize {
    20_000 + broker
}

pub(super) fn client_port(member: usize) -> usize {
    21_000 + member
}

pub(super) fn peer_port(member: usize) -> usize {
    22_000 + member
}

fn host_port(host: usize) -> u16 {
    23_000 + u16::try_from(host).unwrap_or(0)
}

/// A host's name.
pub fn host_name(host: usize) -> String {
    format!("h{host}")
}

// === impl Settings ===

impl Settings {
    /// `rolltop-broker`.
    pub fn broker(&self) -> PathBuf {
        self.programs.join("rolltop-broker")
    }

    /// Where brokers reach a host.
    pub fn host_address(&self, host: usize) -> SocketAddr {
        match self.hosts.is_real(host) {
            true => lan::address(host),
            false => SocketAddr::from((Ipv4Addr::LOCALHOST, host_port(host))),
        }
    }

    /// What real hosts keep for users.
    pub fn shared(&self) -> PathBuf {
        self.dir.join("shared")
    }

    /// The clock of a broker.
    pub(super) fn broker_clock(&self, broker: usize) -> PathBuf {
        self.dir.join(format!("broker-{broker}.clock"))
    }

    /// For commands on the store.
    pub fn admin_config(&self) -> PathBuf {
        self.dir.join("admin.toml")
    }

    fn write_config(&self, path: &Path, state: &Path, port: usize) -> anyhow::Result<()> {
        let endpoints: Vec<String> = (0..MEMBERS).map(etcd::endpoint).collect();
        let (listen, state) = (format!("127.0.0.1:{port}"), state.display().to_string());
        // Hosts are lost soon, and starts given up soon: a schedule is short.
        let text = toml::toml! {
            listen = listen
            state_dir = state
            [store]
            kind = "etcd"
            endpoints = endpoints
            deadline_s = 5
            [hosts]
            suspect_s = 2
            lost_s = 4
            [desktops]
            start_deadline_s = 20
            stop_deadline_s = 10
        };
        fs::write(path, text.to_string())?;
        Ok(())
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.broker());
        command.arg("--config").arg(self.admin_config()).args(arguments).kill_on_drop(true);
        let output = command.output().await.context("cannot run rolltop-broker")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rolltop-broker {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

// === impl Cluster ===

impl Cluster {
    /// Starts it; the brokers serve soon.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        // Users of their own have to get in.
        fs::set_permissions(&settings.dir, fs::Permissions::from_mode(0o755))?;
        let addresses: Vec<_> = (0..HOSTS).map(|host| settings.host_address(host)).collect();
        links::prepare(&addresses)?;
        links::cut(&[])?;
        lan::lay()?;
        hosts::make_shared(&settings.shared())?;
        let mut cluster = Self {
            brokers: Vec::new(),
            members: Vec::new(),
            hosts: Vec::new(),
            people: Vec::new(),
            lookout: None,
            harm: Harm::default(),
            settings,
        };
        for member in 0..MEMBERS {
            let mut member = Kept::new(etcd::recipe(&cluster.settings.dir, member)?);
            member.start();
            cluster.members.push(member);
        }
        let admin = cluster.settings.dir.join("admin");
        cluster.settings.write_config(&cluster.settings.admin_config(), &admin, 0)?;
        cluster.enrol_people().await?;
        for host in 0..HOSTS {
            cluster.enrol_host(host).await?;
        }
        let real = cluster.hosts.iter().filter_map(|unit| match unit {
            Unit::Simulated(_) => None,
            Unit::Real(host) => Some((host.name(), host.group().to_owned())),
        });
        let real: Vec<_> = real.collect();
        let dir = cluster.settings.dir.clone();
        cluster.lookout = (!real.is_empty()).then(|| Lookout::new(real, dir));
        for broker in 0..BROKERS {
            let mut broker = Kept::new(cluster.broker_recipe(broker)?);
            broker.start();
            cluster.brokers.push(broker);
        }
        Ok(cluster)
    }

    /// The last is the operator.
    async fn enrol_people(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + on_this_machine(BIRTH);
        let names = (0..self.settings.people).map(|place| format!("p{place}"));
        for (name, role) in names.map(|name| (name, "user")).chain([("olga".into(), "operator")]) {
            let add = ["user", "add", &name, "--role", role, "--generate-password"];
            let password = loop {
                match self.settings.run(&add).await {
                    Ok(password) => break password,
                    // The etcd has to elect first.
                    Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(200)).await,
                    Err(error) => return Err(error),
                }
            };
            self.people.push(Person { name, password });
        }
        Ok(())
    }

    async fn enrol_host(&mut self, place: usize) -> anyhow::Result<()> {
        let name = host_name(place);
        let address = self.settings.host_address(place);
        let credentials = self.settings.dir.join(&name);
        let out = credentials.to_str().context("a path that is not UTF-8")?;
        let endpoint = format!("https://{address}");
        let add = ["host", "add", &name, "--endpoint", &endpoint, "--credentials-out", out];
        self.settings.run(&add).await?;
        let mut unit = match self.settings.hosts.is_real(place) {
            true => Unit::Real(Box::new(self.real_host(place, &credentials)?)),
            false => Unit::Simulated(simulated_host(&name, credentials, address)),
        };
        unit.come_up().await?;
        self.hosts.push(unit);
        Ok(())
    }

    fn real_host(&self, place: usize, dir: &Path) -> anyhow::Result<RealHost> {
        let Settings { programs, images, dir: files, .. } = &self.settings;
        let (shared, most) = (&self.settings.shared(), DESKTOPS_PER_HOST);
        let group = &namespaces::name().context("not in namespaces of its own")?;
        RealHost::new(&Plan { place, programs, images, dir, shared, files, group, most })
    }

    fn broker_recipe(&self, broker: usize) -> anyhow::Result<Recipe> {
        let (dir, uid) = (&self.settings.dir, broker_uid(broker));
        let state = dir.join(format!("broker-{broker}"));
        fs::create_dir(&state)?;
        chown(&state, Some(uid), Some(uid))?;
        let config = dir.join(format!("broker-{broker}.toml"));
        self.settings.write_config(&config, &state, broker_port(broker))?;
        Ok(Recipe {
            program: self.settings.broker(),
            arguments: vec!["--config".to_owned(), config.display().to_string()],
            environment: clocks::environment(&self.settings.broker_clock(broker))?,
            uid,
            log: dir.join(format!("broker-{broker}.log")),
        })
    }

    /// Everybody; the last is the operator.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// The cluster's authority.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ca(&self) -> anyhow::Result<String> {
        let path = self.settings.dir.join("admin/ca.pem");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// What it is made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The store, as it is now.
    ///
    /// # Errors
    /// See [`Snapshot::take`].
    pub async fn snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        let file = self.settings.dir.join("export.jsonl");
        Snapshot::take(&self.settings.broker(), &self.settings.admin_config(), &file).await
    }

    /// What the hosts have and did.
    ///
    /// # Errors
    /// A real one does not tell.
    pub async fn truth(&self) -> anyhow::Result<Truth> {
        let mut truth = Truth::default();
        for (place, unit) in self.hosts.iter().enumerate() {
            let now = unit.desktops().await?;
            truth.add(&host_name(place), &unit.deeds(), now, unit.late());
        }
        Ok(truth)
    }

    /// The hosts, in order.
    pub fn hosts(&self) -> &[Unit] {
        &self.hosts
    }

    /// Switches real hosts off, so that others can take their places.
    ///
    /// # Errors
    /// Something of them stays.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for unit in &mut self.hosts {
            unit.lose_power().await?;
        }
        Ok(())
    }

    /// What two machines had at once, since this was asked last; and how many
    /// things were seen.
    pub fn seen_twice(&self) -> (Vec<String>, usize) {
        self.lookout.as_ref().map(Lookout::seen_twice).unwrap_or_default()
    }

    pub(super) fn process(&mut self, node: Node) -> Option<&mut Kept> {
        match node {
            Node::Broker(broker) => self.brokers.get_mut(broker),
            Node::Member(member) => self.members.get_mut(member),
            Node::Host(_) => None,
        }
    }

    pub(super) fn host(&mut self, host: usize) -> anyhow::Result<&mut Unit> {
        self.hosts.get_mut(host).with_context(|| format!("there is no host {host}"))
    }

    /// Memory of the brokers, MiB; of those that are there.
    pub fn broker_memory_mib(&self) -> Vec<u64> {
        let pids = self.brokers.iter().filter_map(Kept::pid);
        pids.filter_map(resident_mib).collect()
    }
}

fn simulated_host(name: &str, credentials: PathBuf, address: SocketAddr) -> Agent {
    let host = Host::new(name);
    if let (Ok(mut facts), Ok(mut pace)) = (host.facts.lock(), host.pace.lock()) {
        facts.max_desktops = DESKTOPS_PER_HOST;
        *pace = PACE;
    }
    Agent::new(host, Keys::new(credentials), address)
}

fn resident_mib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
