//! One desktop at a time, each beside the references: machines are noisy, and
//! only neighbours in time can be compared.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rolltop_proto::v1::{HostDesktop, Phase, StartHostDesktopRequest};
use rolltop_tests::{
    bench::{Report, Unit},
    client, display, rfb,
};

use crate::{
    arguments::Arguments,
    crowd::DRAWN_LIMIT,
    names::{
        ANSWERS, DRAWN, FORERUNNER_INIT, FORERUNNER_RELEASED, INIT, PHASE_CONTAINER, RELEASED,
        RUNC_INIT,
    },
    runc::Runc,
    stage::{RUNC, Stage},
    the_forerunner::Forerunner,
};

/// Before anything counts: templates, caches, mounts that are made once.
const WARM_UPS: u32 = 2;
const NUMBER: u32 = 1;
/// Its root is what `runc run` gets.
const DONOR: u32 = 2;

const PHASES: [(Phase, &str); 5] = [
    (Phase::Disk, "phase disk"),
    (Phase::Network, "phase network"),
    (Phase::Container, PHASE_CONTAINER),
    (Phase::Session, "phase session"),
    (Phase::Display, "phase display"),
];

pub(crate) async fn measure(
    arguments: &Arguments,
    stage: &Stage,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let donor = client::volatile(DONOR, stage.epoch(), &stage.small);
    let epoch = donor.epoch;
    client::start(&mut api, donor).await.context("no desktop for runc to copy")?;
    let runc = Runc::prepare(arguments, stage, DONOR)?;
    let forerunner = Forerunner::new(stage);
    forerunner.prepare().await?;
    for round in 0..WARM_UPS + arguments.runs {
        let mut figures = Report::default();
        demo(stage, &mut figures).await?;
        runc.measure(&mut figures).await?;
        through_runc(stage, &mut figures).await?;
        forerunner.measure(round, &mut figures).await?;
        if round >= WARM_UPS {
            report.merge(figures);
        }
    }
    client::stop(&mut api, DONOR, epoch).await?;
    Ok(())
}

/// A desktop comes, is seen, and goes.
async fn demo(stage: &Stage, figures: &mut Report) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let request = client::volatile(NUMBER, stage.epoch(), &stage.demo);
    let epoch = request.epoch;
    let begun = Instant::now();
    let started = client::start(&mut api, request).await?;
    let stream = display::connect(&mut api, NUMBER, epoch).await?;
    let seen = rfb::watch(stream, begun, DRAWN_LIMIT).await?;
    let released = client::stop(&mut api, NUMBER, epoch).await?;

    for (phase, name) in PHASES {
        let (begin, end) = ended(&started.desktop, phase)?;
        figures.add_time(name, end - begin);
    }
    figures.compare(PHASE_CONTAINER, RUNC_INIT);
    figures.add_time(INIT, ended(&started.desktop, Phase::Container)?.1);
    figures.compare(INIT, FORERUNNER_INIT);
    figures.add_time(ANSWERS, started.elapsed);
    figures.add_time("first frame", seen.first_frame);
    figures.add_time(DRAWN, seen.drawn);
    figures.add("frames until drawn", Unit::Count, [f64::from(seen.frames)]);
    figures.add_time(RELEASED, released);
    figures.compare(RELEASED, FORERUNNER_RELEASED);
    Ok(())
}

/// The same agent with `runc` in the launcher's place.
async fn through_runc(stage: &Stage, figures: &mut Report) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let request = StartHostDesktopRequest {
        runtime: RUNC.into(),
        ..client::volatile(NUMBER, stage.epoch(), &stage.small)
    };
    let epoch = request.epoch;
    let started = client::start(&mut api, request).await?;
    client::stop(&mut api, NUMBER, epoch).await?;
    figures
        .add_time("init running, agent through runc", ended(&started.desktop, Phase::Container)?.1);
    Ok(())
}

fn ended(desktop: &HostDesktop, phase: Phase) -> anyhow::Result<(Duration, Duration)> {
    client::phase(desktop, phase)
        .with_context(|| format!("the agent did not tell how long {} took", phase.as_str_name()))
}
