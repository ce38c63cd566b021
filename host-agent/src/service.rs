//! What the service manager is told (`sd_notify(3)`).

use std::time::Duration;

use rolltop_host_agent::work::blocking;
use sd_notify::NotifyState;
use tokio::time::{interval, timeout};
use tracing::warn;

/// Tells a change of state.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}

/// Tells, for ever, that this process is alive, if the service manager wants to
/// know (`WatchdogSec`): that tasks are run and threads for blocking work can be
/// had. An agent that cannot do either is killed, and the next one adopts what
/// it has.
pub(crate) async fn keep_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let period = limit / 3;
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        match timeout(period, blocking(|| ())).await {
            Ok(()) => notify(&[NotifyState::Watchdog]),
            Err(_elapsed) => warn!("no thread is to be had for blocking work"),
        }
    }
}
