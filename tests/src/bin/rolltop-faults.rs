//! `rolltop-faults`: schedules of faults on a cluster of its own. See
//! [`rolltop_tests::faults`].

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Parser;
use rolltop_tests::faults::{
    cluster::Settings, hosts::Kinds, house::House, namespaces, run::Stage, schedule::Schedule,
};

/// Kills, pauses and cuts off brokers, hosts and an etcd while people use them,
/// and checks that everything that must hold does.
#[derive(Debug, Parser)]
#[command(name = "rolltop-faults", version)]
struct Arguments {
    /// The first schedule's seed; the others' follow it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules.
    #[arg(long, default_value_t = 3)]
    schedules: u64,
    /// How long faults happen in each, seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many people use the cluster.
    #[arg(long, default_value_t = 10)]
    people: usize,
    /// Which hosts. Real ones are machines of their own, with agents and desktops.
    #[arg(long, value_enum, default_value_t)]
    hosts: Kinds,
    /// The image store of real hosts, with `demo:stable`.
    #[arg(long, env = "ROLLTOP_TEST_IMAGES", required_if_eq_any([("hosts", "mixed"), ("hosts", "real")]))]
    images: Option<PathBuf>,
    /// Where `rolltop-broker` is, and `rolltop-agent` for real hosts. Beside this program, if not told.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where a cluster that was found at fault is kept, logs and all.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Go on with a new cluster after something did not hold.
    #[arg(long)]
    go_on: bool,
    /// Print schedules, and do nothing.
    #[arg(long)]
    show: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(house) = House::inside()? {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(house.stand()).map(|()| ExitCode::SUCCESS);
    }
    let arguments = Arguments::parse();
    let length = Duration::from_secs(arguments.seconds);
    if arguments.show {
        for seed in (arguments.seed..).take(usize::try_from(arguments.schedules)?) {
            println!("{}", Schedule::new(seed, length));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = namespaces::missing() {
        bail!("{missing}");
    }
    // What asks the kernel may hold up one of them.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build()?;
    runtime.block_on(async {
        if let Some(status) = namespaces::enter(std::env::args().skip(1)).await? {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        run(&arguments, length).await
    })
}

async fn run(arguments: &Arguments, length: Duration) -> anyhow::Result<ExitCode> {
    let beside = || -> anyhow::Result<PathBuf> {
        let me = std::env::current_exe()?;
        Ok(me.parent().context("this program is nowhere")?.to_path_buf())
    };
    let programs = arguments.programs.clone().map_or_else(beside, Ok)?;
    let mut stage: Option<(Stage, tempfile::TempDir)> = None;
    let (mut failed, mut outcomes) = (Vec::new(), BTreeMap::<String, usize>::new());
    let (mut looks, mut longest) = (0, Duration::ZERO);
    for seed in (arguments.seed..).take(usize::try_from(arguments.schedules)?) {
        let (mut set, dir) = match stage.take() {
            Some(set) => set,
            None => {
                let dir = tempfile::Builder::new().prefix("rolltop-faults-").tempdir()?;
                let settings = Settings {
                    programs: programs.clone(),
                    dir: dir.path().to_path_buf(),
                    people: arguments.people,
                    hosts: arguments.hosts,
                    images: arguments.images.clone().unwrap_or_default(),
                };
                (Stage::set(settings).await?, dir)
            }
        };
        let schedule = Schedule::new(seed, length);
        let report = set.play(&schedule).await.with_context(|| format!("{schedule}"))?;
        println!("seed {seed}: {report}");
        looks += report.looks;
        longest = longest.max(report.rest);
        for (kind, count) in report.outcomes {
            *outcomes.entry(kind).or_default() += count;
        }
        if report.wrong.is_empty() {
            stage = Some((set, dir));
            continue;
        }
        println!("{schedule}");
        failed.push(seed);
        set.end().await?;
        if let Some(keep) = &arguments.keep {
            let to = keep.join(format!("seed-{seed}"));
            std::fs::create_dir_all(keep)?;
            std::fs::rename(dir.keep(), &to)
                .with_context(|| format!("cannot keep {}", to.display()))?;
        }
        if !arguments.go_on {
            break;
        }
    }
    if let Some((set, _)) = stage {
        set.end().await?;
    }
    for (kind, count) in &outcomes {
        println!("{count:8} {kind}");
    }
    println!(
        "{looks} looks at the store meanwhile; at rest after {:.1} s at most; failed: {failed:?}",
        longest.as_secs_f32()
    );
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
