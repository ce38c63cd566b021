//! The end of a desktop as its processes see it: each is asked before it is
//! killed.

use std::{
    io,
    time::{Duration, Instant},
};

use rolltop_fail_points as fail_points;
use rustix::process::Signal;
use tracing::{error, info, warn};

use super::{
    Desktop, StopOrder,
    orders::in_kernel,
    start::{Base, record},
};
use crate::{
    host::Host,
    lifecycle::{Event, State},
    metrics::StopPhase,
    process::Process,
    watcher::{self, Counting},
    work::blocking,
};

/// Asks the session to end, then an init of the image's own, and waits for each a
/// while.
pub(super) async fn end_by_itself(host: &Host, desktop: &Desktop, order: StopOrder, base: &Base) {
    if desktop.view().state() == State::Frozen
        && let Err(error) = in_kernel(host, desktop, base, State::Running).await
    {
        warn!(%error, "it cannot be thawed: its processes cannot end by themselves");
    }
    if let Err(error) = desktop.step(Event::Stop) {
        error!(%error, "a stop order in the wrong place");
    }
    // Before anything is asked to end: the next agent must not take what ends
    // for what runs.
    if let Err(error) = record(host, desktop).await {
        warn!(%error, "cannot write the record");
    }
    end_session(host, order, base).await;
    if let Some(signal) = base.own_init {
        end_init(host, &base.init, signal).await;
    }
}

/// Asks every process but init, and what that has begun itself, to end.
async fn end_session(host: &Host, order: StopOrder, base: &Base) {
    let begun = Instant::now();
    let grace = order.grace.unwrap_or(host.live().stop_grace);
    let members = base.members();
    let asked = {
        let members = members.clone();
        blocking(move || {
            let others = watcher::counted(&members, Counting::All).map_err(io::Error::other)?;
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
    fail_points::pass("ask session to end");
    if let Err(error) = asked {
        warn!(%error, "cannot ask the session to end; ending it");
        return;
    }
    let ended = watcher::only_init_left(&members, Counting::All, Duration::ZERO);
    if tokio::time::timeout(grace, ended).await.is_err() {
        info!(?grace, "the session did not end by itself; ending it");
    }
    host.metrics.stop_phase(StopPhase::Session, begun);
}

/// Asks an init to end what it has begun, and itself.
async fn end_init(host: &Host, init: &Process, signal: i32) {
    let begun = Instant::now();
    let grace = host.live().init_grace;
    if let Err(error) = rolltop_sys::pidfd::send_signal(init.pidfd(), signal) {
        warn!(%error, signal, "cannot ask init to end; ending it");
        return;
    }
    fail_points::pass("ask init to end");
    match tokio::time::timeout(grace, init.ended()).await {
        // Nothing of it may hold up the end of its namespace.
        Ok(_ended) => {
            init.reap();
        }
        Err(_elapsed) => info!(?grace, "init did not end by itself; ending it"),
    }
    host.metrics.stop_phase(StopPhase::Init, begun);
}
