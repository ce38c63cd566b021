//! A pool's roll-out: its record, and what may happen to it.
//!
//! ```text
//! (none) ── start, roll back ──► Running ◄── resume ── Paused
//!                                 │ │ │ ─── pause ──────►│
//!                           finish│ │ └─ too many fail ─►│ (Halted, resumed alike)
//!                                 ▼ └── cancel ──► Cancelled ◄── cancel ── Paused, Halted
//!                                Done
//! ```
//! Another start, or a roll-back, takes the record's place.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Record;
use crate::{
    clock::Timestamp,
    names::{DesktopId, HostName, ImageRef, PoolName, UserName},
};

/// Failed starts that are remembered: more than can be counted before it halts.
const REMEMBERED: usize = 250;
/// Longest sentence that is remembered of one, characters.
const REASON_CHARS: usize = 300;

/// Where a roll-out is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Desktops are restarted as their time comes.
    Running,
    /// An operator wants no further restarts for now.
    Paused,
    /// Too many starts have failed.
    Halted,
    /// Nothing is behind that was when it began.
    Done,
    /// An operator has ended it.
    Cancelled,
}

/// What can happen to a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutEvent {
    /// No further restarts for now.
    Pause,
    /// Go on.
    Resume,
    /// No further restarts.
    Cancel,
    /// As many starts have failed as may.
    Fail,
    /// There is nothing left to do.
    Finish,
}

/// Something happened that cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a roll-out that is {from} cannot {event}")]
pub struct IllegalRollout {
    /// The state it is in.
    pub from: RolloutState,
    /// What was to happen.
    pub event: RolloutEvent,
}

/// How many are restarted at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batch {
    /// So many.
    Desktops(u32),
    /// Of those that are behind at the start, rounded up.
    Percent(u32),
}

/// How it is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutSettings {
    /// From the start until desktops are restarted that somebody is connected to;
    /// none: they are not.
    pub deadline_ms: Option<u64>,
    /// How many at a time.
    pub batch: Batch,
    /// So many failed starts halt it.
    pub max_failures: u32,
    /// Users are told so long before, at least.
    pub warning_ms: u64,
}

/// A desktop that is being restarted: its life of `epoch` is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// Which.
    pub desktop: DesktopId,
    /// Which life of it.
    pub epoch: u64,
    /// Since when.
    pub since: Timestamp,
    /// How it is started anew; none: it is not.
    pub again: Option<AgainRecord>,
}

/// What a desktop is started anew with, as its last life was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgainRecord {
    /// First width of the screen, pixels; 0: the host's default.
    pub width: u32,
    /// First height of the screen, pixels; 0: the host's default.
    pub height: u32,
    /// Of the session; empty: the image's.
    pub time_zone: String,
}

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecord {
    /// Of which desktop.
    pub desktop: DesktopId,
    /// Of the start; 0: it did not get that far.
    pub epoch: u64,
    /// Where; none: nowhere.
    pub host: Option<HostName>,
    /// Stable, for programs.
    pub code: String,
    /// One sentence for a person.
    pub reason: String,
    /// When it was seen.
    pub at: Timestamp,
}

/// A pool's last roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Another one for each.
    pub id: String,
    /// Whose desktops.
    pub pool: PoolName,
    /// Where it is in its life.
    pub state: RolloutState,
    /// What the pool named before it was rolled back; none: it was not.
    pub replaced: Option<ImageRef>,
    /// What the pool names.
    pub image: ImageRef,
    /// The version that was on most hosts, and the one that most of those behind
    /// ran; none: not known.
    pub version: Option<ImageRef>,
    /// See `version`.
    pub before: Option<ImageRef>,
    /// Who wants it.
    pub by: UserName,
    /// Since when.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it is done.
    pub settings: RolloutSettings,
    /// How many at a time, counted.
    pub batch: u32,
    /// The last epoch that was given when it began: later lives of desktops are
    /// none of its business.
    pub horizon: u64,
    /// How many were behind.
    pub total: u32,
    /// The broker that sees to it; another does when that is gone.
    pub driver: String,
    /// Desktops may have been told their end that are not to know it any more.
    pub told: bool,
    /// Those being restarted: as many as the batch, at most.
    pub restarting: Vec<RestartRecord>,
    /// How many came up again.
    pub restarted: u32,
    /// How many were ended and not started.
    pub ended: u32,
    /// How many starts failed.
    pub failed: u32,
    /// How many of these an operator has seen, and gone on.
    pub forgiven: u32,
    /// Starts that failed count if their epoch is greater.
    pub counts_after: u64,
    /// The last of them.
    pub failures: Vec<FailedRecord>,
}

impl Record for RolloutRecord {}

// === impl RolloutState ===

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Running, Self::Paused, Self::Halted, Self::Done, Self::Cancelled];

    /// The one place that says what may happen when.
    ///
    /// # Errors
    /// Names state and event when it may not.
    pub fn after(self, event: RolloutEvent) -> Result<Self, IllegalRollout> {
        use RolloutEvent::{Cancel, Fail, Finish, Pause, Resume};
        use RolloutState::{Cancelled, Done, Halted, Paused, Running};
        match (self, event) {
            (Running | Paused, Pause) => Ok(Paused),
            (Running | Paused | Halted, Resume) => Ok(Running),
            (Running | Paused | Halted | Cancelled, Cancel) => Ok(Cancelled),
            // What was being restarted when it was ended may still fail.
            (Running | Paused | Halted, Fail) => Ok(Halted),
            (Cancelled, Fail) => Ok(Cancelled),
            (Running | Done, Finish) => Ok(Done),
            (from @ (Halted | Done | Cancelled), Pause)
            | (from @ (Done | Cancelled), Resume)
            | (from @ Done, Cancel | Fail)
            | (from @ (Paused | Halted | Cancelled), Finish) => Err(IllegalRollout { from, event }),
        }
    }

    /// Whether nothing will happen to it any more.
    pub fn is_over(self) -> bool {
        match self {
            Self::Running | Self::Paused | Self::Halted => false,
            Self::Done | Self::Cancelled => true,
        }
    }

    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

