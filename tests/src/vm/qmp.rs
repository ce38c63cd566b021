//! QEMU's own control socket (the QEMU Machine Protocol): JSON, a line each.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// QEMU answers from its main loop, which a busy machine may keep waiting.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    pub(super) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).context("cannot reach QEMU's control socket")?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.line()?;
        ensure!(greeting.get("QMP").is_some(), "QEMU greets with {greeting}");
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn call(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.reader.get_mut(), "{request}").context("QEMU takes no commands")?;
        loop {
            let mut line = self.line()?;
            if let Some(error) = line.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // Everything else is an event.
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).context("QEMU does not answer")?;
        ensure!(length > 0, "QEMU has ended");
        serde_json::from_str(&line).with_context(|| format!("QEMU answers with {line}"))
    }

    /// Stops the guest and writes its memory and devices to `file`. QEMU is of
    /// no use afterwards.
    pub(super) fn save(&mut self, file: &Path, deadline: Instant) -> anyhow::Result<()> {
        self.call("stop", json!({}))?;
        self.call("migrate", json!({ "uri": format!("file:{}", file.display()) }))?;
        loop {
            let state = self.call("query-migrate", json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => bail!("the guest cannot be saved: {state}"),
                _ => ensure!(Instant::now() < deadline, "saving the guest takes too long"),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until a saved guest is restored, and lets it run.
    pub(super) fn resume(&mut self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let state = self.call("query-status", json!({}))?;
            match state["status"].as_str() {
                Some("running") => return Ok(()),
                Some("inmigrate") => {
                    ensure!(Instant::now() < deadline, "restoring the guest takes too long");
                    std::thread::sleep(PAUSE);
                }
                _ => {
                    self.call("cont", json!({}))?;
                }
            }
        }
    }
}
