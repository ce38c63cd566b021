//! The command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Parser;
use tempfile::TempDir;

/// Measures overlays and base roots beside the commands and bare system calls
/// that do the same.
#[derive(Debug, Parser)]
#[command(name = "rolltop-bench-storage", version)]
pub(crate) struct Arguments {
    /// Rounds of each short measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Rounds of each long one: copies and reading
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) long_rounds: u32,
    /// Size of the tree that is read, MiB
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) tree_mib: u64,
    /// What is written into the overlay that is copied, MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) used_mib: u64,
    /// A directory that an NFS server exports from this machine, and where that
    /// export is mounted: the tree is read over NFS, too
    #[arg(long, num_args = 2, value_names = ["EXPORTED", "MOUNTED"])]
    nfs: Option<Vec<PathBuf>>,
    /// Image store with the image to start; without it no desktop is started
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Image of a desktop that is drawn by itself; kept as an EROFS file
    #[arg(long, default_value = "demo:stable")]
    pub(crate) image: String,
    /// Directory with rolltop-agent and rolltop-launcher [default: where this
    /// program is]
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// Directory on a real disk to work in, made if missing
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Write the figures here too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// What is exported from here, and where it is mounted.
    pub(crate) fn nfs(&self) -> Option<(&Path, &Path)> {
        match self.nfs.as_deref() {
            Some([exported, mounted]) => Some((exported, mounted)),
            _ => None,
        }
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
