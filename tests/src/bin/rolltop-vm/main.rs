//! `rolltop-vm`: the tests that need a machine of their own kind, each in a
//! virtual one (see `rolltop_tests::vm`). `tests/vm/run` builds what they need
//! and calls this.

#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod cases;
mod counts;
mod stage;

use std::{
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::Context as _;
use clap::Parser as _;
use rolltop_tests::vm::{Rig, Scratch, Spec};

use crate::{
    arguments::{Action, Arguments, Tests},
    cases::Case,
    counts::Counts,
    stage::Stage,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rolltop-vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let rig = Rig::open(&arguments.cache, &arguments.kernel)?;
    match &arguments.action {
        Action::Test(tests) => test(&rig, tests),
        Action::Bench(bench) => bench::run(&rig, bench),
        Action::Sh { command, seconds } => {
            let limit = std::time::Duration::from_secs(*seconds);
            let mut guest = rig.start(Spec::named("guest"))?;
            let output = guest.run_to(&command.join(" "), limit, &mut std::io::stdout())?;
            Ok(u8::try_from(output.status).map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}

fn test(rig: &Rig, tests: &Tests) -> anyhow::Result<ExitCode> {
    let mut cases = cases::all(tests);
    cases.retain(|case| tests.wants(&case.name, case.slow));
    if tests.list {
        for case in &cases {
            println!("{}{}", case.name, if case.slow { " (slow)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("kernel {}", rig.kernel_version()?);
    // Half a gigabyte and more: removed at the end, or by the next run.
    let work = Scratch::create(&tests.work, "rolltop-vm-")?;
    let payload = {
        let Tests { programs, images, test_programs, .. } = tests;
        stage::payload(work.path(), programs, images, test_programs).context("no payload")?
    };
    let cases = Mutex::new(cases.into_iter());
    let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).next();
    let total = Mutex::new(Counts::default());
    let all_told: anyhow::Result<Vec<()>> = thread::scope(|scope| {
        let work = work.path();
        let workers: Vec<_> = (0..tests.jobs)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        let stage = Stage::set(rig, &payload, work, tests, &case.name)?;
                        let counts = play(&case, stage)?;
                        *total.lock().unwrap_or_else(PoisonError::into_inner) += counts;
                    }
                    Ok(())
                })
            })
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, anyhow::Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a test panicked")))
        };
        workers.into_iter().map(join).collect()
    });
    all_told?;
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let word = if total.failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {}", total.as_cargo_tells());
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one case and tells how it went, in one piece.
fn play(case: &Case, mut stage: Stage<'_>) -> anyhow::Result<Counts> {
    let begun = Instant::now();
    let outcome = (case.run)(&mut stage);
    let name = &case.name;
    let seconds = begun.elapsed().as_secs_f32();
    let counts = match outcome {
        Ok(counts) if counts.failed == 0 => {
            println!("test {name} ... ok ({counts}; {seconds:.1} s)");
            counts
        }
        Ok(counts) => {
            println!("test {name} ... FAILED ({counts}; {seconds:.1} s)\n{}", stage.story());
            counts
        }
        Err(error) => {
            let story = stage.story();
            println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}\n{story}");
            Counts::failure()
        }
    };
    stage.clear()?;
    Ok(counts)
}
