//! The wall clock, passed in so that tests can move it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Milliseconds since 1970, as stored in records.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

// === impl Timestamp ===

impl Timestamp {
    /// This much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long until then; zero when it has passed.
    pub fn until(self, then: Self) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(Timestamp(millis): Timestamp) -> Self {
        Self {
            seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
            // Below a second, so it fits.
            nanos: (millis % 1000) as i32 * 1_000_000,
        }
    }
}

impl From<prost_types::Timestamp> for Timestamp {
    fn from(stamp: prost_types::Timestamp) -> Self {
        let seconds = u64::try_from(stamp.seconds).unwrap_or(0);
        let millis = u64::try_from(stamp.nanos / 1_000_000).unwrap_or(0);
        Self(seconds.saturating_mul(1000).saturating_add(millis))
    }
}
