//! The task of a desktop, from its start to its end.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rolltop_launcher::cgroup::Cgroup;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{Instrument as _, error, info, warn};

use super::{
    Desktop, StopOrder,
    farewell::end_by_itself,
    orders::{Asked, in_kernel, obey},
    output::output_tail,
    release::{ReleaseError, release},
    session::{Up, end_of, held_display, kills},
    start::{Base, NotUp, Risen, Start, record, start},
    verdict::{Remains, Verdict},
    warm::{self, Wait, Warm},
};
use crate::{
    display,
    host::Host,
    lifecycle::{EndReason, Event, State},
    metrics::{Started, StopPhase},
    process::{Ending, Process},
    view::{Failure, Phase},
    watcher::{self, Counting},
    work::blocking,
};

/// Waits between tries to release what would not go, and how many there are.
const RELEASE_TRIES: u32 = 5;
const RELEASE_WAIT: Duration = Duration::from_millis(100);

/// Begins the life of an admitted desktop.
pub fn begin(host: &Arc<Host>, desktop: Arc<Desktop>, plan: Start) {
    let host = Arc::clone(host);
    let number = plan.request.number;
    let span = desktop.span();
    let life = async move {
        info!(image = %plan.request.image, "starting");
        let orders = desktop.take_orders();
        match start(&host, &desktop, &Arc::new(plan)).await {
            Ok(Risen::Warm(warm)) => {
                count_start(&host, &desktop, Started::Warm);
                info!(elapsed_ms = desktop.elapsed().as_millis() as u64, "warm");
                tend(&host, &desktop, *warm, orders).await;
            }
            Ok(Risen::Up(up)) => go_on(&host, &desktop, Ok(up), orders).await,
            Err(not_up) => go_on(&host, &desktop, Err(not_up), orders).await,
        }
        host.registry.forget(number);
    };
    tokio::spawn(life.instrument(span));
}

/// From the outcome of a start, or of a warm desktop's assignment, to the end.
async fn go_on(
    host: &Arc<Host>,
    desktop: &Desktop,
    outcome: Result<Up, NotUp>,
    orders: mpsc::Receiver<Asked>,
) {
    match outcome {
        Ok(up) => {
            let was_warm = desktop.assigned.borrow().is_some();
            count_start(host, desktop, if was_warm { Started::Given } else { Started::Running });
            info!(elapsed_ms = desktop.elapsed().as_millis() as u64, "running");
            run(host, desktop, up, orders).await;
        }
        Err(NotUp::Stopped) => {
            count_start(host, desktop, Started::Stopped);
            finish(host, desktop, (EndReason::Stopped, None)).await;
        }
        Err(NotUp::Failed(failure)) => {
            count_start(host, desktop, Started::Failed(&failure));
            fail(host, desktop, failure).await;
        }
    }
}

/// A warm desktop, to its end: with a user or without.
async fn tend(host: &Arc<Host>, desktop: &Desktop, warm: Warm, mut orders: mpsc::Receiver<Asked>) {
    match warm::wait(host, desktop, &warm, &mut orders).await {
        Wait::Given(assignment) => {
            // It has another label and epoch from now on.
            let life = async {
                info!("given to its user");
                let outcome = warm::give(host, desktop, warm, &assignment).await;
                go_on(host, desktop, outcome, orders).await;
            };
            life.instrument(desktop.span()).await;
        }
        Wait::Ended(verdict) => {
            if verdict.0 == EndReason::Stopped && warm.base.own_init.is_some() {
                end_by_itself(host, desktop, StopOrder { grace: None }, &warm.base).await;
            }
            host.metrics.ended(verdict.0);
            drop(orders);
            finish(host, desktop, verdict).await;
        }
    }
}

fn count_start(host: &Host, desktop: &Desktop, outcome: Started<'_>) {
    host.metrics.started(&desktop.view().marks, desktop.elapsed(), outcome);
}

/// Goes on with the life of a desktop that outlived an earlier agent.
pub fn adopt(host: &Arc<Host>, desktop: Arc<Desktop>, init: Process) {
    let host = Arc::clone(host);
    let view = desktop.view();
    let number = view.record.number;
    let span = desktop.span();
    let life = async move {
        info!("adopted");
        let orders = desktop.take_orders();
        let own_init = view.record.init_stop_signal;
        match host.cgroup(number) {
            Ok(group) if view.state() == State::Warm => {
                let base = Base { init, group, own_init };
                match Warm::adopt(&host, &view.record, base).await {
                    Ok(warm) => tend(&host, &desktop, warm, orders).await,
                    // Nobody has it yet: there is nobody to miss it.
                    Err(error) => {
                        warn!(%error, "a warm desktop cannot be given to anybody; it ends");
                        finish(&host, &desktop, (EndReason::Stopped, None)).await;
                    }
                }
            }
            Ok(group) => {
                let log = host.paths.desktop(number).session_log();
                if let Err(error) = host.logs.add(&log) {
                    warn!(%error, "what the session writes is not kept short");
                }
                let display = display_server(&host, &desktop, &group).await;
                let up = Up { base: Base { init, group, own_init }, session: None, display };
                // The earlier agent may have died between saying and doing it.
                if view.state() == State::Frozen
                    && let Err(error) = in_kernel(&host, &desktop, &up.base, State::Frozen).await
                {
                    warn!(%error, "it cannot be frozen again");
                }
                run(&host, &desktop, up, orders).await;
            }
            // The configuration was checked when the agent started.
            Err(error) => error!(%error, "an adopted desktop cannot be watched"),
        }
        host.registry.forget(number);
    };
    tokio::spawn(life.instrument(span));
}

