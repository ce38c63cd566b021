//! The documented JSON of every result, and how each is drawn for people.
//!
//! Rules of the schema: snake_case keys; times in RFC 3339, UTC; `_bytes`,
//! `_mib`, `_ms` in the key say the unit; enums as lower-case words; what is
//! not there is `null`, never an empty string or a zero; keys are only added.

mod adopted;
mod audit;
mod data;
mod desktop;
mod enrol;
mod gc;
mod group;
mod host;
mod image;
mod placement;
mod pool;
mod rollout;
mod session;
mod stats;
mod token;
mod user;
mod words;

use std::time::SystemTime;

pub(crate) use adopted::AdoptedView;
pub(crate) use audit::{ActList, AuditEntryView, AuditList};
pub(crate) use data::{CheckView, DataList, DataView, SnapshotList, SnapshotView, task_word};
pub(crate) use desktop::{DesktopList, DesktopView, ProgressView};
pub(crate) use enrol::EnrolTokenView;
pub(crate) use gc::{GcVersion, GcView};
pub(crate) use group::{GroupList, GroupView, MemberList};
pub(crate) use host::{HostList, HostView};
pub(crate) use image::{ImageList, ImageView, RetiredView};
pub(crate) use placement::PlacementView;
pub(crate) use pool::{PoolList, PoolView};
pub(crate) use rollout::{RolloutList, RolloutView};
pub(crate) use session::{SessionList, SessionView};
pub(crate) use stats::{ProcessList, StatsView};
pub(crate) use token::{NewTokenView, TokenList};
pub(crate) use user::{UserList, UserView};
pub(crate) use words::phase_word;

use crate::output::{Look, age};

/// A field that the contract leaves empty when there is nothing to say.
fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn or_empty(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

/// RFC 3339.
fn time(stamp: Option<prost_types::Timestamp>) -> Option<String> {
    stamp.map(|stamp| stamp.to_string())
}

fn duration_in_ms(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.map(|d| d.seconds as f64 * 1000.0 + f64::from(d.nanos) / 1_000_000.0)
}

/// "5 min ago", of a time in RFC 3339.
fn ago(time: Option<&String>, look: Look) -> String {
    time.and_then(|text| text.parse::<prost_types::Timestamp>().ok())
        .and_then(|stamp| SystemTime::try_from(stamp).ok())
        .map(|then| age(then, look.now))
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::Duration;

    use super::*;
    use crate::output::Paint;

    /// No colours, at a known time: 2026-01-02T03:04:05Z.
    pub(crate) fn look() -> Look {
        Look {
            paint: Paint::Plain,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045),
        }
    }

    /// That many seconds before [`look`]'s now.
    pub(crate) fn earlier(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds: 1_767_323_045 - seconds, nanos: 0 })
    }
}
