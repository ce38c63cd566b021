//! Many desktops at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rolltop_proto::v1::Phase;
use rolltop_tests::{
    bench::{Report, Unit},
    client, display,
    memory::Memory,
    rfb,
    sample::Sample,
};
use tokio::task::JoinSet;

use crate::{
    arguments::Arguments,
    names::{self, AT_ONCE, DEMOS_DRAWN, SMALL, SMALLS_FAILED},
    peers::Peer,
    rounds,
    stage::Stage,
};

/// After this a desktop counts as failed.
pub(crate) const DRAWN_LIMIT: Duration = Duration::from_secs(60);
const FIRST_NUMBER: u32 = 100;
const DEMOS: u32 = 10;
const SMALLS: u32 = 50;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Answers,
    Drawn,
}

/// What became of a crowd.
struct Crowd {
    /// From the first call until the last desktop was up.
    wall: Duration,
    /// Each desktop's own time.
    each: Sample,
    /// Until each desktop's init ran.
    inits: Sample,
    failures: Vec<String>,
    /// Of the agent while all were up.
    memory: Memory,
    /// From the first call until the last desktop was gone.
    released: Duration,
}

pub(crate) async fn measure(
    arguments: &Arguments,
    stage: &Stage,
    report: &mut Report,
    alone: Memory,
) -> anyhow::Result<()> {
    for _ in 0..arguments.crowds {
        let demos = gather(stage, &stage.demo, DEMOS, Until::Drawn).await?;
        report.add_time(DEMOS_DRAWN, demos.wall);
        report.add("10 at once: each drawn", Unit::Millis, demos.each.values().iter().copied());
        report.add("10 at once: failures", Unit::Count, [demos.failures.len() as f64]);
        report.add_time("10 at once: all released", demos.released);
        report.failures.extend(demos.failures);

        let smalls = gather(stage, &stage.small, SMALLS, Until::Answers).await?;
        report.add_time("50 small at once: all answer", smalls.wall);
        let each = smalls.each.values().iter().copied();
        report.add("50 small at once: each answers", Unit::Millis, each);
        let inits = smalls.inits.values().iter().copied();
        report.add(names::init(AT_ONCE, SMALL), Unit::Millis, inits);
        report.add(SMALLS_FAILED, Unit::Count, [smalls.failures.len() as f64]);
        report.add_time("50 small at once: all released", smalls.released);
        report.failures.extend(smalls.failures);
        let per_desktop = |now: u64, then: u64| (now as f64 - then as f64) / f64::from(SMALLS);
        let pss = per_desktop(smalls.memory.pss_kib, alone.pss_kib);
        let rss = per_desktop(smalls.memory.rss_kib, alone.rss_kib);
        report.add("agent per desktop of 50, PSS", Unit::Kib, [pss]);
        report.add("agent per desktop of 50, RSS", Unit::Kib, [rss]);
    }
    Ok(())
}

/// Peers, each many at once.
pub(crate) async fn peers(
    arguments: &Arguments,
    peers: &[Peer],
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..arguments.crowds {
        for peer in peers {
            let mut figures = Report::default();
            peer.crowd(AT_ONCE, &mut figures).await.with_context(|| peer.name())?;
            report.merge(figures);
            let ours = names::init(AT_ONCE, SMALL);
            report.compare(&names::init(AT_ONCE, peer.name()), ours);
        }
    }
    Ok(())
}

/// Starts `count` desktops at once, waits for all, and stops them at once.
async fn gather(stage: &Stage, image: &str, count: u32, until: Until) -> anyhow::Result<Crowd> {
    let begun = Instant::now();
    let mut starts = JoinSet::new();
    for number in FIRST_NUMBER..FIRST_NUMBER + count {
        let mut api = stage.api.clone();
        let request = client::volatile(number, stage.epoch(), image);
        starts.spawn(async move {
            let epoch = request.epoch;
            let up = async {
                let started = client::start(&mut api, request).await?;
                let init = rounds::ended(&started.desktop, Phase::Container)?.1;
                if until == Until::Drawn {
                    let stream = display::connect(&mut api, number, epoch).await?;
                    rfb::watch(stream, begun, DRAWN_LIMIT).await?;
                }
                anyhow::Ok((begun.elapsed(), init))
            };
            (number, epoch, up.await)
        });
    }
    let mut up = Vec::new();
    let (mut each, mut inits) = (Sample::default(), Sample::default());
    let mut failures = Vec::new();
    while let Some(started) = starts.join_next().await {
        let (number, epoch, result) = started?;
        match result {
            Ok((elapsed, init)) => {
                each.push_time(elapsed);
                inits.push_time(init);
                up.push((number, epoch));
            }
            Err(error) => failures.push(format!("desktop {number}: {error:#}")),
        }
    }
    let wall = begun.elapsed();
    let memory = Memory::of(stage.agent.pid()?)?;

    let begun = Instant::now();
    let mut stops = JoinSet::new();
    for (number, epoch) in up {
        let mut api = stage.api.clone();
        stops.spawn(async move { client::stop(&mut api, number, epoch).await });
    }
    while let Some(stopped) = stops.join_next().await {
        if let Err(error) = stopped? {
            failures.push(format!("{error:#}"));
        }
    }
    Ok(Crowd { wall, each, inits, failures, memory, released: begun.elapsed() })
}
