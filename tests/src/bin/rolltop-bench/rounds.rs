//! One desktop at a time, each beside its peers: machines are noisy, and only
//! neighbours in time can be compared.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rolltop_proto::v1::{AssignHostDesktopRequest, HostDesktop, Phase, StartHostDesktopRequest};
use rolltop_tests::{
    bench::{Report, Unit},
    client, display, rfb,
};

use crate::{
    arguments::Arguments,
    crowd::DRAWN_LIMIT,
    names::{self, ANSWERS, DRAWN, FORERUNNER, INIT, PHASE_CONTAINER, RELEASED, SMALL, SMALL_INIT},
    peers::Peer,
    stage::{RUNC, Stage},
};

/// Before anything counts: templates, caches, mounts that are made once.
const WARM_UPS: u32 = 2;
const NUMBER: u32 = 1;

const PHASES: [(Phase, &str); 5] = [
    (Phase::Disk, "phase disk"),
    (Phase::Network, "phase network"),
    (Phase::Container, PHASE_CONTAINER),
    (Phase::Session, "phase session"),
    (Phase::Display, "phase display"),
];

/// On a host without other desktops.
pub(crate) async fn measure(
    arguments: &Arguments,
    stage: &Stage,
    peers: &[Peer],
    report: &mut Report,
) -> anyhow::Result<()> {
    for round in 0..WARM_UPS + arguments.runs {
        let mut figures = Report::default();
        demo(stage, &mut figures).await?;
        warm(stage, &mut figures).await?;
        small(stage, "", &mut figures).await?;
        for peer in peers {
            peer.measure("", &mut figures).await.with_context(|| peer.name())?;
            figures.compare(INIT, names::init("", FORERUNNER));
            figures.compare(&names::init("", peer.name()), INIT);
        }
        through_runc(stage, &mut figures).await?;
        if round >= WARM_UPS {
            report.merge(figures);
        }
    }
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
    figures.add_time(INIT, ended(&started.desktop, Phase::Container)?.1);
    figures.add_time(ANSWERS, started.elapsed);
    figures.add_time("first frame", seen.first_frame);
    figures.add_time(DRAWN, seen.drawn);
    figures.add("frames until drawn", Unit::Count, [f64::from(seen.frames)]);
    figures.add_time(RELEASED, released);
    figures.compare(RELEASED, names::released(FORERUNNER));
    Ok(())
}

/// A desktop that was made ahead gets its user, a moment after one was started
/// for its user.
async fn warm(stage: &Stage, figures: &mut Report) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let request = client::warm(client::volatile(NUMBER, stage.epoch(), &stage.demo));
    let warm_epoch = request.epoch;
    client::start(&mut api, request).await?;
    let epoch = stage.epoch();
    let request = AssignHostDesktopRequest { warm_epoch, ..client::assignment(NUMBER, epoch) };
    let begun = Instant::now();
    let given = client::assign(&mut api, request).await?;
    let stream = display::connect(&mut api, NUMBER, epoch).await?;
    let seen = rfb::watch(stream, begun, DRAWN_LIMIT).await?;
    client::stop(&mut api, NUMBER, epoch).await?;
    let (answers, drawn) = (names::warm(ANSWERS), names::warm(DRAWN));
    figures.add_time(answers.clone(), given.elapsed);
    figures.compare(&answers, ANSWERS);
    figures.add_time(names::warm("session begun"), ended(&given.desktop, Phase::Session)?.1);
    figures.add_time(drawn.clone(), seen.drawn);
    figures.compare(&drawn, DRAWN);
    Ok(())
}

/// A small desktop comes and goes; in this `situation`.
pub(crate) async fn small(
    stage: &Stage,
    situation: &str,
    figures: &mut Report,
) -> anyhow::Result<()> {
    let mut api = stage.api.clone();
    let request = client::volatile(NUMBER, stage.epoch(), &stage.small);
    let epoch = request.epoch;
    let started = client::start(&mut api, request).await?;
    let released = client::stop(&mut api, NUMBER, epoch).await?;
    let name = names::init(situation, SMALL);
    figures.add_time(name.clone(), ended(&started.desktop, Phase::Container)?.1);
    let empty = (!situation.is_empty()).then_some(SMALL_INIT);
    if let Some(empty) = empty {
        figures.compare(&name, empty);
        // Where the time goes that others cost.
        for (phase, of) in PHASES {
            let (begin, end) = ended(&started.desktop, phase)?;
            figures.add_time(format!("{situation}{SMALL}: {of}"), end - begin);
        }
    }
    figures.add_time(format!("{situation}{SMALL}: {ANSWERS}"), started.elapsed);
    figures.add_time(format!("{situation}{SMALL}: {RELEASED}"), released);
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
    let init = ended(&started.desktop, Phase::Container)?.1;
    figures.add_time("init running, agent through runc", init);
    Ok(())
}

/// When a phase began and ended, since the request.
pub(crate) fn ended(desktop: &HostDesktop, phase: Phase) -> anyhow::Result<(Duration, Duration)> {
    client::phase(desktop, phase)
        .with_context(|| format!("the agent did not tell how long {} took", phase.as_str_name()))
}
