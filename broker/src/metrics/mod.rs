//! What the broker counts and measures, for a Prometheus server.
//!
//! As with the agent's, no metric is about one desktop or one user: labels are
//! closed sets, but for the names of pools, which operators make. What the cluster is like now is told by every broker, as each
//! sees it; what was done, by the one that did it.

mod sample;
mod store;

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rolltop_metrics::{Labels, calls::Calls, encode, seconds};
use rolltop_proto::v1::{DESCRIPTORS, Phase};
use thiserror::Error;

pub use store::Measured;

use crate::{
    desktops::{DesktopError, Desktops},
    gateway::End,
    hosts::Hosts,
    rollout::Rollouts,
    state::{DesktopRecord, DesktopState},
    versions::Versions,
};

const PREFIX: &str = "rolltop_broker";

const PHASES: [Phase; 6] = [
    Phase::Placement,
    Phase::Disk,
    Phase::Network,
    Phase::Container,
    Phase::Session,
    Phase::Display,
];

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
    starts: Count<1>,
    start_failures: Count<1>,
    start_seconds: Histogram,
    warm_claims: Count<1>,
    warm_makes: Count<1>,
    connections: Gauge,
    connection_ends: Count<1>,
    display_bytes: Count<1>,
    store_seconds: Times,
    store_errors: Count<1>,
}

/// What a request for a desktop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is up; or it was already.
    Running,
    /// Its host gave it up.
    Failed,
    /// No host fits.
    NoRoom,
    /// Whoever asked may not have it, or it was stopped meanwhile.
    Refused,
    /// The broker, its store or its line to the host is at fault.
    Broken,
}

/// Which way a display's bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    /// What the screen shows.
    ToViewer,
    /// Keys and pointer.
    ToDesktop,
}

/// Someone who looks at a desktop, until this is dropped.
#[derive(Debug)]
pub(crate) struct Looking<'a>(&'a Gauge);

impl Drop for Looking<'_> {
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
        let metrics = Self {
            registry: Registry::default(),
            calls: Calls::new(DESCRIPTORS).map_err(MetricsError)?,
            starts: Family::default(),
            start_failures: Family::default(),
            start_seconds: seconds(),
            warm_claims: Family::default(),
            warm_makes: Family::default(),
            connections: Gauge::default(),
            connection_ends: Family::default(),
            display_bytes: Family::default(),
            store_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            store_errors: Family::default(),
        };
        metrics.zero();
        Ok(metrics.registered())
    }

    /// A series that appears with its first event has no increase to alert on.
    fn zero(&self) {
        for outcome in Outcome::ALL {
            drop(self.starts.get_or_create(&[("outcome", outcome.as_str())]));
        }
        for outcome in ["given", "none"] {
            drop(self.warm_claims.get_or_create(&[("outcome", outcome)]));
        }
        for outcome in ["ready", "failed"] {
            drop(self.warm_makes.get_or_create(&[("outcome", outcome)]));
        }
        for reason in End::WORDS {
            drop(self.connection_ends.get_or_create(&[("reason", reason)]));
        }
        for phase in PHASES {
            drop(self.start_failures.get_or_create(&[("phase", word_of(phase))]));
        }
        for direction in [Direction::ToViewer, Direction::ToDesktop] {
            drop(self.display_bytes.get_or_create(&[("direction", direction.as_str())]));
        }
        for operation in store::OPERATIONS {
            drop(self.store_seconds.get_or_create(&[("operation", operation)]));
            drop(self.store_errors.get_or_create(&[("operation", operation)]));
        }
    }

    fn registered(mut self) -> Self {
        let mut r = Registry::with_prefix(PREFIX);
        self.calls.register(&mut r);
        r.register("starts", "Starts that this broker saw to, by outcome", self.starts.clone());
        r.register(
            "start_failures",
            "Starts that their hosts gave up, by phase",
            self.start_failures.clone(),
        );
        r.register(
            "start_seconds",
            "From a request to its desktop being up, of those that were not there before",
            self.start_seconds.clone(),
        );
        r.register(
            "warm_claims",
            "Claims in pools that keep warm desktops: one was given, or none was there",
            self.warm_claims.clone(),
        );
        r.register(
            "warm_makes",
            "Desktops that this broker had made ahead of their users, by outcome",
            self.warm_makes.clone(),
        );
        r.register("connections", "Connections to desktops now", self.connections.clone());
        r.register(
            "connection_ends",
            "Connections that have ended or were not let in, by reason",
            self.connection_ends.clone(),
        );
        r.register("display_bytes", "Bytes of displays relayed", self.display_bytes.clone());
        r.register("store_seconds", "How long the store took", self.store_seconds.clone());
        r.register(
            "store_errors",
            "What the store could not do, lost races not counted",
            self.store_errors.clone(),
        );
        self.registry = r;
        self
    }

    /// A start came to an outcome.
    pub(crate) fn started(&self, elapsed: Duration, outcome: &Result<DesktopRecord, DesktopError>) {
        let word = Outcome::of(outcome);
        self.starts.get_or_create(&[("outcome", word.as_str())]).inc();
        let Ok(record) = outcome else { return };
        match word {
            Outcome::Failed => {
                let phase = record.failure.as_ref().map_or(0, |failure| failure.phase);
                let phase = word_of(Phase::try_from(phase).unwrap_or_default());
                self.start_failures.get_or_create(&[("phase", phase)]).inc();
            }
            Outcome::Running | Outcome::NoRoom | Outcome::Refused | Outcome::Broken => {
                self.start_seconds.observe(elapsed.as_secs_f64());
            }
        }
    }

    /// A desktop was claimed in a pool that keeps warm ones.
    pub(crate) fn warm_claimed(&self, given: bool) {
        let outcome = if given { "given" } else { "none" };
        self.warm_claims.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A desktop was made ahead of its user, or could not be.
    pub(crate) fn warm_made(&self, ready: bool) {
        let outcome = if ready { "ready" } else { "failed" };
        self.warm_makes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Someone looks at a desktop, until this is dropped.
    pub(crate) fn looking(&self) -> Looking<'_> {
        self.connections.inc();
        Looking(&self.connections)
    }

    /// A connection has ended, or was not let in.
    pub(crate) fn left(&self, end: &End) {
        self.connection_ends.get_or_create(&[("reason", end.word())]).inc();
    }

    /// Bytes of a display were passed on.
    pub(crate) fn relayed(&self, direction: Direction, bytes: usize) {
        let labels = [("direction", direction.as_str())];
        self.display_bytes.get_or_create(&labels).inc_by(bytes as u64);
    }
}

