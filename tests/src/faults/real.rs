//! A host that is real: a machine of its own, an agent, desktops.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{HostDesktop, ListHostDesktopsRequest};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    clocks,
    cluster::host_name,
    house::{self, House, Order},
    kept::Recipe,
    lan,
    sightings::{self, Container},
    witness::Witness,
};
use crate::{
    agent::{Programs, Settings},
    client,
    machine::control_groups,
    patience::on_this_machine,
};

/// For a machine to take orders, and for control groups to become empty.
const SWITCH: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(5);

/// A host. Its machine is switched off if it is dropped; its control groups stay.
#[derive(Debug)]
pub struct RealHost {
    place: usize,
    house: House,
    socket: PathBuf,
    clock: PathBuf,
    machine: Option<Child>,
    witness: Witness,
}

/// What a host is made of.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Which host.
    pub place: usize,
    /// Where the agent is.
    pub programs: &'a Path,
    /// The image store.
    pub images: &'a Path,
    /// For all that it keeps, its credentials among it.
    pub dir: &'a Path,
    /// What all hosts keep for users.
    pub shared: &'a Path,
    /// All of the cluster's files are below it.
    pub files: &'a Path,
    /// What its control group's name begins with.
    pub group: &'a str,
    /// How many desktops it takes.
    pub most: i64,
}

// === impl RealHost ===

impl RealHost {
    /// It is switched off yet.
    ///
    /// # Errors
    /// The agent is missing, or its configuration cannot be written.
    pub fn new(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let (name, dir) = (host_name(plan.place), plan.dir);
        let (socket, clock) = (dir.join("agent.sock"), dir.join("clock"));
        let credentials = |file: &str| dir.join(file).display().to_string();
        let (ca, certificate, key) =
            (credentials("ca.pem"), credentials("host.pem"), credentials("host-key.pem"));
        let (address, most) = (lan::address(plan.place).to_string(), plan.most);
        let (shared, at) = (plan.shared.display().to_string(), socket.display().to_string());
        let group = format!("{}-{name}", plan.group);
        let settings = Settings {
            programs: Programs::in_dir(plan.programs)?,
            dir: dir.to_owned(),
            // The agent mounts a tmpfs there, which does not outlive the machine.
            run_dir: dir.join("run"),
            images: plan.images.to_owned(),
            name: group.clone(),
            runtimes: BTreeMap::new(),
            display_ms: None,
            reserve_mib: None,
            more: toml::toml! {
                name = name
                socket = at
                max_desktops = most
                kept_dir = shared
                kept_sharing = "shared"
                [listen]
                address = address
                ca = ca
                certificate = certificate
                key = key
            },
            credentials: None,
            home_parents: Vec::new(),
            environment: Vec::new(),
        };
        let config = settings.write_config()?.display().to_string();
        let agent = Recipe {
            program: settings.programs.agent.clone(),
            arguments: vec!["--config".to_owned(), config],
            environment: clocks::environment(&clock)?,
            uid: 0,
            log: settings.log(),
        };
        let house = House {
            agent,
            orders: dir.join("orders.sock"),
            files: plan.files.to_owned(),
            run: settings.run_dir.join("agent"),
            group,
            of_desktops: vec![settings.desktops(), dir.join("state/overlays/volatile")],
        };
        let witness = Witness::new(socket.clone());
        Ok(Self { place: plan.place, house, socket, clock, machine: None, witness })
    }

    /// The machine is switched on, and an agent comes up. Again is success.
    ///
    /// # Errors
    /// It does not.
    pub async fn come_up(&mut self) -> anyhow::Result<()> {
        if self.machine.is_none() {
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(self.house.orders.with_file_name("machine.log"))?;
            let mut command = Command::from(self.house.command()?);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
            self.machine = Some(command.spawn().context("cannot run unshare")?);
            lan::plug(self.place, self.boot().await?)?;
        }
        self.order(Order::Start).await.map(drop)
    }

    /// A process of the machine, once it takes orders.
    async fn boot(&self) -> anyhow::Result<i32> {
        let deadline = Instant::now() + on_this_machine(SWITCH);
        loop {
            match UnixStream::connect(&self.house.orders).await {
                Ok(stream) => {
                    let pid = stream.peer_cred()?.pid();
                    return pid.context("a machine without a process");
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("host {} is off", self.place));
                }
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// The power fails: every process is gone at once, and what was in memory.
    ///
    /// # Errors
    /// Something stays.
    pub async fn lose_power(&mut self) -> anyhow::Result<()> {
        let Some(mut machine) = self.machine.take() else { return Ok(()) };
        self.witness.power_failed();
        machine.kill().await?;
        lan::unplugged(self.place).await?;
        fs::remove_file(&self.house.orders)?;
        // They are the kernel's, which goes on here.
        remove_groups(&self.house.group).await
    }

    /// What is to happen to the agent; nothing, without power.
    ///
    /// # Errors
    /// The machine does not take the order.
    pub async fn order(&self, order: Order) -> anyhow::Result<Vec<String>> {
        if self.machine.is_none() {
            return Ok(Vec::new());
        }
        let given = timeout(on_this_machine(SWITCH), house::order(&self.house.orders, order));
        let answer = given.await.with_context(|| format!("host {} is deaf", self.place))?;
        answer.with_context(|| format!("host {}: {order:?}", self.place))
    }

    /// Sets the agent's clock: wrong by so many seconds.
    ///
    /// # Errors
    /// See [`clocks::set`].
    pub fn set_clock(&self, by_s: i64) -> anyhow::Result<()> {
        clocks::set(&self.clock, by_s)
    }

    /// Its name.
    pub fn name(&self) -> String {
        host_name(self.place)
    }

    /// The control group of all its desktops.
    pub fn group(&self) -> &str {
        &self.house.group
    }

    /// What was seen of it.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// What the kernel has of its desktops.
    pub fn containers(&self) -> Vec<Container> {
        sightings::containers(&self.house.group)
    }

    /// What its agent says that there is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn desktops(&self) -> anyhow::Result<Vec<HostDesktop>> {
        let ask = async {
            let mut api = client::connect(&self.socket).await?;
            anyhow::Ok(api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner().desktops)
        };
        let answer = timeout(on_this_machine(ANSWER), ask).await;
        answer.with_context(|| format!("the agent of host {} is silent", self.place))?
    }
}

/// Removes control groups with this in their path, in every tree, once nobody
/// is in them any more.
///
/// # Errors
/// Somebody stays.
pub async fn remove_groups(with: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + on_this_machine(SWITCH);
    loop {
        // What lies deeper is longer.
        let mut all: Vec<String> = control_groups(with)?.into_iter().collect();
        all.sort_by_key(|path| std::cmp::Reverse(path.len()));
        let failed = all.iter().find_map(|path| {
            let error = fs::remove_dir(path).err()?;
            (error.kind() != io::ErrorKind::NotFound).then(|| format!("{path}: {error}"))
        });
        let Some(failed) = failed else { return Ok(()) };
        ensure!(Instant::now() < deadline, "a control group cannot be removed: {failed}");
        sleep(Duration::from_millis(10)).await;
    }
}
