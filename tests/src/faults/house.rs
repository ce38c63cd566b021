//! The machine of a host: this program once more, in namespaces of its own,
//! where it keeps the agent up and tells what there is. Whatever is there ends
//! with it, as by a power failure.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};

use super::{
    kept::{Kept, Recipe},
    lan,
};
use crate::{
    agent::Settings,
    isolation,
    machine::{Change, Kind, Scope, Snapshot},
};

/// Set within one: what it is, as JSON.
const HOUSE: &str = "ROLLTOP_FAULTS_HOUSE";

/// What a machine is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct House {
    /// How to run its agent.
    pub agent: Recipe,
    /// Where it takes orders.
    pub orders: PathBuf,
    /// Below it are the files its loop devices may hold.
    pub files: PathBuf,
    /// What the agent keeps while it runs.
    pub run: PathBuf,
    /// Its control group.
    pub group: String,
    /// Directories in which there is something for each desktop.
    pub of_desktops: Vec<PathBuf>,
}

/// What a machine is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Keep the agent up.
    Start,
    /// Kill it, and leave it so.
    Kill,
    /// Have it end; the next one begins.
    End,
    /// Stop it where it is.
    Pause,
    /// Let it go on.
    Resume,
    /// Tell what there is beside what an agent without desktops has.
    Left,
}

// === impl House ===

impl House {
    /// The machine that this process is to be; none: it is not to be one.
    ///
    /// # Errors
    /// It is told nonsense.
    pub fn inside() -> anyhow::Result<Option<Self>> {
        let told = std::env::var(HOUSE).ok();
        told.map(|text| serde_json::from_str(&text).context(HOUSE)).transpose()
    }

    /// How to switch it on: a process that is all of it.
    ///
    /// # Errors
    /// This program's own path is unknown.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = isolation::command(&std::env::current_exe()?)?;
        command.env(HOUSE, serde_json::to_string(self)?);
        Ok(command)
    }

    /// Is the machine, until it is killed.
    ///
    /// # Errors
    /// The kernel refuses what makes it one.
    pub async fn stand(self) -> anyhow::Result<()> {
        isolation::furnish()?;
        let before = self.snapshot()?;
        let mut agent = Kept::new(self.agent.clone());
        if self.orders.exists() {
            fs::remove_file(&self.orders)?;
        }
        let listener = UnixListener::bind(&self.orders)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                // Somebody only wanted to know whether it is up.
                continue;
            }
            let mut said = Vec::new();
            match serde_json::from_str(&line)? {
                Order::Start => agent.start(),
                Order::Kill => agent.kill().await,
                Order::End => agent.signal(Signal::SIGTERM),
                Order::Pause => agent.signal(Signal::SIGSTOP),
                Order::Resume => agent.signal(Signal::SIGCONT),
                // It stands on, whatever cannot be read now.
                Order::Left => {
                    said = self.left(&before).unwrap_or_else(|error| vec![format!("{error:#}")]);
                }
            }
            let answer = serde_json::to_string(&said)? + "\n";
            if let Err(error) = stream.get_mut().write_all(answer.as_bytes()).await {
                eprintln!("nobody waits for the answer {said:?}: {error}");
            }
        }
    }

    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Snapshot::take(Scope { loop_files: &self.files, control_groups: &self.group })
    }

    /// In sentences.
    fn left(&self, before: &Snapshot) -> anyhow::Result<Vec<String>> {
        let changes = self.snapshot()?.since(before);
        let mut left: Vec<String> =
            changes.iter().filter(|change| !self.stands(change)).map(Change::to_string).collect();
        for dir in &self.of_desktops {
            left.extend(
                entries(dir)?
                    .into_iter()
                    .map(|name| format!("in {} was left: {name}", dir.display())),
            );
        }
        left.extend(
            elements()?.into_iter().map(|one| format!("in the packet filter was left: {one}")),
        );
        Ok(left)
    }

    /// What an agent without desktops has, or another machine.
    fn stands(&self, Change { kind, appeared, name }: &Change) -> bool {
        match kind {
            // Other hosts' files are below the same directory.
            Kind::Loop => !appeared,
            Kind::Process => *appeared && name.contains(" (rolltop-agent) "),
            Kind::Link => *appeared && [Settings::BRIDGE, lan::INSIDE].contains(&name.as_str()),
            Kind::FilterTable => *appeared && name.ends_with(" rolltop"),
            Kind::ControlGroup => *appeared && name.ends_with(&self.group),
            Kind::DiskRate => false,
            // Base roots stay mounted: the next desktop comes sooner.
            Kind::Mount => {
                let run = self.run.display().to_string();
                let rest = name.strip_prefix(&run);
                *appeared
                    && rest
                        .is_some_and(|rest| rest.starts_with(" of ") || rest.starts_with("/bases"))
            }
        }
    }
}

fn entries(dir: &Path) -> anyhow::Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    entries.collect()
}

/// What the agent's tables have of desktops.
fn elements() -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new("nft").args(["--json", "list", "ruleset"]).output()?;
    ensure!(output.status.success(), "nft cannot list its rules");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut found = BTreeSet::new();
    for object in all["nftables"].as_array().into_iter().flatten() {
        for set in ["set", "map"].iter().filter_map(|kind| object.get(kind)) {
            for element in set["elem"].as_array().into_iter().flatten() {
                found.insert(format!("{} {element}", set["name"]));
            }
        }
    }
    // What stands as long as the agent does: name servers, the host's addresses.
    let stands = |element: &str| element.contains("name_servers") || element.starts_with("\"host");
    found.retain(|element| !stands(element));
    Ok(found)
}

/// Gives an order to the machine that takes them at `at`; what it answers.
///
/// # Errors
/// There is none, or it fails.
pub async fn order(at: &Path, order: Order) -> anyhow::Result<Vec<String>> {
    let mut stream = BufReader::new(UnixStream::connect(at).await?);
    let line = serde_json::to_string(&order)? + "\n";
    stream.get_mut().write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    serde_json::from_str(&answer).with_context(|| format!("no answer to {order:?}"))
}
