//! The command line.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::Parser;
use tempfile::TempDir;

/// Measures how long desktops take to come and go, beside the bare system calls,
/// other ways to have a container, and the forerunner's shell steps.
#[derive(Debug, Parser)]
#[command(name = "rolltop-bench", version)]
pub(crate) struct Arguments {
    /// Image store with the image
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Image of a desktop that is drawn by itself; kept as an EROFS file
    #[arg(long, default_value = "demo:stable")]
    pub(crate) image: String,
    /// Rounds of one desktop at a time, each beside the references
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Rounds of many desktops at once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) crowds: u32,
    /// Directory on a real disk to work in, made if missing; not below /run
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Directory with rolltop-agent and rolltop-launcher [default: where this
    /// program is]
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// An OCI runtime to compare with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/runc")]
    pub(crate) runc: PathBuf,
    /// Measure again while so many small desktops are alive; may be repeated, in
    /// growing order
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) alive: Vec<u32>,
    /// With --alive: look at the agent for so long while all are idle
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    pub(crate) idle: u64,
    /// Let so many small desktops come and go, eight at a time, and look at what
    /// the agent has then
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) cycles: u32,
    /// Write the figures here too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// The image store, by an absolute path, as the agent's configuration
    /// wants it.
    pub(crate) fn images(&self) -> anyhow::Result<PathBuf> {
        let path = &self.images;
        path.canonicalize().with_context(|| format!("no image store at {}", path.display()))
    }

    /// A program of this project, beside this one.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = match &self.programs {
            Some(dir) => dir.canonicalize().context("no such --programs")?,
            None => std::env::current_exe()?.parent().context("it lies nowhere")?.to_owned(),
        };
        let path = dir.join(name);
        ensure!(path.is_file(), "{} is missing: build rolltop-tests first", path.display());
        Ok(path)
    }

    /// A new directory to work in; removed when dropped.
    pub(crate) fn make_dir(&self, name: &str) -> anyhow::Result<TempDir> {
        let made = fs::create_dir_all(&self.work).and_then(|()| self.work.canonicalize());
        let work = made.with_context(|| format!("cannot work in {}", self.work.display()))?;
        tempfile::Builder::new()
            .prefix(&format!("rolltop-bench-{name}-"))
            .tempdir_in(&work)
            .with_context(|| format!("cannot work in {}", work.display()))
    }
}