/// What is looked at when someone reads the metrics.
#[derive(Clone)]
pub struct Present {
    /// The hosts.
    pub hosts: Hosts,
    /// Starts under way.
    pub desktops: Desktops,
    /// Desktops that are behind.
    pub versions: Versions,
    /// What is done about that.
    pub rollouts: Rollouts,
}

/// Everything, as text; `None` and a line in the log if it cannot be told.
pub fn read(metrics: &Metrics, present: &Present) -> Option<String> {
    let mut now = Registry::with_prefix(PREFIX);
    sample::take(present, &mut now);
    let mut process = Registry::default();
    rolltop_metrics::register_process(&mut process);
    match encode(&[&metrics.registry, &now, &process]) {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written down");
            None
        }
    }
}

fn word_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "unknown",
        Phase::Placement => "placement",
        Phase::Disk => "disk",
        Phase::Network => "network",
        Phase::Container => "container",
        Phase::Session => "session",
        Phase::Display => "display",
    }
}

// === impl Outcome ===

impl Outcome {
    const ALL: [Self; 5] = [Self::Running, Self::Failed, Self::NoRoom, Self::Refused, Self::Broken];

    fn of(outcome: &Result<DesktopRecord, DesktopError>) -> Self {
        match outcome {
            Ok(record) if record.state == DesktopState::Failed => Self::Failed,
            Ok(_) => Self::Running,
            Err(DesktopError::NoRoom(_)) => Self::NoRoom,
            Err(
                DesktopError::Unknown(_)
                | DesktopError::UnknownPool(_)
                | DesktopError::UnknownUser(_)
                | DesktopError::NotEntitled { .. }
                | DesktopError::WrongState { .. }
                | DesktopError::DataApart { .. }
                | DesktopError::DataHeld { .. }
                | DesktopError::DataOnLostHost { .. }
                | DesktopError::Superseded { .. }
                | DesktopError::Stopped(_),
            ) => Self::Refused,
            Err(_) => Self::Broken,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failed => "failed",
            Self::NoRoom => "no_room",
            Self::Refused => "refused",
            Self::Broken => "broken",
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
    use crate::names::DesktopId;

    fn told(metrics: &Metrics) -> String {
        encode(&[&metrics.registry]).unwrap()
    }

    #[test]
    fn outcomes_are_counted_and_zeros_are_there_from_the_start() {
        let metrics = Metrics::new().unwrap();
        let text = told(&metrics);
        for zero in [
            "rolltop_broker_starts_total{outcome=\"no_room\"} 0",
            "rolltop_broker_start_failures_total{phase=\"disk\"} 0",
            "rolltop_broker_warm_claims_total{outcome=\"none\"} 0",
            "rolltop_broker_warm_makes_total{outcome=\"failed\"} 0",
            "rolltop_broker_store_errors_total{operation=\"commit\"} 0",
        ] {
            assert!(text.contains(zero), "{zero}: {text}");
        }
        let id = DesktopId::from_key("demo/anna").unwrap();
        let pool = id.pool.clone();
        for (error, word) in [
            (DesktopError::Stopped(id.clone()), "refused"),
            (DesktopError::UnknownPool(pool), "refused"),
            (DesktopError::Abandoned(id), "broken"),
        ] {
            assert_eq!(Outcome::of(&Err(error)).as_str(), word);
        }
    }

    #[test]
    fn who_looks_is_counted_for_as_long_as_they_look() {
        let metrics = Metrics::new().unwrap();
        let looking = metrics.looking();
        assert!(told(&metrics).contains("rolltop_broker_connections 1"));
        drop(looking);
        metrics.left(&End::ClientLeft);
        let text = told(&metrics);
        assert!(text.contains("rolltop_broker_connections 0"), "{text}");
        assert!(text.contains("connection_ends_total{reason=\"client_left\"} 1"), "{text}");
    }
}
