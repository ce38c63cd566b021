//! An agent of one's own, on directories of one's own.

mod settings;

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
    time::timeout,
};

pub use settings::{Programs, Settings};

use crate::client::{self, Api};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Of its log, shown when it fails.
const LOG_LINES: usize = 20;

/// A running agent. Killed if dropped; its desktops run on then.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    child: Child,
}

impl Agent {
    /// Starts an agent and waits until it serves.
    ///
    /// # Errors
    /// It ends, or does not serve in time; with the end of its log.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let config = settings.write_config()?;
        let notices = settings.dir.join("notify");
        remove_if_there(&notices)?;
        let receiver = UnixDatagram::bind(&notices).context("cannot listen for readiness")?;
        let log = File::options().create(true).append(true).open(settings.log())?;
        let mut child = Command::new(&settings.programs.agent)
            .arg("--config")
            .arg(config)
            .env("NOTIFY_SOCKET", &notices)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", settings.programs.agent.display()))?;
        let ready = tokio::select! {
            ready = timeout(START_LIMIT, is_ready(&receiver)) => match ready {
                Ok(ready) => ready,
                Err(_elapsed) => bail!("the agent does not serve within {START_LIMIT:?}\n{}", tail(&settings)),
            },
            ended = child.wait() => bail!("the agent ended: {}\n{}", ended?, tail(&settings)),
        };
        ready?;
        Ok(Self { settings, child })
    }

    /// A new connection to it.
    ///
    /// # Errors
    /// It does not answer any more.
    pub async fn api(&self) -> anyhow::Result<Api> {
        client::connect(&self.settings.socket()).await
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
        self.child.id().with_context(|| format!("the agent has ended\n{}", tail(&self.settings)))
    }

    /// Lets it end; its desktops run on.
    ///
    /// # Errors
    /// It does not end in time, or badly.
    pub async fn end(mut self) -> anyhow::Result<Settings> {
        let pid = i32::try_from(self.pid()?)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("cannot ask the agent to end")?;
        let ended = timeout(STOP_LIMIT, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("the agent does not end within {STOP_LIMIT:?}"))??;
        ensure!(status.success(), "the agent ended: {status}\n{}", tail(&self.settings));
        Ok(self.settings)
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

/// What service managers are told (`sd_notify(3)`).
async fn is_ready(receiver: &UnixDatagram) -> anyhow::Result<()> {
    let mut notice = [0; 4096];
    loop {
        let length = receiver.recv(&mut notice).await?;
        if notice[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

fn tail(settings: &Settings) -> String {
    // No log: it never ran.
    let log = fs::read_to_string(settings.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
