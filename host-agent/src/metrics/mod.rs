//! What the agent counts and measures, for a Prometheus server.
//!
//! No metric is about one desktop: a label with its number would make new time
//! series for every start, and each of them stays in the server's memory for
//! hours. What one desktop uses is told by `GetDesktopStats`.

mod sample;
mod space;

use std::time::{Duration, Instant};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rolltop_metrics::{Labels, calls::Calls, encode, seconds};
use rolltop_proto::v1;
use thiserror::Error;

use self::space::Space;
use crate::{
    host::Host,
    lifecycle::EndReason,
    recovery::Recovered,
    reload::Reloaded,
    view::{Failure, Mark, Phase},
};

const PREFIX: &str = "rolltop_agent";

type Count<const N: usize> = Family<Labels<N>, Counter>;
type Times = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// The API's own description cannot be read.
#[derive(Debug, Error)]
#[error("the API's description is damaged")]
pub struct MetricsError(#[source] prost::DecodeError);

/// Everything that is counted as it happens. What can be looked at any time is
/// looked at when someone reads it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Calls; a layer for the server.
    pub(crate) calls: Calls,
    space: Space,
    starts: Count<1>,
    start_failures: Count<2>,
    start_seconds: Histogram,
    assign_seconds: Histogram,
    start_phase_seconds: Times,
    ends: Count<1>,
    stop_phase_seconds: Times,
    release_errors: Counter,
    releases_given_up: Counter,
    lanes_waiting: Gauge,
    lane_wait_seconds: Histogram,
    recovered: Count<1>,
    reloads: Count<1>,
    reload_refused: Gauge,
    displays_connected: Gauge,
    display_connections: Counter,
    display_bytes: Count<1>,
}

/// What became of a start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Started<'a> {
    Running,
    /// It was warm, and got a user.
    Given,
    /// As far as it goes without its user.
    Warm,
    Stopped,
    Failed(&'a Failure),
}

/// A part of taking a desktop down.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StopPhase {
    /// Its session ends by itself, or is given up waiting for.
    Session,
    /// An init of its image's own ends what it has begun, or is given up waiting
    /// for.
    Init,
    /// Everything it had is taken away.
    Release,
}

/// Which way a display's bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    ToViewer,
    ToDesktop,
}

/// Someone who waits for a lane, or looks at a display; not any more when it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Present<'a>(&'a Gauge);

