//! The task of a desktop, from its start to its end.

use std::{io, sync::Arc, time::Duration};

use rolltop_launcher::cgroup::Cgroup;
use rustix::process::Signal;
use tokio::sync::watch;
use tracing::{Instrument as _, error, info, info_span, warn};

use super::{
    Desktop, StopOrder,
    release::release,
    start::{NotUp, Start, Up, end_of, held_display, kills, output_tail, record, start},
    verdict::{Remains, Verdict},
};
use crate::{
    display,
    host::Host,
    lifecycle::{EndReason, Event},
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
    let span =
        info_span!("desktop", %number, label = %plan.request.label, epoch = plan.request.epoch);
    let life = async move {
        info!(image = %plan.request.image, "starting");
        match start(&host, &desktop, &Arc::new(plan)).await {
            Ok(up) => {
                info!(elapsed_ms = desktop.begun.elapsed().as_millis() as u64, "running");
                run(&host, &desktop, up).await;
            }
            Err(NotUp::Stopped) => {
                finish(&host, &desktop, (EndReason::Stopped, None)).await;
            }
            Err(NotUp::Failed(failure)) => fail(&host, &desktop, failure).await,
        }
        host.registry.forget(number);
    };
    tokio::spawn(life.instrument(span));
}

/// Goes on with the life of a desktop that outlived an earlier agent.
pub fn adopt(host: &Arc<Host>, desktop: Arc<Desktop>, init: Process) {
    let host = Arc::clone(host);
    let view = desktop.view();
    let number = view.record.number;
    let span =
        info_span!("desktop", %number, label = %view.record.label, epoch = view.record.epoch);
    let life = async move {
        info!("adopted");
        match host.cgroup(number) {
            Ok(group) => {
                let display = display_server(&host, &desktop, &group).await;
                run(&host, &desktop, Up { init, group, session: None, display }).await;
            }
            // The configuration was checked when the agent started.
            Err(error) => error!(%error, "an adopted desktop cannot be watched"),
        }
        host.registry.forget(number);
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

async fn run(host: &Arc<Host>, desktop: &Desktop, up: Up) {
    let Up { ref init, ref group, .. } = up;
    let linger = host.config.deadlines.linger;
    let session_ended = watcher::patiently(|| {
        watcher::only_init_left(group, init.id().pid, Counting::Session, linger)
    });
    let verdict = tokio::select! {
        biased;
        order = desktop.stop_ordered() => {
            end_session(host, desktop, order, init, group).await;
            (EndReason::Stopped, None)
        }
        _ended = watcher::patiently(|| init.ended()) => remains(desktop, None, &up).await.init_verdict(init.reap()),
        only_init = session_ended => match only_init {
            Ok(()) => {
                let verdict = remains(desktop, up.session.clone(), &up).await.verdict();
                // Commands from outside may have something to finish.
                end_session(host, desktop, StopOrder { grace: None }, init, group).await;
                verdict
            }
            Err(error) => {
                warn!(%error, "the control group cannot be read; taking the desktop down");
                (EndReason::InitExited, None)
            }
        },
    };
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
        oom_kills: kills(&up.group).await,
        memory_limit_mib: desktop.view().record.limits.memory_mib,
    }
}

/// Asks every process of the desktop to end, and waits for it a while.
async fn end_session(
    host: &Host,
    desktop: &Desktop,
    order: StopOrder,
    init: &Process,
    group: &Cgroup,
) {
    if let Err(error) = desktop.step(Event::Stop) {
        error!(%error, "a stop order in the wrong place");
    }
    let grace = order.grace.unwrap_or(host.config.deadlines.stop_grace);
    let pid = init.id().pid;
    let asked = {
        let group = group.clone();
        blocking(move || {
            let pids = watcher::pids(&group).map_err(io::Error::other)?;
            let others = pids.into_iter().filter(|other| *other != pid);
            for other in others {
                // One that has gone in the meantime needs no signal.
                if let Some(process) = Process::find(other)? {
                    process.signal(Signal::TERM)?;
                }
            }
            io::Result::Ok(())
        })
        .await
    };
    if let Err(error) = asked {
        warn!(%error, "cannot ask the session to end; ending it");
        return;
    }
    let ended = watcher::only_init_left(group, pid, Counting::All, Duration::ZERO);
    if tokio::time::timeout(grace, ended).await.is_err() {
        info!(?grace, "the session did not end by itself; ending it");
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
    let mut attempt = 1;
    loop {
        let errors = release(host, record.number, Some(&record.runtime)).await;
        if errors.is_empty() {
            return;
        }
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
    error!("something of the desktop stays; the next start of the agent tries again");
}
