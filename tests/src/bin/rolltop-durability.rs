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

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use rolltop_overlay::{
    BaseKey, BaseRoots, BaseSource, CopySource, OpenPlan, OverlayKind, OverlayName, OverlaySize,
    Overlays, PresentState, Repaired, SnapshotName, close_root, deisolate, isolate, open_root,
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
    /// The same; and between steps grow the overlay, take snapshots of it, roll
    /// it back, clone it, export and import it
    Tend {
        /// The first step: one more than the last that was acknowledged
        first: u64,
    },
    /// Check everything up to a step, and every copy there is
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
    let survivor = Survivor {
        lower,
        mount_dir: arguments.run.join("desktop"),
        archive: arguments.disk.join("archive"),
        overlays: Overlays::open(&arguments.disk.join("overlays"))?,
        kind: named("survivor")?,
    };
    let done = survivor.perform(&arguments.task);
    let unmounted = bases.unmount_all();
    deisolate(&arguments.run)?;
    done?;
    unmounted.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}

/// The overlay under test.
struct Survivor {
    lower: PathBuf,
    mount_dir: PathBuf,
    archive: PathBuf,
    overlays: Overlays,
    kind: OverlayKind,
}

impl Survivor {
    fn perform(&self, task: &Task) -> anyhow::Result<()> {
        self.overlays.create(&self.kind, OverlaySize::from_mib(SIZE_MIB)?)?;
        match *task {
            Task::Write { first, count } => self.inside(&self.kind, |dir| {
                (first..first.saturating_add(count)).try_for_each(|n| acknowledged(dir, n))
            }),
            Task::Tend { first } => (first..).try_for_each(|n| self.tend(n)),
            Task::Verify { acknowledged } => self.verify(acknowledged),
        }
    }

    /// Step `n`, and then something that an operator does. Each of the copies
    /// has the last step that must be in it in its name.
    fn tend(&self, n: u64) -> anyhow::Result<()> {
        self.inside(&self.kind, |dir| acknowledged(dir, n))?;
        let kind = &self.kind;
        match n % 5 {
            0 => {
                let size = self.overlays.get(kind)?.size_bytes() >> 20;
                self.overlays.grow(kind, OverlaySize::from_mib(i64::try_from(size)? + 8)?)?;
            }
            1 => {
                self.snapshot(n)?;
            }
            2 => {
                let name = self.snapshot(n)?;
                // What was not acknowledged may go.
                self.inside(kind, |dir| Ok(step(dir, n + 1)?))?;
                self.overlays.roll_back(kind, &name, PresentState::Keep)?;
            }
            3 => {
                self.forget("clone")?;
                self.overlays
                    .clone_overlay(&kind.clone().into(), &named(&format!("clone-{n}"))?)?;
            }
            _ => {
                self.forget("import")?;
                self.overlays.export(&kind.clone().into(), &mut File::create(&self.archive)?)?;
                let limit = OverlaySize::from_mib(1 << 20)?;
                let to = named(&format!("import-{n}"))?;
                self.overlays.import(&to, &mut File::open(&self.archive)?, limit)?;
            }
        }
        Ok(())
    }

    fn verify(&self, acknowledged: u64) -> anyhow::Result<()> {
        self.inside(&self.kind, |dir| verify(dir, acknowledged))?;
        for snapshot in self.overlays.snapshots(&self.kind)? {
            // Automatic ones are of no certain step.
            let Some(n) = step_in(snapshot.name.as_str()) else { continue };
            let source = CopySource { kind: self.kind.clone(), snapshot: Some(snapshot.name) };
            let copy = named("copy-of-a-snapshot")?;
            self.overlays.delete(&copy)?;
            self.overlays.clone_overlay(&source, &copy)?;
            self.inside(&copy, |dir| verify(dir, n)).context("in a snapshot")?;
            self.overlays.delete(&copy)?;
        }
        for entry in self.overlays.list()? {
            let kind = &entry.kind;
            let Some(n) = kind.kept_name().and_then(|name| step_in(name.as_str())) else {
                continue;
            };
            self.inside(kind, |dir| verify(dir, n)).with_context(|| format!("in {kind}"))?;
        }
        Ok(())
    }

    /// The only snapshot there is then.
    fn snapshot(&self, n: u64) -> anyhow::Result<SnapshotName> {
        for old in self.overlays.snapshots(&self.kind)? {
            self.overlays.delete_snapshot(&self.kind, &old.name)?;
        }
        let name = SnapshotName::try_from(&*format!("at-{n}"))?;
        self.overlays.snapshot(&self.kind, &name, "")?;
        Ok(name)
    }

    /// Deletes earlier copies of a kind.
    fn forget(&self, prefix: &str) -> anyhow::Result<()> {
        for entry in self.overlays.list()? {
            let kind = &entry.kind;
            if kind.kept_name().is_some_and(|name| name.as_str().starts_with(prefix)) {
                self.overlays.delete(kind)?;
            }
        }
        Ok(())
    }

    /// Does something in the open overlay, and closes it.
    fn inside(
        &self,
        kind: &OverlayKind,
        task: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let opened = open_root(&OpenPlan {
            lower: &self.lower,
            overlay: &self.overlays.get(kind)?,
            mount_dir: &self.mount_dir,
            id_map: None,
        })?;
        if opened.repaired != Repaired::Nothing {
            eprintln!("repaired: {:?}", opened.repaired);
        }
        let done = task(&opened.root.join("home"));
        let closed = close_root(&self.mount_dir);
        done?;
        ensure!(closed.is_clean(), "{closed:?}");
        Ok(())
    }
}

/// Does a step and says that it is synced: in one write, so that no half a
/// number is ever seen.
fn acknowledged(dir: &Path, n: u64) -> anyhow::Result<()> {
    step(dir, n)?;
    let mut out = stdout().lock();
    out.write_all(format!("synced {n}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn named(name: &str) -> anyhow::Result<OverlayKind> {
    Ok(OverlayKind::Persistent(OverlayName::try_from(name)?))
}

fn step_in(name: &str) -> Option<u64> {
    let (kind, n) = name.rsplit_once('-')?;
    if kind == "auto" { None } else { n.parse().ok() }
}
