//! An agent of one's own, on directories of one's own.

mod settings;

use std::process::Stdio;

use anyhow::ensure;
use tokio::process::Command;

pub use settings::{Programs, Settings};

use crate::{
    client::{self, Api, Stats, Storage},
    daemon::Daemon,
};

/// A running agent. Killed if dropped; its desktops run on then.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    daemon: Daemon,
}

impl Agent {
    /// Starts an agent and waits until it serves.
    ///
    /// # Errors
    /// It ends, or does not serve in time; with the end of its log.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let config = settings.write_config()?;
        let program = &settings.programs.agent;
        let daemon =
            Daemon::start("agent", program, &config, settings.log(), &settings.environment).await?;
        Ok(Self { settings, daemon })
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// It does not answer any more.
    pub async fn api(&self) -> anyhow::Result<Api> {
        client::connect(&self.settings.socket()).await
    }

    /// A new connection to what it keeps on disk.
    ///
    /// # Errors
    /// It does not answer any more.
    pub async fn storage(&self) -> anyhow::Result<Storage> {
        client::connect_storage(&self.settings.socket()).await
    }

    /// A new connection to what it tells of its desktops.
    ///
    /// # Errors
    /// It does not answer any more.
    pub async fn stats(&self) -> anyhow::Result<Stats> {
        client::connect_stats(&self.settings.socket()).await
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.daemon.pid()
    }

    /// Lets it end; its desktops run on.
    ///
    /// # Errors
    /// It does not end in time, or badly.
    pub async fn end(self) -> anyhow::Result<Settings> {
        self.daemon.end().await?;
        Ok(self.settings)
    }

    /// Waits until it has ended, which something else sees to.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.daemon.ended().await
    }

    /// Lets it end and takes off the machine what it made: `rolltop-agent purge`.
    ///
    /// # Errors
    /// Something of it stays.
    pub async fn purge(self) -> anyhow::Result<()> {
        let settings = self.end().await?;
        let output = Command::new(&settings.programs.agent)
            .arg("--config")
            .arg(settings.config())
            .arg("purge")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the agent cannot be purged: {said}");
        Ok(())
    }
}
