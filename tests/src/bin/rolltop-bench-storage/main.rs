//! `rolltop-bench-storage`: what overlays and base roots cost, beside the
//! commands and the bare system calls that do the same, in one run.
//!
//! It works on a machine of its own, like `rolltop-bench`. Reading "cold" drops
//! the page cache of the whole machine first.

#![forbid(unsafe_code)]

mod arguments;
mod bare;
mod copying;
mod group;
mod making;
mod names;
mod opening;
mod reading;
mod sharing;
mod starts;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use rolltop_overlay::{BaseKey, BaseRoots, BaseSource, Overlays, isolate};
use rolltop_tests::{
    bench::Report,
    isolation,
    machine::{Change, Scope, Snapshot},
};

use self::arguments::Arguments;

/// Where the measurements happen.
#[derive(Debug)]
struct Place<'a> {
    arguments: &'a Arguments,
    /// On the disk.
    dir: &'a Path,
    /// On a tmpfs, as an agent's mount points are.
    run: &'a Path,
    overlays: Overlays,
    bases: BaseRoots,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match isolation::inside() {
        None => Err(isolation::go_inside()),
        Some(name) => run(&arguments, &name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-bench-storage: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, name: &str) -> anyhow::Result<()> {
    isolation::furnish()?;
    let dir = arguments.make_dir(name)?;
    let work = dir.path().to_owned();
    let scope = Scope { loop_files: &work, control_groups: name };
    let before = Snapshot::take(scope)?;
    let mut report = Report { aims: names::AIMS.into(), ..Report::default() };
    let run_dir = Path::new("/run").join(name);
    std::fs::create_dir(&run_dir)?;
    match measure(arguments, name, &work, &run_dir, &mut report) {
        Ok(()) => std::fs::remove_dir_all(&run_dir)?,
        // What was measured is shown even if the rest cannot be. Something may
        // still be mounted there: nothing is removed.
        Err(error) => report.failures.push(format!("{error:#}")),
    }
    let left = Snapshot::take(scope)?.since(&before);
    dir.close().context("the directory it worked in stays")?;
    report.left = left.iter().map(Change::to_string).collect();
    report.publish(arguments.json.as_deref())
}

fn measure(
    arguments: &Arguments,
    name: &str,
    dir: &Path,
    run: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    isolate(run)?;
    let bases = BaseRoots::open(&run.join("bases"))?;
    let overlays = Overlays::open(&dir.join("overlays"))?;
    let place = Place { arguments, dir, run, overlays, bases };
    let measured = place.measure(name, report);
    let errors = place.bases.unmount_all();
    let lifted = rolltop_overlay::deisolate(run);
    measured?;
    errors.into_iter().next().map_or(Ok(()), Err)?;
    Ok(lifted?)
}

impl Place<'_> {
    fn measure(&self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        telling("making overlays");
        making::measure(self, report)?;
        let empty = self.dir.join("empty");
        std::fs::create_dir_all(empty.join("etc"))?;
        let base = self.bases.mount(&BaseKey::try_from("empty")?, &BaseSource::Directory(empty))?;
        telling("opening overlays");
        opening::measure(self, &base, report)?;
        telling("copying overlays");
        copying::measure(self, &base, report)?;
        telling("making the tree that is read");
        let roots = reading::roots(self)?;
        telling("reading it");
        reading::measure(self, &roots, report)?;
        telling("reading it through many overlays");
        sharing::measure(self, &roots, name, report)?;
        telling("starting desktops");
        tokio::runtime::Runtime::new()?.block_on(starts::measure(self, name, report))
    }
}

/// In a guest, each part takes minutes.
fn telling(part: &str) {
    eprintln!("rolltop-bench-storage: {part}");
}
