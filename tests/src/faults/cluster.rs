//! The cluster, and what can be done to it.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use rolltop_sim::{Agent, Host, Keys, Pace};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    BROKERS, HOSTS, MEMBERS, etcd,
    kept::{Kept, Recipe},
    links,
    schedule::{Fault, How, Link, Node},
    snapshot::Snapshot,
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
    hosts: Vec<Agent>,
    people: Vec<Person>,
    /// By how many faults.
    down: BTreeMap<Node, usize>,
    paused: BTreeMap<Node, usize>,
    cuts: Vec<(Link, How)>,
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

pub(super) fn host_port(host: usize) -> usize {
    23_000 + host
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
        links::prepare()?;
        links::cut(&[])?;
        let mut cluster = Self {
            brokers: Vec::new(),
            members: Vec::new(),
            hosts: Vec::new(),
            people: Vec::new(),
            down: BTreeMap::new(),
            paused: BTreeMap::new(),
            cuts: Vec::new(),
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
        let port = u16::try_from(host_port(place))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let credentials = self.settings.dir.join(&name);
        let out = credentials.to_str().context("a path that is not UTF-8")?;
        let endpoint = format!("https://{address}");
        let add = ["host", "add", &name, "--endpoint", &endpoint, "--credentials-out", out];
        self.settings.run(&add).await?;
        let host = Host::new(&name);
        if let (Ok(mut facts), Ok(mut pace)) = (host.facts.lock(), host.pace.lock()) {
            facts.max_desktops = DESKTOPS_PER_HOST;
            *pace = PACE;
        }
        let mut agent = Agent::new(host, Keys::new(credentials), address);
        agent.come_up()?;
        self.hosts.push(agent);
        Ok(())
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
    pub fn truth(&self) -> Truth {
        let mut truth = Truth::default();
        for agent in &self.hosts {
            let host = agent.host();
            let name = host.facts.lock().map(|facts| facts.name.clone()).unwrap_or_default();
            truth.add(&name, &host.deeds(), host.desktops());
        }
        truth
    }

    /// A fault begins.
    ///
    /// # Errors
    /// It cannot be brought about.
    pub async fn strike(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(node) => self.take_down(*node).await,
            Fault::Power(host) => {
                self.take_down(Node::Host(*host)).await;
                self.host(*host)?.host().lose_power();
            }
            Fault::End(broker) => self.broker(*broker)?.signal(Signal::SIGTERM),
            Fault::Pause(node) => {
                *self.paused.entry(*node).or_default() += 1;
                if let Some(kept) = self.process(*node) {
                    kept.signal(Signal::SIGSTOP);
                }
            }
            Fault::Cut(links, how) => {
                self.cuts.extend(links.iter().map(|link| (*link, *how)));
                links::cut(&self.cuts)?;
            }
        }
        Ok(())
    }

    /// A fault is made good, unless another wants the same.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn mend(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(node) => self.bring_up(*node)?,
            Fault::Power(host) => self.bring_up(Node::Host(*host))?,
            Fault::End(_) => {}
            Fault::Pause(node) => {
                let by = self.paused.entry(*node).or_default();
                *by = by.saturating_sub(1);
                if *by == 0
                    && let Some(kept) = self.process(*node)
                {
                    kept.signal(Signal::SIGCONT);
                }
            }
            Fault::Cut(links, how) => {
                for link in links {
                    if let Some(place) = self.cuts.iter().position(|cut| *cut == (*link, *how)) {
                        self.cuts.remove(place);
                    }
                }
                links::cut(&self.cuts)?;
            }
        }
        Ok(())
    }

    async fn take_down(&mut self, node: Node) {
        *self.down.entry(node).or_default() += 1;
        match node {
            Node::Host(host) => {
                if let Some(agent) = self.hosts.get_mut(host) {
                    agent.vanish();
                }
            }
            Node::Broker(_) | Node::Member(_) => {
                if let Some(kept) = self.process(node) {
                    kept.kill().await;
                }
            }
        }
    }

    fn bring_up(&mut self, node: Node) -> anyhow::Result<()> {
        let by = self.down.entry(node).or_default();
        *by = by.saturating_sub(1);
        if *by > 0 {
            return Ok(());
        }
        match node {
            Node::Host(host) => self.host(host)?.come_up()?,
            Node::Broker(_) | Node::Member(_) => {
                if let Some(kept) = self.process(node) {
                    kept.start();
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is wrong that somebody brought about.
    pub fn is_whole(&self) -> bool {
        let none = |by: &BTreeMap<Node, usize>| by.values().all(|by| *by == 0);
        none(&self.down) && none(&self.paused) && self.cuts.is_empty()
    }

    fn process(&mut self, node: Node) -> Option<&mut Kept> {
        match node {
            Node::Broker(broker) => self.brokers.get_mut(broker),
            Node::Member(member) => self.members.get_mut(member),
            Node::Host(_) => None,
        }
    }

    fn broker(&mut self, broker: usize) -> anyhow::Result<&mut Kept> {
        self.brokers.get_mut(broker).with_context(|| format!("there is no broker {broker}"))
    }

    fn host(&mut self, host: usize) -> anyhow::Result<&mut Agent> {
        let Some(agent) = self.hosts.get_mut(host) else { bail!("there is no host {host}") };
        Ok(agent)
    }

    /// Memory of the brokers, MiB; of those that are there.
    pub fn broker_memory_mib(&self) -> Vec<u64> {
        let pids = self.brokers.iter().filter_map(Kept::pid);
        pids.filter_map(resident_mib).collect()
    }
}

fn resident_mib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
