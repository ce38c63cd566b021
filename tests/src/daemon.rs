//! A daemon of one's own: started, waited for as a service manager does, killed
//! or asked to end.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
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

use crate::patience::on_this_machine;

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Of its log, shown when it fails.
const LOG_LINES: usize = 20;

/// A running daemon. Killed if dropped.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `program --config CONFIG` and waits until it says that it serves
    /// (`sd_notify(3)`). It logs to `log`, behind what is there, and has
    /// `environment` beside this process's own.
    ///
    /// # Errors
    /// It ends, or does not serve in time; with the end of its log.
    pub async fn start(
        name: &'static str,
        program: &Path,
        config: &Path,
        log: PathBuf,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let notices = log.with_extension("notify");
        match fs::remove_file(&notices) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let receiver = UnixDatagram::bind(&notices).context("cannot listen for readiness")?;
        let output = File::options().create(true).append(true).open(&log)?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(config)
            .env("NOTIFY_SOCKET", &notices)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let ready = tokio::select! {
            ready = timeout(on_this_machine(START_LIMIT), is_ready(&receiver)) => match ready {
                Ok(ready) => ready,
                Err(_elapsed) => bail!("the {name} does not serve within {START_LIMIT:?}\n{}", tail(&log)),
            },
            ended = child.wait() => bail!("the {name} ended: {}\n{}", ended?, tail(&log)),
        };
        ready?;
        Ok(Self { name, log, child })
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("the {} has ended\n{}", self.name, tail(&self.log)))
    }

    /// Lets it end.
    ///
    /// # Errors
    /// It does not end in time, or badly.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let name = self.name;
        let pid = i32::try_from(self.pid()?)?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .with_context(|| format!("cannot ask the {name} to end"))?;
        let ended = timeout(on_this_machine(STOP_LIMIT), self.child.wait()).await;
        let status =
            ended.with_context(|| format!("the {name} does not end within {STOP_LIMIT:?}"))??;
        ensure!(status.success(), "the {name} ended: {status}\n{}", tail(&self.log));
        Ok(())
    }

    /// Waits until it has ended, which something else sees to.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        let name = self.name;
        let ended = timeout(on_this_machine(STOP_LIMIT), self.child.wait()).await;
        ended.with_context(|| format!("the {name} does not end within {STOP_LIMIT:?}"))??;
        Ok(())
    }

    /// Kills it, as nothing can be prepared for.
    ///
    /// # Errors
    /// It had ended already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.pid()?;
        self.child.kill().await.with_context(|| format!("cannot kill the {}", self.name))
    }
}

/// What service managers are told.
async fn is_ready(receiver: &UnixDatagram) -> anyhow::Result<()> {
    let mut notice = [0; 4096];
    loop {
        let length = receiver.recv(&mut notice).await?;
        if notice[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(());
        }
    }
}

fn tail(log: &Path) -> String {
    // No log: it never ran.
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
