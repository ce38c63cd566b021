//! `rolltop-durability`: writes into an overlay until something ends it, and
//! checks afterwards that nothing that was synced is lost. For the virtual
//! machine, whose power is cut meanwhile.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io::{Write as _, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::ensure;
use clap::{Parser, Subcommand};
use rolltop_overlay::{
    BaseKey, BaseRoots, BaseSource, OpenPlan, OverlayKind, OverlayName, OverlaySize, Overlays,
    Repaired, close_root, deisolate, isolate, open_root,
};
use rolltop_tests::durability::{OF_THE_BASE, step, verify};

const SIZE_MIB: i64 = 256;

/// Writes into an overlay, or checks what was written.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Directory for the overlay and its base root; on the disk under test
    #[arg(long)]
    disk: PathBuf,
    /// Directory for mount points; on a tmpfs
    #[arg(long, default_value = "/run/rolltop-durability")]
    run: PathBuf,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Do step after step, and print the number of each that is synced
    Write {
        /// The first step: one more than the last that was acknowledged
        first: u64,
        /// Steps to do at most
        #[arg(default_value_t = u64::MAX)]
        count: u64,
    },
    /// Check everything up to a step
    Verify {
        /// The last step that was acknowledged
        acknowledged: u64,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-durability: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let base = arguments.disk.join("base");
    if !base.exists() {
        let draft = arguments.disk.join("base.new");
        fs::create_dir_all(draft.join("home"))?;
        File::create(draft.join("home").join(OF_THE_BASE))?.sync_all()?;
        fs::rename(&draft, &base)?;
        File::open(&arguments.disk)?.sync_all()?;
    }
    isolate(&arguments.run)?;
    let bases = BaseRoots::open(&arguments.run.join("bases"))?;
    let lower = bases.mount(&BaseKey::try_from("base")?, &BaseSource::Directory(base))?;
    let overlays = Overlays::open(&arguments.disk.join("overlays"))?;
    let name = OverlayKind::Persistent(OverlayName::try_from("survivor")?);
    let overlay = overlays.create(&name, OverlaySize::from_mib(SIZE_MIB)?)?;
    let mount_dir = arguments.run.join("desktop");
    let opened = open_root(&OpenPlan {
        lower: &lower,
        overlay: &overlay,
        mount_dir: &mount_dir,
        id_map: None,
    })?;
    if opened.repaired != Repaired::Nothing {
        eprintln!("repaired: {:?}", opened.repaired);
    }
    let done = perform(&opened.root.join("home"), &arguments.task);
    let closed = close_root(&mount_dir);
    let unmounted = bases.unmount_all();
    deisolate(&arguments.run)?;
    done?;
    ensure!(closed.is_clean(), "{closed:?}");
    unmounted.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}

fn perform(dir: &Path, task: &Task) -> anyhow::Result<()> {
    match *task {
        Task::Verify { acknowledged } => verify(dir, acknowledged),
        Task::Write { first, count } => {
            for n in first..first.saturating_add(count) {
                step(dir, n)?;
                // In one write, so that no half a number is ever seen.
                let mut out = stdout().lock();
                out.write_all(format!("synced {n}\n").as_bytes())?;
                out.flush()?;
            }
            Ok(())
        }
    }
}
