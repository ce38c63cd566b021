//! What the time of a desktop is counted by: what its pool allows, when it was
//! last used, and when it will be ended for that.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How long desktops of a pool may go on, in milliseconds; none: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeLimits {
    /// Without a key, a pointer or a pasted text from its user.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// With nobody connected.
    #[serde(default)]
    pub disconnected_ms: Option<u64>,
    /// From its start, whatever goes on in it.
    #[serde(default)]
    pub total_ms: Option<u64>,
    /// Its user is told so long before the end, at least.
    #[serde(default)]
    pub warning_ms: u64,
}

/// Which limit ends a desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// Nobody has used it.
    Idle,
    /// Nobody has been connected.
    Disconnected,
    /// It has run for long enough.
    Total,
}

/// The end of a desktop by a limit, as its user was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryRecord {
    /// By which.
    pub limit: TimeLimit,
    /// When.
    pub at: Timestamp,
    /// One sentence why.
    pub because: String,
}

/// Who sat at a desktop last. While somebody does, when they last used it is
/// known to their broker alone: a write for each key would be too many.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeatRecord {
    /// The connection that is there; empty: none.
    pub connection: String,
    /// When somebody last came or left, or used it before they left; none:
    /// nobody ever came.
    pub input_at: Option<Timestamp>,
    /// When the last one left.
    pub left_at: Option<Timestamp>,
}

// === impl TimeLimits ===

impl TimeLimits {
    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        self.idle_ms.is_some() || self.disconnected_ms.is_some() || self.total_ms.is_some()
    }
}

// === impl TimeLimit ===

impl TimeLimit {
    /// The end reason of a desktop that it ended.
    pub fn end_reason(self) -> &'static str {
        match self {
            Self::Idle => "IDLE_LIMIT",
            Self::Disconnected => "DISCONNECTED_LIMIT",
            Self::Total => "TIME_LIMIT",
        }
    }
}

// === impl SeatRecord ===

impl SeatRecord {
    /// Somebody has come.
    pub fn entered(connection: &str, now: Timestamp) -> Self {
        Self { connection: connection.to_owned(), input_at: Some(now), left_at: None }
    }

    /// They have left, and used it last at `input_at`.
    #[must_use]
    pub fn left(&self, input_at: Timestamp, now: Timestamp) -> Self {
        Self { connection: String::new(), input_at: Some(input_at), left_at: Some(now) }
    }
}
