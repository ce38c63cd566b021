//! Brokers, their store and many hosts, with people who are signed in.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::HostState;
use rolltop_sim::Agent;
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::enrol::enrol;
use crate::{
    faults::{
        MEMBERS,
        clients::{Caller, Doors},
        cluster::Person,
        etcd,
        kept::{Kept, Recipe},
    },
    patience::on_this_machine,
};

const BIRTH: Duration = Duration::from_secs(120);
/// A storm is sat out.
const PATIENCE: Duration = Duration::from_secs(600);
const FIRST_BROKER: u16 = 20_000;
/// The accounts that are made at once: hashing passwords is work.
const LOOK: Duration = Duration::from_millis(50);

/// Where the brokers keep their state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One broker, its own store.
    Embedded,
    /// Several, on an etcd of three members.
    Etcd,
}

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts.
    pub hosts: u16,
    /// Brokers, if the store is an etcd; three at most.
    pub brokers: u16,
    /// People who have desktops.
    pub people: usize,
    /// Pools of which each has one.
    pub pools: usize,
    /// See `hosts.suspect_s` in the broker's configuration.
    pub suspect_s: u64,
    /// See `hosts.lost_s` there.
    pub lost_s: u64,
}

/// All of it. Processes end with it.
pub struct House {
    size: Size,
    dir: PathBuf,
    program: PathBuf,
    kind: Kind,
    members: Vec<Kept>,
    brokers: Vec<Kept>,
    hosts: Vec<Agent>,
    people: Vec<Caller>,
    operator: Caller,
}

// === impl Kind ===

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

// === impl House ===

impl House {
    /// Starts it in the empty directory `dir`, and has everybody sign in.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn open(kind: Kind, size: Size, programs: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        let brokers = match kind {
            Kind::Embedded => 1,
            Kind::Etcd => size.brokers,
        };
        let yard = Yard { kind, size, program: programs.join("rolltop-broker"), dir: dir.into() };
        let mut members = Vec::new();
        if kind == Kind::Etcd {
            for place in 0..MEMBERS {
                let mut member = Kept::new(etcd::recipe(dir, place)?);
                member.start();
                members.push(member);
            }
        }
        let configs: Vec<PathBuf> =
            (0..brokers).map(|broker| yard.configure(broker)).collect::<anyhow::Result<_>>()?;
        let first = configs.first().context("there is no broker")?;
        let names = (0..size.people).map(|place| format!("p{place}"));
        let mut people = Vec::new();
        for (name, role) in names.map(|name| (name, "user")).chain([("olga".into(), "operator")]) {
            let add = ["user", "add", &name, "--role", role, "--generate-password"];
            let password = yard.run_patiently(first, &add).await?;
            people.push(Person { name, password });
        }
        let brokers: Vec<Kept> = configs
            .iter()
            .enumerate()
            .map(|(place, config)| {
                let mut broker = Kept::new(yard.recipe(place, config));
                broker.start();
                broker
            })
            .collect();
        let ca = fs::read_to_string(dir.join("broker-0/ca.pem"))?;
        let mut callers = Vec::new();
        for person in &people {
            // Connections of their own: a broker bounds the calls on one.
            let doors = Doors::new(&ca, PATIENCE)?;
            callers.push(doors.sign_in(person, on_this_machine(BIRTH)).await?);
        }
        let operator = callers.pop().context("nobody has an account")?;
        let Yard { program, dir, .. } = yard;
        let hosts = enrol(&operator, size, &dir).await?;
        let house =
            Self { size, dir, program, kind, members, brokers, hosts, people: callers, operator };
        house.make_pools().await?;
        house.await_hosts().await?;
        Ok(house)
    }

    async fn make_pools(&self) -> anyhow::Result<()> {
        for place in 0..self.size.pools {
            let made = self.operator.put_pool("demo", 0, |pool| {
                pool.name = pool_name(place);
                pool.title = pool_name(place);
            });
            made.await.context("a pool cannot be made")?;
        }
        Ok(())
    }

    /// Until each broker hears each host.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn await_hosts(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + on_this_machine(BIRTH);
        for broker in 0..self.brokers.len() {
            while !self.operator.all_ready(broker).await {
                ensure!(Instant::now() < deadline, "broker {broker} does not hear all hosts");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Everybody.
    pub fn people(&self) -> &[Caller] {
        &self.people
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// The hosts.
    pub fn hosts(&mut self) -> &mut [Agent] {
        &mut self.hosts
    }

    /// The name of the store.
    pub fn store(&self) -> &'static str {
        self.kind.name()
    }

    /// The names of all pools.
    pub fn pools(&self) -> Vec<String> {
        (0..self.size.pools).map(pool_name).collect()
    }

    /// How many hosts are in one of these states, as the first broker sees them.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn hosts_that_are(&self, states: &[HostState]) -> anyhow::Result<usize> {
        let hosts = self.operator.hosts(0).await?;
        Ok(hosts.iter().filter(|host| states.contains(&host.state())).count())
    }

    /// Resident memory of all brokers together, KiB.
    ///
    /// # Errors
    /// One is not there.
    pub fn memory_kib(&self) -> anyhow::Result<u64> {
        self.pids().map(|pid| memory_kib(pid?)).sum()
    }

    /// Processor time that all brokers together have used, in hundredths of a second.
    ///
    /// # Errors
    /// One is not there.
    pub fn ticks(&self) -> anyhow::Result<u64> {
        self.pids().map(|pid| ticks(pid?)).sum()
    }

    fn pids(&self) -> impl Iterator<Item = anyhow::Result<i32>> + '_ {
        self.brokers.iter().map(|broker| broker.pid().context("a broker is not there"))
    }

    /// Ends it, and waits until its ports are free.
    pub async fn close(mut self) {
        for kept in self.brokers.iter_mut().chain(&mut self.members) {
            kept.kill().await;
        }
        let mut ends = JoinSet::new();
        for mut agent in std::mem::take(&mut self.hosts) {
            ends.spawn_blocking(move || agent.vanish());
        }
        while ends.join_next().await.is_some() {}
        drop((self.dir, self.program));
    }
}