impl<'a> Present<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Metrics ===

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// The program was built wrong.
    pub fn new() -> Result<Self, MetricsError> {
        let times = || Family::new_with_constructor(seconds as fn() -> Histogram);
        let metrics = Self {
            registry: Registry::default(),
            calls: Calls::new(v1::DESCRIPTORS).map_err(MetricsError)?,
            space: Space::default(),
            starts: Family::default(),
            start_failures: Family::default(),
            start_seconds: seconds(),
            assign_seconds: seconds(),
            start_phase_seconds: times(),
            ends: Family::default(),
            stop_phase_seconds: times(),
            release_errors: Counter::default(),
            releases_given_up: Counter::default(),
            lanes_waiting: Gauge::default(),
            lane_wait_seconds: seconds(),
            recovered: Family::default(),
            reloads: Family::default(),
            reload_refused: Gauge::default(),
            displays_connected: Gauge::default(),
            display_connections: Counter::default(),
            display_bytes: Family::default(),
        };
        metrics.zero();
        Ok(metrics.registered())
    }

    /// A series that appears with its first event has no increase to alert on.
    fn zero(&self) {
        for outcome in ["running", "warm", "failed", "stopped"] {
            drop(self.starts.get_or_create(&[("outcome", outcome)]));
        }
        for phase in Phase::ALL {
            drop(self.start_phase_seconds.get_or_create(&[("phase", phase.as_str())]));
        }
        for phase in [StopPhase::Session, StopPhase::Init, StopPhase::Release] {
            drop(self.stop_phase_seconds.get_or_create(&[("phase", phase.as_str())]));
        }
        for reason in EndReason::ALL {
            drop(self.ends.get_or_create(&[("reason", reason.code())]));
        }
        for outcome in Reloaded::ALL {
            drop(self.reloads.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for direction in [Direction::ToViewer, Direction::ToDesktop] {
            drop(self.display_bytes.get_or_create(&[("direction", direction.as_str())]));
        }
    }

    fn registered(mut self) -> Self {
        let mut r = Registry::with_prefix(PREFIX);
        self.calls.register(&mut r);
        r.register(
            "starts",
            "Starts that came to an outcome; of a warm desktop, that and its user's",
            self.starts.clone(),
        );
        r.register(
            "start_failures",
            "Starts that failed, by phase and reason code",
            self.start_failures.clone(),
        );
        r.register(
            "start_seconds",
            "From a start's request to its display's answer, of those that came up",
            self.start_seconds.clone(),
        );
        r.register(
            "assign_seconds",
            "From a warm desktop's assignment to its display's answer, of those that came up",
            self.assign_seconds.clone(),
        );
        r.register(
            "start_phase_seconds",
            "Phases of starts that ended well; container holds network",
            self.start_phase_seconds.clone(),
        );
        r.register("ends", "Desktops that were up and ended, by reason", self.ends.clone());
        r.register(
            "stop_phase_seconds",
            "Phases of taking desktops down: the session's own end, and the release",
            self.stop_phase_seconds.clone(),
        );
        r.register(
            "release_errors",
            "Tries to take something of a desktop away that failed",
            self.release_errors.clone(),
        );
        r.register(
            "releases_given_up",
            "Desktops of which something stays on the host",
            self.releases_given_up.clone(),
        );
        r.register("lanes_waiting", "Starts that wait for a lane", self.lanes_waiting.clone());
        r.register(
            "lane_wait_seconds",
            "How long starts waited for a lane",
            self.lane_wait_seconds.clone(),
        );
        r.register(
            "recovered",
            "What this agent found of desktops when it began",
            self.recovered.clone(),
        );
        r.register(
            "config_reloads",
            "Times the configuration was read again",
            self.reloads.clone(),
        );
        r.register(
            "config_refused",
            "1 while the configuration that was read last cannot be used",
            self.reload_refused.clone(),
        );
        r.register(
            "displays_connected",
            "Connections to displays now",
            self.displays_connected.clone(),
        );
        r.register(
            "display_connections",
            "Connections to displays so far",
            self.display_connections.clone(),
        );
        r.register("display_bytes", "Bytes of displays relayed", self.display_bytes.clone());
        self.registry = r;
        self
    }

    /// A start came to an outcome.
    pub(crate) fn started(&self, marks: &[Mark], elapsed: Duration, outcome: Started<'_>) {
        for (phase, took) in finished_phases(marks) {
            self.start_phase_seconds
                .get_or_create(&[("phase", phase.as_str())])
                .observe(took.as_secs_f64());
        }
        let word = match outcome {
            Started::Running => {
                self.start_seconds.observe(elapsed.as_secs_f64());
                "running"
            }
            Started::Given => {
                self.assign_seconds.observe(elapsed.as_secs_f64());
                "running"
            }
            Started::Warm => "warm",
            Started::Stopped => "stopped",
            Started::Failed(failure) => {
                let labels = [("phase", failure.phase.as_str()), ("reason", failure.code)];
                self.start_failures.get_or_create(&labels).inc();
                "failed"
            }
        };
        self.starts.get_or_create(&[("outcome", word)]).inc();
    }

    /// A desktop that was up has ended.
    pub(crate) fn ended(&self, reason: EndReason) {
        self.ends.get_or_create(&[("reason", reason.code())]).inc();
    }

    /// A part of taking a desktop down is over.
    pub(crate) fn stop_phase(&self, phase: StopPhase, begun: Instant) {
        let labels = [("phase", phase.as_str())];
        self.stop_phase_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    }

    /// Something could not be taken away, for now or, `given_up`, for good.
    pub(crate) fn not_released(&self, errors: usize, given_up: bool) {
        self.release_errors.inc_by(errors as u64);
        if given_up {
            self.releases_given_up.inc();
        }
    }

    /// Counts who waits for a lane, and how long.
    pub(crate) async fn waiting<T>(&self, wait: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let waiting = Present::new(&self.lanes_waiting);
        let done = wait.await;
        drop(waiting);
        self.lane_wait_seconds.observe(begun.elapsed().as_secs_f64());
        done
    }

    /// What a new agent found.
    pub(crate) fn recovered(&self, found: Recovered) {
        let Recovered { adopted, removed, stuck, late } = found;
        let all = [("adopted", adopted), ("removed", removed), ("stuck", stuck), ("late", late)];
        for (what, number) in all {
            self.recovered.get_or_create(&[("what", what)]).inc_by(number as u64);
        }
    }

    /// The configuration was read again.
    pub(crate) fn reloaded(&self, outcome: Reloaded) {
        self.reloads.get_or_create(&[("outcome", outcome.as_str())]).inc();
        self.reload_refused.set(i64::from(outcome == Reloaded::Refused));
    }

    /// Someone looks at a display, until this is dropped.
    pub(crate) fn viewer(&self) -> Present<'_> {
        self.display_connections.inc();
        Present::new(&self.displays_connected)
    }

    /// Bytes of a display have been passed on.
    pub(crate) fn relayed(&self, direction: Direction, bytes: usize) {
        let labels = [("direction", direction.as_str())];
        self.display_bytes.get_or_create(&labels).inc_by(bytes as u64);
    }
}

