//! `rolltop-vm`: the tests that need a machine of their own kind, each in a
//! virtual one (see `rolltop_tests::vm`). `tests/vm/run` builds what they need
//! and calls this.

#![forbid(unsafe_code)]

mod arguments;
mod cases;
mod counts;
mod stage;

use std::{process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::Parser as _;
use rolltop_tests::vm::{Rig, Spec};

use crate::{
    arguments::{Action, Arguments, Tests},
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
        Action::Sh { command, seconds } => {
            let limit = std::time::Duration::from_secs(*seconds);
            let mut guest = rig.start(Spec::named("guest"))?;
            let output = guest.run_to(&command.join(" "), limit, &mut std::io::stdout())?;
            Ok(u8::try_from(output.status).map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}

fn test(rig: &Rig, tests: &Tests) -> anyhow::Result<ExitCode> {
    let cases: Vec<_> =
        cases::all(tests).into_iter().filter(|case| tests.wants(&case.name)).collect();
    if tests.list {
        for case in &cases {
            println!("{}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("kernel {}", rig.kernel_version()?);
    let mut total = Counts::default();
    // Removed at the end, also after a failure.
    let work = tempfile::Builder::new().prefix("rolltop-vm-").tempdir_in(&tests.work)?;
    let payload = stage::payload(work.path(), tests).context("no payload")?;
    for case in cases {
        let begun = Instant::now();
        let mut stage = Stage::set(rig, &payload, work.path(), tests, &case.name)?;
        let outcome = (case.run)(&mut stage);
        let seconds = begun.elapsed().as_secs_f32();
        match outcome {
            Ok(counts) if counts.failed == 0 => {
                total += counts;
                println!("test {} ... ok ({counts}; {seconds:.1} s)", case.name);
            }
            Ok(counts) => {
                total += counts;
                println!("test {} ... FAILED ({counts}; {seconds:.1} s)", case.name);
                println!("{}", stage.story());
            }
            Err(error) => {
                total += Counts::failure();
                println!("test {} ... FAILED ({seconds:.1} s)\n    {error:#}", case.name);
                println!("{}", stage.story());
            }
        }
        stage.clear()?;
    }
    let word = if total.failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {}", total.as_cargo_tells());
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
