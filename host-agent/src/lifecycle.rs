//! The life of a desktop on a host: one enum, one total function.
//!
//! ```text
//! Planned ─Prepare→ Preparing ─Launch→ Starting ─Ready→ Running ─Stop→ Stopping ─Released→ Gone
//!    └───────────────────┴──────────────────┴── Fail → Failed ─Stop→ Stopping
//! ```
//!
//! * A start that fails goes to `Failed` only after everything it made has
//!   been taken away again: `Failed` holds a reason, never a resource.
//! * `Stop` is allowed wherever something may exist; `Gone` and `Failed` end.
//! * A logout, a crash, an operator's stop and the end of init are all `Stop`:
//!   what differs is the [`EndReason`], not the way.

use std::fmt;

use thiserror::Error;

/// Where a desktop is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted; nothing made yet.
    Planned,
    /// Disk and network are being made.
    Preparing,
    /// The container or its session is coming up.
    Starting,
    /// The display answered.
    Running,
    /// Being taken down.
    Stopping,
    /// Nothing is left.
    Gone,
    /// Did not come up; nothing is left but the reason.
    Failed,
}

/// What may happen to a desktop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its disk is begun.
    Prepare,
    /// Its container is begun.
    Launch,
    /// Its display answered.
    Ready,
    /// It shall end.
    Stop,
    /// All it had is released.
    Released,
    /// A step of the start failed and everything made was released.
    Fail,
}

/// Why a desktop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    /// The session's processes ended: only init was left.
    Logout,
    /// Asked for by a call.
    Stopped,
    /// Init itself ended.
    InitExited,
    /// The kernel killed what the session needs, for want of memory.
    OutOfMemory,
    /// The session's display server or first program crashed, was killed, or
    /// told that it cannot go on.
    SessionFailed,
}

/// An event that has no place in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a desktop that is {from} cannot {event}")]
pub struct Illegal {
    /// Where it was.
    pub from: State,
    /// What should have happened.
    pub event: Event,
}

impl State {
    /// The state after `event`.
    ///
    /// # Errors
    /// The pair makes no sense.
    pub fn after(self, event: Event) -> Result<Self, Illegal> {
        use Event::{Fail, Launch, Prepare, Ready, Released, Stop};
        use State::{Failed, Gone, Planned, Preparing, Running, Starting, Stopping};
        match (self, event) {
            (Planned, Prepare) => Ok(Preparing),
            (Preparing, Launch) => Ok(Starting),
            (Starting, Ready) => Ok(Running),
            (Planned | Preparing | Starting | Running, Stop) => Ok(Stopping),
            // A second request to stop joins the first.
            (Stopping, Stop) => Ok(Stopping),
            (Stopping, Released) => Ok(Gone),
            (Planned | Preparing | Starting | Stopping, Fail) => Ok(Failed),
            (from @ Planned, event @ (Launch | Ready | Released))
            | (from @ Preparing, event @ (Prepare | Ready | Released))
            | (from @ Starting, event @ (Prepare | Launch | Released))
            | (from @ Running, event @ (Prepare | Launch | Ready | Released | Fail))
            | (from @ Stopping, event @ (Prepare | Launch | Ready))
            | (
                from @ (Gone | Failed),
                event @ (Prepare | Launch | Ready | Stop | Released | Fail),
            ) => Err(Illegal { from, event }),
        }
    }

    /// Nothing will happen any more.
    pub fn is_final(self) -> bool {
        matches!(self, State::Gone | State::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "be prepared",
            Self::Launch => "be launched",
            Self::Ready => "become ready",
            Self::Stop => "be stopped",
            Self::Released => "be released",
            Self::Fail => "fail",
        })
    }
}

impl EndReason {
    /// Stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Logout => "LOGOUT",
            Self::Stopped => "STOPPED",
            Self::InitExited => "INIT_EXITED",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::SessionFailed => "SESSION_FAILED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 7] = [
        State::Planned,
        State::Preparing,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Gone,
        State::Failed,
    ];
    const EVENTS: [Event; 6] =
        [Event::Prepare, Event::Launch, Event::Ready, Event::Stop, Event::Released, Event::Fail];

    #[test]
    fn the_straight_way() {
        let mut state = State::Planned;
        for (event, expected) in [
            (Event::Prepare, State::Preparing),
            (Event::Launch, State::Starting),
            (Event::Ready, State::Running),
            (Event::Stop, State::Stopping),
            (Event::Released, State::Gone),
        ] {
            state = state.after(event).unwrap();
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn final_states_are_final() {
        for state in STATES.into_iter().filter(|s| s.is_final()) {
            for event in EVENTS {
                assert_eq!(state.after(event), Err(Illegal { from: state, event }));
            }
        }
    }

    #[test]
    fn every_unfinished_desktop_can_be_stopped() {
        for state in STATES.into_iter().filter(|s| !s.is_final()) {
            assert_eq!(state.after(Event::Stop), Ok(State::Stopping));
        }
    }

    #[test]
    fn an_illegal_pair_names_both() {
        let error = State::Running.after(Event::Launch).unwrap_err();
        assert_eq!(error.to_string(), "a desktop that is running cannot be launched");
    }
}