// === impl RolloutRecord ===

impl RolloutRecord {
    /// When desktops are restarted that somebody is connected to.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.settings.deadline_ms.map(|ms| Timestamp(self.started_at.0.saturating_add(ms)))
    }

    /// Applies an event at its time.
    ///
    /// # Errors
    /// It cannot happen now.
    pub fn happen(&mut self, event: RolloutEvent, now: Timestamp) -> Result<(), IllegalRollout> {
        let next = self.state.after(event)?;
        if event == RolloutEvent::Resume {
            self.forgiven = self.failed;
        }
        if next.is_over() && !self.state.is_over() {
            self.ended_at = Some(now);
        }
        self.state = next;
        Ok(())
    }

    /// Whether a start is among those that failed.
    pub fn knows_failure(&self, desktop: &DesktopId, epoch: u64) -> bool {
        self.failures.iter().any(|known| known.desktop == *desktop && known.epoch == epoch)
    }

    /// Notes a failed start; with too many, the roll-out is halted.
    pub fn fail(&mut self, failure: FailedRecord) {
        let now = failure.at;
        let reason = failure.reason.chars().take(REASON_CHARS).collect();
        let failure = FailedRecord { reason, ..failure };
        self.failed = self.failed.saturating_add(1);
        self.failures.push(failure);
        let surplus = self.failures.len().saturating_sub(REMEMBERED);
        self.failures.drain(..surplus);
        if self.failed.saturating_sub(self.forgiven) >= self.settings.max_failures {
            // One that is done has nothing to halt.
            self.happen(RolloutEvent::Fail, now).unwrap_or_default();
        }
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RolloutEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "be paused",
            Self::Resume => "be resumed",
            Self::Cancel => "be cancelled",
            Self::Fail => "be halted",
            Self::Finish => "finish",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{RolloutEvent::*, RolloutState::*, *};

    /// Running since 1000, of pool "demo".
    pub(crate) fn rollout() -> RolloutRecord {
        RolloutRecord {
            id: "1".to_owned(),
            pool: "demo".parse().unwrap(),
            state: Running,
            replaced: None,
            image: "demo:stable".parse().unwrap(),
            version: "demo@2".parse().ok(),
            before: "demo@1".parse().ok(),
            by: "olga".parse().unwrap(),
            started_at: Timestamp(1_000),
            ended_at: None,
            settings: RolloutSettings {
                deadline_ms: None,
                batch: Batch::Desktops(2),
                max_failures: 2,
                warning_ms: 0,
            },
            batch: 2,
            horizon: 100,
            total: 10,
            driver: String::new(),
            told: false,
            restarting: Vec::new(),
            restarted: 0,
            ended: 0,
            failed: 0,
            forgiven: 0,
            counts_after: 100,
            failures: Vec::new(),
        }
    }

    fn failure(epoch: u64) -> FailedRecord {
        FailedRecord {
            desktop: DesktopId::from_key("demo/anna").unwrap(),
            epoch,
            host: None,
            code: "DISPLAY_TIMEOUT".to_owned(),
            reason: "it did not come up".to_owned(),
            at: Timestamp(2_000),
        }
    }

    #[test]
    fn every_pair_has_an_answer_and_what_is_asked_again_is_granted() {
        for from in RolloutState::ALL {
            for event in [Pause, Resume, Cancel, Fail, Finish] {
                match from.after(event) {
                    Ok(to) => {
                        assert_eq!(to.after(event), Ok(to), "{from} {event} twice");
                        assert!(!from.is_over() || to == from, "{from} {event} {to}");
                    }
                    Err(illegal) => assert_eq!(illegal, IllegalRollout { from, event }),
                }
            }
        }
        assert_eq!(
            Done.after(Resume).unwrap_err().to_string(),
            "a roll-out that is done cannot be resumed"
        );
    }

    #[test]
    fn it_halts_at_the_last_failure_it_may_have_and_anew_after_it_was_resumed() {
        let mut record = rollout();
        record.fail(failure(101));
        assert_eq!(record.state, Running);
        record.fail(failure(102));
        assert_eq!((record.state, record.ended_at), (Halted, None));
        record.happen(Resume, Timestamp(3_000)).unwrap();
        record.fail(failure(103));
        assert_eq!((record.state, record.failed), (Running, 3));
        record.fail(failure(104));
        assert_eq!(record.state, Halted);
        assert!(record.knows_failure(&failure(0).desktop, 101) && record.failures.len() == 4);
        record.happen(Cancel, Timestamp(4_000)).unwrap();
        assert_eq!(record.ended_at, Some(Timestamp(4_000)));
        // One that was under way.
        record.fail(failure(105));
        assert_eq!((record.state, record.ended_at), (Cancelled, Some(Timestamp(4_000))));
    }

    #[test]
    fn of_many_failures_the_last_are_remembered_and_all_counted() {
        let mut record = rollout();
        (1..=300).for_each(|epoch| record.fail(failure(epoch)));
        assert_eq!((record.failed, record.failures.len()), (300, REMEMBERED));
        assert!(record.knows_failure(&failure(0).desktop, 300));
        assert!(!record.knows_failure(&failure(0).desktop, 50));
    }
}
