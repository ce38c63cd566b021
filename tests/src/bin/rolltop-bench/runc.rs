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

use rolltop_tests::bench::Report;

use crate::{arguments::Arguments, names::RUNC_INIT, shell, stage::Stage};

const ID: &str = "reference";

/// A bundle for `runc`: that of a running desktop, with the same joined root,
/// in a control group of its own.
#[derive(Debug)]
pub(crate) struct Runc {
    program: PathBuf,
    state: PathBuf,
    bundle: PathBuf,
}

impl Runc {
    /// # Errors
    /// The agent keeps no bundle of desktop `donor`.
    pub(crate) fn prepare(
        arguments: &Arguments,
        stage: &Stage,
        donor: u32,
    ) -> anyhow::Result<Self> {
        let theirs = stage.agent.settings().bundle(donor).join("config.json");
        let text = fs::read_to_string(&theirs)
            .with_context(|| format!("cannot read {}", theirs.display()))?;
        let mut config: Value = serde_json::from_str(&text)?;
        let path = config.pointer_mut("/linux/cgroupsPath").context("a bundle without a group")?;
        *path = json!(format!("/{}-runc", stage.name));
        let bundle = stage.scratch.join("bundle");
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), config.to_string())?;
        // Where runc has it too.
        let state = Path::new("/run").join(&stage.name).join("runc");
        Ok(Self { program: arguments.runc.clone(), state, bundle })
    }

    /// Runs init until it is running, and takes it away.
    pub(crate) async fn measure(&self, figures: &mut Report) -> anyhow::Result<()> {
        let pid_file = self.bundle.join("pid");
        let begun = Instant::now();
        let mut run = self.command("run");
        run.args(["--detach", "--bundle"]).arg(&self.bundle).arg("--pid-file").arg(&pid_file);
        shell::run(run.arg(ID)).await?;
        figures.add_time(RUNC_INIT, begun.elapsed());

        let begun = Instant::now();
        let pid = Pid::from_raw(fs::read_to_string(&pid_file)?.trim().parse()?);
        kill(pid, Signal::SIGKILL)?;
        // It is this process's child now; runc waits long for one that nobody
        // reaps.
        shell::reap(pid).await.context("the init of `runc run`")?;
        shell::run(self.command("delete").arg(ID)).await?;
        figures.add_time("runc: killed and deleted", begun.elapsed());
        Ok(())
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg(verb);
        command
    }
}
