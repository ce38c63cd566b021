//! The desktop's record, and what may happen to it.
//!
//! ```text
//! (none) ── claim ──► Starting ── up ──► Running ── stop ──► Stopping
//!                        │  └──── stop ──────┼──────────────►   │
//!                      fail                 end                end
//!                        ▼                   ▼                  ▼
//!                      Failed               Gone  ◄─────────────┘
//! ```
//! `Starting`, `Running` and `Stopping` hold number and capacity. `Failed` holds
//! the number until the next claim or until it is dismissed; `Gone` holds
//! nothing and is only kept a moment so that people learn why.

use std::fmt;

use rolltop_proto::v1;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ExpiryRecord, Record, SeatRecord};
use crate::{
    clock::Timestamp,
    names::{DesktopId, HostName, ImageRef, UserName},
};

/// Where a desktop is in its life, as the broker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesktopState {
    /// Claimed; the host is making it.
    Starting,
    /// Its display answers.
    Running,
    /// It was told to end.
    Stopping,
    /// Ended; nothing of it is left but kept data.
    Gone,
    /// It did not come up, or ended badly.
    Failed,
}

/// What can happen to a desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The host says that it runs.
    Up,
    /// Someone or something wants it ended.
    Stop,
    /// The host says that nothing of it is left.
    End,
    /// The host says that it failed, or does not say anything in time.
    Fail,
}

/// Something happened that cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a desktop that is {from} cannot {happening}")]
pub struct Illegal {
    /// The state it is in.
    pub from: DesktopState,
    /// What was to happen.
    pub happening: Happening,
}

/// How the session is drawn and reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Display {
    /// RFB.
    #[default]
    Vnc,
}

/// What one desktop may use; 0: no limit of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimitsRecord {
    /// Memory.
    pub memory_mib: i64,
    /// Thousandths of one processor.
    pub cpu_millis: i64,
    /// Processes and threads.
    pub pids: i64,
    /// Bits a second to it. Records of before have no rates.
    #[serde(default)]
    pub network_down_bits: i64,
    /// Bits a second from it.
    #[serde(default)]
    pub network_up_bits: i64,
    /// Bytes a second read from its own disks.
    #[serde(default)]
    pub disk_read_bytes: i64,
    /// Bytes a second written to them.
    #[serde(default)]
    pub disk_write_bytes: i64,
    /// Reads a second, and as many writes.
    #[serde(default)]
    pub disk_ops: i64,
}

impl From<LimitsRecord> for v1::Limits {
    fn from(limits: LimitsRecord) -> Self {
        Self {
            memory_mib: limits.memory_mib,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            network_down_bits: limits.network_down_bits,
            network_up_bits: limits.network_up_bits,
            disk_read_bytes: limits.disk_read_bytes,
            disk_write_bytes: limits.disk_write_bytes,
            disk_ops: limits.disk_ops,
        }
    }
}

impl From<v1::Limits> for LimitsRecord {
    fn from(limits: v1::Limits) -> Self {
        Self {
            memory_mib: limits.memory_mib,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            network_down_bits: limits.network_down_bits,
            network_up_bits: limits.network_up_bits,
            disk_read_bytes: limits.disk_read_bytes,
            disk_write_bytes: limits.disk_write_bytes,
            disk_ops: limits.disk_ops,
        }
    }
}

/// Why it did not come up. `phase` is the API's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// During which phase.
    pub phase: i32,
    /// One sentence for a person.
    pub reason: String,
    /// Stable, for programs.
    pub code: String,
    /// The last lines of the session.
    pub output_tail: Vec<String>,
}

/// A phase of the start, with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// The API's number.
    pub phase: i32,
    /// From the request to the end of the phase.
    pub done_us: u64,
}

/// The home a desktop has beside its overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HomeUse {
    /// A volume of its host.
    Volume {
        /// Its name there.
        name: String,
        /// Size of a new one.
        size_mib: i64,
    },
    /// A directory of its host.
    Directory {
        /// Absolute.
        parent: String,
        /// Of the directory in it.
        name: String,
    },
}

/// What the host said about a running desktop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placed {
    /// Version of the image.
    pub version: String,
    /// Its MAC address.
    pub mac: String,
    /// Its address on the host's network.
    pub ip: String,
    /// How to look at it.
    pub display: Display,
    /// When it came up.
    pub started_at: Option<Timestamp>,
    /// The filesystem of its overlay, bytes.
    pub overlay_size_bytes: i64,
    /// What the overlay takes on the host, bytes.
    pub overlay_allocated_bytes: i64,
}

