//! `rolltop-bench`: how long a desktop takes to come and to go, beside the bare
//! system calls, other ways to have a container and the steps of the forerunner,
//! in one run on one machine.
//!
//! It works on a machine of its own (fresh namespaces, see
//! `rolltop_tests::isolation`) and a directory of its own, and says what it
//! left behind, if anything.

#![forbid(unsafe_code)]

mod aims;
mod alive;
mod arguments;
mod crowd;
mod names;
mod peers;
mod rounds;
mod shell;
mod stage;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use rolltop_tests::{
    bench::{Report, Unit},
    client, isolation,
    machine::{Change, Scope, Snapshot},
    memory::Memory,
};

use crate::{arguments::Arguments, stage::Stage};

/// Its root is what peers get.
const DONOR: u32 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match isolation::inside() {
        None => Err(isolation::go_inside()),
        Some(name) => run(&arguments, &name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rolltop-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments, name: &str) -> anyhow::Result<()> {
    isolation::furnish()?;
    // What `runc` and `lxc-start` leave running is waited for here.
    nix::sys::prctl::set_child_subreaper(true)?;
    let dir = arguments.make_dir(name)?;
    let work = dir.path().to_owned();
    let scope = Scope { loop_files: &work, control_groups: name };
    let before = Snapshot::take(scope)?;
    let stage = Stage::set(arguments, name, dir.path()).await?;
    let mut report = Report { aims: aims::AIMS.into(), ..Report::default() };
    let measured = tokio::select! {
        measured = measure(arguments, &stage, &mut report) => measured,
        // The first process of a process namespace has to ask for signals.
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error.into()),
        },
    };
    let struck = stage.strike().await;
    let left = Snapshot::take(scope)?.since(&before);
    // What went wrong first explains what went wrong then.
    measured?;
    struck?;
    dir.close().context("the directory it worked in stays")?;

    report.left = left.iter().map(Change::to_string).collect();
    report.publish(arguments.json.as_deref())
}

async fn measure(arguments: &Arguments, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let donor = client::volatile(DONOR, stage.epoch(), &stage.small);
    let epoch = donor.epoch;
    client::start(&mut api, donor).await.context("no desktop whose root peers can have")?;
    let (peers, missing) = peers::all(arguments, stage, DONOR).await?;
    missing.iter().for_each(|line| println!("{line}"));
    rounds::measure(arguments, stage, &peers, report).await?;
    crowd::peers(arguments, &peers, report).await?;
    alive::measure(arguments, stage, &peers, report).await?;
    client::stop(&mut api, DONOR, epoch).await?;
    alive::cycles(arguments, stage, report).await?;

    let alone = Memory::of(stage.agent.pid()?)?;
    report.add("agent with no desktop, PSS", Unit::Kib, [alone.pss_kib as f64]);
    report.add("agent with no desktop, RSS", Unit::Kib, [alone.rss_kib as f64]);
    crowd::measure(arguments, stage, report, alone).await
}
