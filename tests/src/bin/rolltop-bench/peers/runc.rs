//! Reference: `runc run` with the OCI configuration the agent wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Once, SLOTS};
use crate::{arguments::Arguments, shell, stage::Stage};

/// Bundles for `runc`: that of a running desktop, with the same joined root,
/// in control groups of their own.
#[derive(Debug)]
pub(crate) struct Runc {
    program: PathBuf,
    state: PathBuf,
    bundles: PathBuf,
}

impl Runc {
    /// # Errors
    /// The agent keeps no bundle of desktop `donor`.
    pub(super) fn prepare(
        arguments: &Arguments,
        stage: &Stage,
        donor: u32,
    ) -> anyhow::Result<Self> {
        let theirs = stage.agent.settings().bundle(donor).join("config.json");
        let text = fs::read_to_string(&theirs)
            .with_context(|| format!("cannot read {}", theirs.display()))?;
        let mut config: Value = serde_json::from_str(&text)?;
        // It knows no limits of a user namespace, and refuses them.
        if let Some(settings) = config.pointer_mut("/linux/sysctl").and_then(Value::as_object_mut) {
            settings.retain(|name, _| !name.starts_with("user."));
        }
        let bundles = stage.scratch.join("bundles");
        for slot in 0..SLOTS {
            let path =
                config.pointer_mut("/linux/cgroupsPath").context("a bundle without a group")?;
            *path = json!(format!("/{}-runc-{slot}", stage.name));
            let bundle = bundles.join(slot.to_string());
            fs::create_dir_all(&bundle)?;
            fs::write(bundle.join("config.json"), config.to_string())?;
        }
        // Where runc has it too.
        let state = Path::new("/run").join(&stage.name).join("runc");
        Ok(Self { program: arguments.runc.clone(), state, bundles })
    }

    /// Runs init until it is running, and takes it away.
    pub(super) async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        let bundle = self.bundles.join(slot.to_string());
        let id = format!("reference-{slot}");
        let pid_file = bundle.join("pid");
        let begun = Instant::now();
        let mut run = self.command("run");
        run.args(["--detach", "--bundle"]).arg(&bundle).arg("--pid-file").arg(&pid_file);
        shell::run(run.arg(&id)).await?;
        let init = begun.elapsed();

        let begun = Instant::now();
        let pid = Pid::from_raw(fs::read_to_string(&pid_file)?.trim().parse()?);
        kill(pid, Signal::SIGKILL)?;
        // It is this process's child now; runc waits long for one that nobody
        // reaps.
        shell::reap(pid).await.context("the init of `runc run`")?;
        shell::run(self.command("delete").arg(&id)).await?;
        Ok(Once { init, released: Some(begun.elapsed()), parts: Vec::new() })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg(verb);
        command
    }
}
