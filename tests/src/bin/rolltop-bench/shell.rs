//! Commands as an administrator would run them.

use std::{
    io::{Read as _, Seek as _},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::{sys::wait::waitpid, unistd::Pid};
use tokio::{io::AsyncReadExt as _, process::Command};

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

/// A program of a container that says that it runs, and ends.
pub(crate) const SAY_AND_END: [&str; 2] = ["/bin/echo", "up"];

/// Whether there is such a program in the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a command to its end; returns when it first wrote something.
///
/// # Errors
/// It is missing, silent, or fails; with what it said.
pub(crate) async fn until_it_speaks(command: &mut Command) -> anyhow::Result<Duration> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut out = child.stdout.take().context("no output")?;
    let mut first = [0; 1];
    let length = out.read(&mut first).await?;
    let elapsed = begun.elapsed();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).await?;
    let output = child.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {}", output.status, text.trim());
    ensure!(length == 1, "{name} said nothing");
    Ok(elapsed)
}