fn pool_name(place: usize) -> String {
    format!("pool-{place}")
}

/// `/proc/PID/status`.
fn memory_kib(pid: i32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).context("no VmRSS")?;
    Ok(kib.parse()?)
}

/// `/proc/PID/stat`: user and system time, fields 14 and 15, after a name that
/// may have spaces.
fn ticks(pid: i32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let fields = rest.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().context("not a time")).sum()
}

/// What a house is built with.
struct Yard {
    kind: Kind,
    size: Size,
    program: PathBuf,
    dir: PathBuf,
}

// === impl Yard ===

impl Yard {
    fn configure(&self, broker: u16) -> anyhow::Result<PathBuf> {
        let listen = format!("127.0.0.1:{}", FIRST_BROKER + broker);
        let state = self.dir.join(format!("broker-{broker}")).display().to_string();
        let suspect = i64::try_from(self.size.suspect_s)?;
        let lost = i64::try_from(self.size.lost_s)?;
        let mut text = toml::toml! {
            listen = listen
            state_dir = state
            [hosts]
            suspect_s = suspect
            lost_s = lost
            [desktops]
            start_deadline_s = 600
            [log]
            filter = "warn"
        };
        if self.kind == Kind::Etcd {
            let endpoints: Vec<String> = (0..MEMBERS).map(etcd::endpoint).collect();
            let store = toml::toml! {
                kind = "etcd"
                endpoints = endpoints
            };
            text.insert("store".to_owned(), store.into());
        }
        let path = self.dir.join(format!("broker-{broker}.toml"));
        fs::write(&path, text.to_string())?;
        Ok(path)
    }

    fn recipe(&self, broker: usize, config: &Path) -> Recipe {
        Recipe {
            environment: Vec::new(),
            program: self.program.clone(),
            arguments: vec!["--config".to_owned(), config.display().to_string()],
            uid: 0,
            log: self.dir.join(format!("broker-{broker}.log")),
        }
    }

    async fn run_patiently(&self, config: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let deadline = Instant::now() + on_this_machine(BIRTH);
        loop {
            match self.run(config, arguments).await {
                // The etcd has to elect first.
                Err(_) if Instant::now() < deadline => sleep(LOOK).await,
                done => return done,
            }
        }
    }

    async fn run(&self, config: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config).args(arguments).kill_on_drop(true);
        let output = command.output().await.context("cannot run rolltop-broker")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rolltop-broker {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}