/// A desktop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesktopRecord {
    /// Pool and user.
    pub id: DesktopId,
    /// The pool's title when it was started.
    pub pool_title: String,
    /// Where it is in its life.
    pub state: DesktopState,
    /// Unique in the cluster while the record holds it.
    pub number: u32,
    /// Grows with each start, over all desktops.
    pub epoch: u64,
    /// The host it was given to.
    pub host: HostName,
    /// The broker that starts it; of a start it did not end, and when that
    /// broker is gone, the host tells what became of it.
    #[serde(default)]
    pub pilot: String,
    /// What the host knows the start by; a repeated request joins the first.
    pub request_id: String,
    /// What it is made of.
    pub image: ImageRef,
    /// Name of the persistent overlay; empty: volatile.
    pub overlay: String,
    /// Size of a new overlay.
    pub overlay_size_mib: i64,
    /// A home beside the overlay.
    #[serde(default)]
    pub home: Option<HomeUse>,
    /// Rules for what it sends, as the pool had them.
    #[serde(default)]
    pub egress: Vec<String>,
    /// What it may use, and what it claims on the host.
    pub limits: LimitsRecord,
    /// Container runtime; empty: the host's default.
    pub runtime: String,
    /// First width of the screen, pixels; 0: the host's default.
    pub width: u32,
    /// First height of the screen, pixels; 0: the host's default.
    pub height: u32,
    /// Of the session; empty: the image's.
    pub time_zone: String,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Once it runs.
    pub placed: Option<Placed>,
    /// When it failed, or ended badly.
    pub failure: Option<FailureRecord>,
    /// Why it ended.
    pub end_reason: String,
    /// Phases of the start that ended well.
    pub phases: Vec<PhaseRecord>,
    /// The epoch it was made with ahead of its user; 0: it was not.
    #[serde(default)]
    pub warm_epoch: u64,
    /// When it will be ended with its host, if that is foreseen.
    #[serde(default)]
    pub ends: Option<EndsRecord>,
    /// When a time limit of its pool will end it, as its user was told.
    #[serde(default)]
    pub expiry: Option<ExpiryRecord>,
    /// When a roll-out will end it for another version, as its user was told.
    #[serde(default)]
    pub renewal: Option<EndsRecord>,
    /// Who sat at it last.
    #[serde(default)]
    pub seat: SeatRecord,
    /// What its user is to know.
    #[serde(default)]
    pub notice: Option<NoticeRecord>,
}

/// A text for a desktop's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRecord {
    /// Another one for each text.
    pub id: String,
    /// As it is shown.
    pub text: String,
    /// Who sent it.
    pub by: UserName,
    /// When.
    pub at: Timestamp,
    /// From then on it is not shown any more.
    pub expires_at: Timestamp,
}

/// The end of a desktop, foreseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndsRecord {
    /// When.
    pub at: Timestamp,
    /// One sentence why.
    pub because: String,
}

impl Record for DesktopRecord {}

// === impl DesktopRecord ===

impl DesktopRecord {
    /// Whether it writes to what outlives it on its host's own disk.
    pub fn keeps_data(&self) -> bool {
        !self.overlay.is_empty() || matches!(self.home, Some(HomeUse::Volume { .. }))
    }

    /// When it will be ended and why, by what comes first.
    pub fn foreseen_end(&self) -> Option<EndsRecord> {
        let expiry = self.expiry.as_ref();
        let expiry = expiry.map(|told| EndsRecord { at: told.at, because: told.because.clone() });
        let all = [self.ends.clone(), expiry, self.renewal.clone()];
        all.into_iter().flatten().min_by_key(|ends| ends.at)
    }
}

// === impl DesktopState ===

impl DesktopState {
    /// The one place that says what may happen when.
    ///
    /// # Errors
    /// Names state and happening when it may not.
    pub fn after(self, happening: Happening) -> Result<Self, Illegal> {
        use DesktopState::{Failed, Gone, Running, Starting, Stopping};
        use Happening::{End, Fail, Stop, Up};
        match (self, happening) {
            (Starting | Running, Up) => Ok(Running),
            (Starting | Running | Stopping, Stop) => Ok(Stopping),
            (Starting | Running | Stopping | Failed, End) => Ok(Gone),
            (Starting | Running | Stopping, Fail) => Ok(Failed),
            (from @ (Stopping | Gone | Failed), Up)
            | (from @ (Gone | Failed), Stop | Fail)
            | (from @ Gone, End) => Err(Illegal { from, happening }),
        }
    }

    /// Whether a desktop in this state takes room on its host.
    pub fn holds_capacity(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping => true,
            Self::Gone | Self::Failed => false,
        }
    }
}

impl fmt::Display for DesktopState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "come up",
            Self::Stop => "be stopped",
            Self::End => "end",
            Self::Fail => "fail",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{DesktopState::*, Happening::*, *};

    #[test]
    fn every_pair_has_an_answer_and_the_end_is_the_end() {
        for from in [Starting, Running, Stopping, Gone, Failed] {
            for happening in [Up, Stop, End, Fail] {
                match from.after(happening) {
                    Ok(to) => assert_ne!(from, Gone, "{from} {happening} {to}"),
                    Err(illegal) => assert_eq!(illegal, Illegal { from, happening }),
                }
            }
        }
    }

    #[test]
    fn room_once_given_back_is_not_taken_again_without_a_claim() {
        for from in [Gone, Failed] {
            for happening in [Up, Stop, End, Fail] {
                assert!(from.after(happening).is_ok_and(DesktopState::holds_capacity).eq(&false));
            }
        }
    }
}
