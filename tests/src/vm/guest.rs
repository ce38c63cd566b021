//! A running guest.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Write, sink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use nix::fcntl::Flock;

use super::{
    channel::{Channel, Output},
    qemu::Sockets,
    qmp::Qmp,
    scratch::Scratch,
};

/// For QEMU to make its sockets.
const SOCKETS_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// Of its console, shown when something fails.
const CONSOLE_LINES: usize = 80;
const JOURNAL_LIMIT: Duration = Duration::from_secs(60);

/// A guest that runs. Killed when dropped, and when the thread that started it
/// ends.
#[derive(Debug)]
pub struct Guest {
    name: String,
    process: Child,
    channel: Channel,
    pub(super) control: Qmp,
    sockets: Sockets,
    started: SystemTime,
    /// The saved guest it was restored from must not be made anew meanwhile.
    pub(super) saved: Option<Flock<File>>,
    /// Sockets, console, QEMU's own words; removed when dropped.
    dir: Scratch,
}

impl Guest {
    /// Starts QEMU. `call` makes its arguments from where its sockets are to be.
    pub(super) fn start(
        name: &str,
        tools: &Path,
        call: impl FnOnce(&Path, &Sockets) -> anyhow::Result<Vec<OsString>>,
    ) -> anyhow::Result<Self> {
        // Not in the cache: names of sockets must be short.
        let dir = Scratch::create(&std::env::temp_dir(), "rolltop-guest-")?;
        let sockets = Sockets::in_dir(dir.path());
        let words = File::create(dir.path().join("qemu.log"))?;
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tools.join("run"))
            .arg("qemu-system-x86_64")
            .args(call(dir.path(), &sockets)?)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            .spawn()
            .context("cannot run QEMU")?;
        match reach(&mut process, &sockets) {
            Ok((channel, control)) => {
                let (name, started) = (name.into(), SystemTime::now());
                Ok(Self { name, process, channel, control, sockets, started, saved: None, dir })
            }
            Err(error) => {
                end(&mut process)?;
                Err(error.context(read(&dir.path().join("qemu.log"))))
            }
        }
    }

    /// Waits until it has booted.
    pub(super) fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let ready = self.channel.wait_ready(Instant::now() + limit);
        ready.map_err(|error| self.explain(error))
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process of QEMU.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs a command of `bash` as root; its output, and how it ended. Whatever
    /// it leaves running in the background must not write to its output.
    ///
    /// # Errors
    /// The guest has ended, or does not answer within `limit`; with the end of
    /// its console.
    pub fn run(&mut self, command: &str, limit: Duration) -> anyhow::Result<Output> {
        self.run_to(command, limit, &mut sink())
    }

    /// Like [`Guest::run`]; the output also goes to `sink` as it comes.
    ///
    /// # Errors
    /// As [`Guest::run`], or `sink` fails.
    pub fn run_to(
        &mut self,
        command: &str,
        limit: Duration,
        sink: &mut dyn Write,
    ) -> anyhow::Result<Output> {
        let output = self.channel.run(command, Instant::now() + limit, sink);
        output.map_err(|error| self.explain(error).context(format!("while it ran `{command}`")))
    }

    /// Runs a command that must succeed; what it wrote.
    ///
    /// # Errors
    /// As [`Guest::run`], or it fails; with what it wrote.
    pub fn sh(&mut self, command: &str, limit: Duration) -> anyhow::Result<String> {
        let output = self.run(command, limit)?;
        let text = output.text();
        let name = &self.name;
        ensure!(output.status == 0, "on {name} `{command}` ended with {}: {text}", output.status);
        Ok(text)
    }

    /// Cuts its power: QEMU is killed (`SIGKILL`). See [the module](super) for
    /// what that does to its disks.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn cut_power(mut self) -> anyhow::Result<()> {
        end(&mut self.process)
    }

    /// What it printed to its console.
    pub fn console(&self) -> String {
        read(&self.sockets.console)
    }

    /// The end of what it knows of itself, for a person who looks for a fault:
    /// its console, and its journal where it still answers.
    pub fn last_words(&mut self) -> String {
        let mut words = format!("--- console of {}\n{}", self.name, tail(&self.console()));
        // Without what all that were restored have in common.
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let journal = format!("journalctl --no-pager --no-hostname --lines 100 --since @{since}");
        match self.channel.run(&journal, Instant::now() + JOURNAL_LIMIT, &mut sink()) {
            Ok(output) => {
                words += &format!("\n--- journal of {}\n{}", self.name, output.text());
            }
            Err(error) => words += &format!("\n--- no journal: {error:#}"),
        }
        words
    }

    /// Adds what is known of the guest.
    fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let ended = match self.process.try_wait() {
            Ok(Some(status)) => format!("QEMU has ended ({status}); "),
            Ok(None) => String::new(),
            Err(error) => format!("QEMU cannot be looked at ({error}); "),
        };
        let words = read(&self.dir.path().join("qemu.log"));
        let console = tail(&self.console());
        error.context(format!(
            "guest {}: {ended}{words}its console ends with:\n{console}",
            self.name
        ))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // What cannot be killed or waited for is gone.
        drop(end(&mut self.process));
    }
}

fn end(process: &mut Child) -> anyhow::Result<()> {
    process.kill().context("cannot kill QEMU")?;
    process.wait().context("cannot wait for QEMU")?;
    Ok(())
}

/// Connects to its sockets as soon as they are there.
fn reach(process: &mut Child, sockets: &Sockets) -> anyhow::Result<(Channel, Qmp)> {
    let deadline = Instant::now() + SOCKETS_LIMIT;
    loop {
        if let Some(status) = process.try_wait()? {
            bail!("QEMU has ended: {status}");
        }
        // The control socket is the later one.
        if let Ok(control) = Qmp::connect(&sockets.control) {
            return Ok((Channel::connect(&sockets.commands)?, control));
        }
        ensure!(Instant::now() < deadline, "QEMU makes no sockets within {SOCKETS_LIMIT:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Whatever is in a log; nothing where there is none.
fn read(file: &PathBuf) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