/// Goes on taking away what an earlier agent has left of a desktop; `releasing` has
/// begun to.
pub fn clear_away(
    host: &Arc<Host>,
    desktop: Arc<Desktop>,
    releasing: JoinHandle<Vec<ReleaseError>>,
) {
    let host = Arc::clone(host);
    let span = desktop.span();
    let life = async move {
        if !releasing.await.is_ok_and(|errors| errors.is_empty()) {
            release_stubbornly(&host, &desktop).await;
        }
        if let Err(error) = desktop.step(Event::Released) {
            error!(%error, "a release in the wrong place");
        }
        info!("its remains are gone");
        host.registry.forget(desktop.view().record.number);
    };
    tokio::spawn(life.instrument(span));
}

/// What draws a desktop that an earlier agent has started.
async fn display_server(host: &Host, desktop: &Desktop, group: &Cgroup) -> Option<Process> {
    let record = desktop.view().record;
    let dir = host.paths.desktop(record.number).display_dir();
    match display::connect(&dir, &record.display_socket).await {
        Ok(stream) => held_display(group, display::server(&stream)).await,
        Err(error) => {
            warn!(%error, "the display server is not known");
            None
        }
    }
}

async fn run(host: &Arc<Host>, desktop: &Desktop, up: Up, mut orders: mpsc::Receiver<Asked>) {
    let (init, members) = (&up.base.init, up.base.members());
    let session_ended = watcher::patiently(|| {
        let linger = host.live().linger;
        watcher::only_init_left(&members, Counting::Session, linger)
    });
    let mut session_ended = pin!(session_ended);
    let mut init_ended = pin!(watcher::patiently(|| init.ended()));
    let verdict = loop {
        tokio::select! {
            biased;
            order = desktop.stop_ordered() => {
                end_by_itself(host, desktop, order, &up.base).await;
                break (EndReason::Stopped, None);
            }
            _ended = &mut init_ended => break remains(desktop, None, &up).await.init_verdict(init.reap()),
            only_init = &mut session_ended => break match only_init {
                Ok(()) => {
                    let verdict = remains(desktop, up.session.clone(), &up).await.verdict();
                    // Commands from outside may have something to finish.
                    end_by_itself(host, desktop, StopOrder { grace: None }, &up.base).await;
                    verdict
                }
                Err(error) => {
                    warn!(%error, "the control group cannot be read; taking the desktop down");
                    (EndReason::InitExited, None)
                }
            },
            Some(asked) = orders.recv() => obey(host, desktop, &up.base, asked).await,
        }
    };
    host.metrics.ended(verdict.0);
    // Who still waits hears that it is ending.
    drop(orders);
    finish(host, desktop, verdict).await;
}

/// What is left to see of an ended session; of a `session` that is none, its
/// own end is not looked at.
async fn remains(
    desktop: &Desktop,
    session: Option<watch::Receiver<Option<Ending>>>,
    up: &Up,
) -> Remains {
    Remains {
        session: match session {
            Some(mut session) => end_of(&mut session).await,
            None => Ending::Unknown,
        },
        display: up.display.as_ref().map_or(Ending::Unknown, Process::reap),
        oom_kills: kills(&up.base.group).await,
        memory_limit_mib: desktop.view().record.limits.memory_mib,
    }
}

/// Takes everything down and tells the end.
async fn finish(host: &Arc<Host>, desktop: &Desktop, (reason, trouble): Verdict) {
    if let Some(trouble) = trouble {
        warn!(code = reason.code(), reason = %trouble, "ended badly");
        let log = host.paths.desktop(desktop.view().record.number).session_log();
        let output_tail = blocking(move || output_tail(&log)).await;
        let code = reason.code();
        desktop.set_failure(Failure { phase: Phase::Session, code, reason: trouble, output_tail });
    }
    desktop.set_end(reason);
    if let Err(error) = desktop.step(Event::Stop) {
        error!(%error, "an end in the wrong place");
    }
    if let Err(error) = record(host, desktop).await {
        // Only delays what the next agent would do after a crash right now.
        warn!(%error, "cannot write the record");
    }
    release_stubbornly(host, desktop).await;
    if let Err(error) = desktop.step(Event::Released) {
        error!(%error, "a release in the wrong place");
    }
    info!(reason = reason.code(), "gone");
}

/// Takes away what a failed start made, and tells the failure.
async fn fail(host: &Arc<Host>, desktop: &Desktop, failure: Failure) {
    warn!(
        phase = failure.phase.as_str(),
        code = failure.code,
        reason = %failure.reason,
        "did not come up"
    );
    release_stubbornly(host, desktop).await;
    desktop.set_failure(failure);
    if let Err(error) = desktop.step(Event::Fail) {
        error!(%error, "a failure in the wrong place");
    }
}

async fn release_stubbornly(host: &Arc<Host>, desktop: &Desktop) {
    let record = desktop.view().record;
    let begun = Instant::now();
    let mut attempt = 1;
    loop {
        let errors = release(host, record.number, Some(&record.runtime)).await;
        if errors.is_empty() {
            return host.metrics.stop_phase(StopPhase::Release, begun);
        }
        host.metrics.not_released(errors.len(), false);
        for error in &errors {
            warn!(attempt, error = %super::failure::sentence(error), "cannot release");
        }
        // What waits in the kernel for a server goes when that is back, or is
        // given up: no reason to leave it behind.
        if attempt >= RELEASE_TRIES && !host.storage.is_silent() {
            break;
        }
        tokio::time::sleep(RELEASE_WAIT * attempt.min(RELEASE_TRIES)).await;
        attempt += 1;
    }
    host.metrics.not_released(0, true);
    error!("something of the desktop stays; the next start of the agent tries again");
}
