//! Commands as an administrator would run them.

use std::{
    io::{Read as _, Seek as _},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use nix::{sys::wait::waitpid, unistd::Pid};
use tokio::process::Command;

/// Runs a command to its end.
///
/// # Errors
/// It is missing or fails; with what it said.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<()> {
    // Not a pipe: what a command leaves running would keep that open.
    let mut said = tempfile::tempfile()?;
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("cannot run {name}"))?;
    let mut text = String::new();
    if !status.success() {
        said.rewind()?;
        said.read_to_string(&mut text)?;
    }
    ensure!(status.success(), "{name}: {status}: {}", text.trim());
    Ok(())
}

/// Waits for the end of a process that a command left to this one.
///
/// # Errors
/// It is nobody's, or another's.
pub(crate) async fn reap(pid: Pid) -> anyhow::Result<()> {
    let reaped = tokio::task::spawn_blocking(move || waitpid(pid, None)).await?;
    reaped.with_context(|| format!("process {pid} cannot be waited for"))?;
    Ok(())
}
