//! What the store says at one moment: an export of it, as operators make them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::process::Command;

/// Everything that is said about desktops.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By "pool/user".
    pub desktops: BTreeMap<String, Noted>,
    /// Made ahead, by key.
    pub warm: BTreeMap<String, NotedWarm>,
    /// Whose a number is.
    pub numbers: BTreeMap<u32, String>,
    /// Numbers that hosts out of reach may still use.
    pub held: Vec<Held>,
    /// What is claimed on every host.
    pub capacities: BTreeMap<String, Capacity>,
    /// How many desktops every pool has.
    pub pools: BTreeMap<String, u32>,
    /// Where kept overlays are.
    pub overlays: BTreeMap<String, Kept>,
    /// The last epoch given.
    pub epoch: u64,
}

/// A desktop, as it is noted.
#[derive(Clone, Debug, Deserialize)]
pub struct Noted {
    /// "starting", "running", "stopping", "failed" or "gone".
    pub state: String,
    /// Its number.
    pub number: u32,
    /// Which life of it.
    pub epoch: u64,
    /// Where.
    pub host: String,
    /// What it may use.
    pub limits: Limits,
    /// Its kept overlay; empty: none.
    pub overlay: String,
}

/// A desktop that nobody has yet.
#[derive(Clone, Debug, Deserialize)]
pub struct NotedWarm {
    /// Its number.
    pub number: u32,
    /// Which life of it.
    pub epoch: u64,
    /// Where.
    pub host: String,
    /// What it is made by.
    pub recipe: Recipe,
}

/// What a warm desktop is made by.
#[derive(Clone, Debug, Deserialize)]
pub struct Recipe {
    /// What it may use.
    pub limits: Limits,
}

/// What a desktop may use.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Limits {
    /// Memory.
    pub memory_mib: i64,
}

/// A number that a host may still use.
#[derive(Clone, Debug)]
pub struct Held {
    /// The host.
    pub host: String,
    /// The number.
    pub number: u32,
}

/// What is claimed on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Capacity {
    /// How many.
    pub desktops: i64,
    /// Sum of their memory limits.
    pub memory_mib: i64,
}

/// A kept overlay.
#[derive(Clone, Debug, Deserialize)]
pub struct Kept {
    /// Where.
    pub host: String,
}

#[derive(Deserialize)]
struct PoolUse {
    desktops: u32,
}

#[derive(Deserialize)]
struct Number {
    desktop: String,
}

#[derive(Deserialize)]
struct Counter {
    last: u64,
}

#[derive(Deserialize)]
struct Line {
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct Content<T> {
    d: T,
}

// === impl Noted ===

impl Noted {
    /// Whether room is claimed for it.
    pub fn holds_room(&self) -> bool {
        matches!(self.state.as_str(), "starting" | "running" | "stopping")
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Reads the store; none: the store cannot be read now.
    ///
    /// # Errors
    /// `broker` cannot be run, or what it writes cannot be read.
    pub async fn take(broker: &Path, config: &Path, file: &Path) -> anyhow::Result<Option<Self>> {
        for old in [file.to_path_buf(), file.with_extension("jsonl.part")] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        let output = Command::new(broker)
            .arg("--config")
            .arg(config)
            .args(["store", "export"])
            .arg(file)
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run rolltop-broker")?;
        if !output.status.success() {
            return Ok(None);
        }
        Self::parse(&fs::read_to_string(file)?).map(Some)
    }

    /// From an export.
    ///
    /// # Errors
    /// It is not one, or of a version unknown here.
    pub fn parse(export: &str) -> anyhow::Result<Self> {
        let mut snapshot = Self::default();
        let mut lines = export.lines();
        ensure!(lines.next().is_some_and(|line| line.contains("rolltop-store")), "not an export");
        // All but the last, which counts them.
        for line in lines.filter(|line| line.starts_with("{\"key\"")) {
            let Line { key, value } = serde_json::from_str(line)?;
            let value = BASE64_STANDARD.decode(value)?;
            snapshot.add(&key, &value).with_context(|| format!("the record of {key}"))?;
        }
        Ok(snapshot)
    }

    fn add(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let Some((kind, name)) = key.split_once('/') else { return Ok(()) };
        match kind {
            "desktop" => drop(self.desktops.insert(name.to_owned(), content(value)?)),
            "warm" => drop(self.warm.insert(name.to_owned(), content(value)?)),
            "number" => {
                let Number { desktop } = content(value)?;
                self.numbers.insert(name.parse()?, desktop);
            }
            "held" => {
                let (host, number) = name.split_once('/').context("no number in its key")?;
                self.held.push(Held { host: host.to_owned(), number: number.parse()? });
            }
            "capacity" => drop(self.capacities.insert(name.to_owned(), content(value)?)),
            "pool-use" => {
                let PoolUse { desktops } = content(value)?;
                self.pools.insert(name.to_owned(), desktops);
            }
            "overlay" => drop(self.overlays.insert(name.to_owned(), content(value)?)),
            "counter" if name == "epoch" => self.epoch = content::<Counter>(value)?.last,
            _ => {}
        }
        Ok(())
    }
}

fn content<T: DeserializeOwned>(value: &[u8]) -> anyhow::Result<T> {
    Ok(serde_json::from_slice::<Content<T>>(value)?.d)
}
