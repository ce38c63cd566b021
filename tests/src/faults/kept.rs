//! A process that is kept up, as a service manager does, until it is killed.

use std::{
    fs::File,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, task::JoinHandle, time::sleep};

/// Before one that ended is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// What is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Environment variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// Whom it runs as: its packets can be told by that.
    pub uid: u32,
    /// Where it logs to, behind what is there.
    pub log: PathBuf,
}

/// A process that is kept up. Killed if dropped.
#[derive(Debug)]
pub struct Kept {
    recipe: Recipe,
    pid: Arc<AtomicI32>,
    keeper: Option<JoinHandle<()>>,
}

// === impl Recipe ===

impl Recipe {
    fn command(&self) -> anyhow::Result<Command> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .uid(self.uid)
            .gid(self.uid)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }
}

// === impl Kept ===

impl Kept {
    /// Not started yet.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, pid: Arc::default(), keeper: None }
    }

    /// Starts it, if it is not there.
    pub fn start(&mut self) {
        if self.keeper.is_some() {
            return;
        }
        let (recipe, pid) = (self.recipe.clone(), Arc::clone(&self.pid));
        self.keeper = Some(tokio::spawn(async move {
            loop {
                match run(&recipe, &pid).await {
                    Ok(()) => {}
                    Err(error) => eprintln!("{error:#}"),
                }
                sleep(PAUSE).await;
            }
        }));
    }

    /// Kills it, as nothing can be prepared for, and leaves it so.
    pub async fn kill(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
            // It was aborted: that is no news.
            keeper.await.unwrap_or_default();
        }
        self.pid.store(0, Ordering::SeqCst);
    }

    /// Sends a signal, if it is there.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid.load(Ordering::SeqCst);
        if pid > 0 {
            // It may have ended this moment.
            kill(Pid::from_raw(pid), signal).unwrap_or_default();
        }
    }

    /// Its process id, while it is there.
    pub fn pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::SeqCst)).filter(|pid| *pid > 0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
    }
}

async fn run(recipe: &Recipe, pid: &AtomicI32) -> anyhow::Result<()> {
    let child = recipe.command()?.spawn();
    let mut child = child.with_context(|| format!("cannot run {}", recipe.program.display()))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
    pid.store(id, Ordering::SeqCst);
    let ended = child.wait().await;
    pid.store(0, Ordering::SeqCst);
    ended.map(drop).context("cannot wait for a process")
}