/// Everything, as text; `None` and a line in the log if it cannot be told.
pub async fn read(host: &Host) -> Option<String> {
    let mut now = Registry::with_prefix(PREFIX);
    sample::take(host, &mut now).await;
    let mut process = Registry::default();
    rolltop_metrics::register_process(&mut process);
    match encode(&[&host.metrics.registry, &now, &process]) {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written down");
            None
        }
    }
}

/// Phases that have both begun and ended, and how long they took.
fn finished_phases(marks: &[Mark]) -> impl Iterator<Item = (Phase, Duration)> + '_ {
    marks.iter().filter(|mark| mark.done).filter_map(|end| {
        let begin = marks.iter().find(|mark| mark.phase == end.phase && !mark.done)?;
        Some((end.phase, end.elapsed.saturating_sub(begin.elapsed)))
    })
}

impl StopPhase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Init => "init",
            Self::Release => "release",
        }
    }
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::ToViewer => "to_viewer",
            Self::ToDesktop => "to_desktop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(phase: Phase, done: bool, ms: u64) -> Mark {
        Mark { phase, done, elapsed: Duration::from_millis(ms) }
    }

    fn told(metrics: &Metrics) -> String {
        encode(&[&metrics.registry]).unwrap()
    }

    #[test]
    fn only_finished_phases_have_a_time() {
        let marks = [
            mark(Phase::Disk, false, 1),
            mark(Phase::Disk, true, 5),
            mark(Phase::Container, false, 5),
            mark(Phase::Network, false, 7),
            mark(Phase::Network, true, 9),
        ];
        let times: Vec<_> = finished_phases(&marks).collect();
        let ms = Duration::from_millis;
        assert_eq!(times, [(Phase::Disk, ms(4)), (Phase::Network, ms(2))]);
    }

    #[test]
    fn outcomes_are_counted_and_zeros_are_there_from_the_start() {
        let metrics = Metrics::new().unwrap();
        let text = told(&metrics);
        assert!(text.contains("rolltop_agent_ends_total{reason=\"LOGOUT\"} 0"), "{text}");
        assert!(text.contains("rolltop_agent_starts_total{outcome=\"failed\"} 0"), "{text}");

        let failure = Failure {
            phase: Phase::Disk,
            code: "DISK_FULL",
            reason: String::new(),
            output_tail: Vec::new(),
        };
        metrics.started(&[], Duration::ZERO, Started::Failed(&failure));
        metrics.started(&[], Duration::from_millis(90), Started::Running);
        metrics.ended(EndReason::Logout);
        let text = told(&metrics);
        let failures = "start_failures_total{phase=\"disk\",reason=\"DISK_FULL\"} 1";
        for line in [
            failures,
            "rolltop_agent_starts_total{outcome=\"failed\"} 1",
            "rolltop_agent_start_seconds_count 1",
            "rolltop_agent_ends_total{reason=\"LOGOUT\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[tokio::test]
    async fn who_gives_up_waiting_waits_no_more() {
        let metrics = Metrics::new().unwrap();
        let forever = metrics.waiting(std::future::pending::<()>());
        let mut forever = Box::pin(forever);
        assert!(futures_util::poll!(forever.as_mut()).is_pending());
        assert!(told(&metrics).contains("lanes_waiting 1"));
        drop(forever);
        assert!(told(&metrics).contains("lanes_waiting 0"));
        metrics.waiting(std::future::ready(())).await;
        assert!(told(&metrics).contains("lane_wait_seconds_count 1"));
    }
}
