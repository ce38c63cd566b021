//! The life of a desktop on a host: one enum, one total function.
//!
//! ```text
//! Planned ─Prepare→ Preparing ─Launch→ Starting ─Ready→ Running ─Stop→ Stopping ─Released→ Gone
//!    └───────────────────┴──────────────────┴── Fail → Failed
//!                                  Running ─Freeze→ Frozen ─Thaw→ Running, ─Stop→ Stopping
//!            made ahead of its user: Starting ─Warmed→ Warm ─Assign→ Starting, ─Stop→ Stopping
//! ```
//!
//! * A start that fails goes to `Failed` only after everything it made has
//!   been taken away again: `Failed` holds a reason, never a resource.
//! * `Stop` is allowed wherever something may exist; `Gone` and `Failed` end.
//! * A logout, a crash, an operator's stop and the end of init are all `Stop`:
//!   what differs is the [`EndReason`], not the way.
//! * `Warm` is left once and never entered again: what has had a user, however
//!   shortly, is given to nobody else.

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
    /// Only the session is missing: it waits for its user.
    Warm,
    /// The display answered.
    Running,
    /// All its processes are held still, as they were.
    Frozen,
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
    /// Its init runs, and it has no user yet.
    Warmed,
    /// It gets a user.
    Assign,
    /// Its display answered.
    Ready,
    /// It shall be held still.
    Freeze,
    /// It shall go on.
    Thaw,
    /// What it may use changes.
    Adjust,
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
        use Event::{
            Adjust, Assign, Fail, Freeze, Launch, Prepare, Ready, Released, Stop, Thaw, Warmed,
        };
        use State::{Failed, Frozen, Gone, Planned, Preparing, Running, Starting, Stopping, Warm};
        match (self, event) {
            (Planned, Prepare) => Ok(Preparing),
            (Preparing, Launch) => Ok(Starting),
            (Starting, Warmed) => Ok(Warm),
            (Warm, Assign) => Ok(Starting),
            (Starting, Ready) => Ok(Running),
            // Twice is as good as once.
            (Running | Frozen, Freeze) => Ok(Frozen),
            (Running | Frozen, Thaw) => Ok(Running),
            // It changes no state, but needs one in which there are processes.
            (same @ (Warm | Running | Frozen), Adjust) => Ok(same),
            (Planned | Preparing | Starting | Warm | Running | Frozen, Stop) => Ok(Stopping),
            // A second request to stop joins the first.
            (Stopping, Stop) => Ok(Stopping),
            (Stopping, Released) => Ok(Gone),
            (Planned | Preparing | Starting | Stopping, Fail) => Ok(Failed),
            (
                from @ Planned,
                event @ (Launch | Warmed | Assign | Ready | Freeze | Thaw | Adjust | Released),
            )
            | (
                from @ Preparing,
                event @ (Prepare | Warmed | Assign | Ready | Freeze | Thaw | Adjust | Released),
            )
            | (
                from @ Starting,
                event @ (Prepare | Launch | Assign | Freeze | Thaw | Adjust | Released),
            )
            | (
                from @ Warm,
                event @ (Prepare | Launch | Warmed | Ready | Freeze | Thaw | Released | Fail),
            )
            | (
                from @ (Running | Frozen),
                event @ (Prepare | Launch | Warmed | Assign | Ready | Released | Fail),
            )
            | (
                from @ Stopping,
                event @ (Prepare | Launch | Warmed | Assign | Ready | Freeze | Thaw | Adjust),
            )
            | (
                from @ (Gone | Failed),
                event @ (Prepare | Launch | Warmed | Assign | Ready | Freeze | Thaw | Adjust | Stop
                | Released | Fail),
            ) => Err(Illegal { from, event }),
        }
    }

    /// All there are, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Planned,
        Self::Preparing,
        Self::Starting,
        Self::Warm,
        Self::Running,
        Self::Frozen,
        Self::Stopping,
        Self::Gone,
        Self::Failed,
    ];

    /// The word for people, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Warm => "warm",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }

    /// Nothing will happen any more.
    pub fn is_final(self) -> bool {
        matches!(self, State::Gone | State::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "be prepared",
            Self::Launch => "be launched",
            Self::Warmed => "wait for a user",
            Self::Assign => "be given to a user",
            Self::Ready => "become ready",
            Self::Freeze => "be frozen",
            Self::Thaw => "be thawed",
            Self::Adjust => "have its limits changed",
            Self::Stop => "be stopped",
            Self::Released => "be released",
            Self::Fail => "fail",
        })
    }
}

impl EndReason {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Logout, Self::Stopped, Self::InitExited, Self::OutOfMemory, Self::SessionFailed];

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

    const EVENTS: [Event; 11] = [
        Event::Prepare,
        Event::Launch,
        Event::Warmed,
        Event::Assign,
        Event::Ready,
        Event::Freeze,
        Event::Thaw,
        Event::Adjust,
        Event::Stop,
        Event::Released,
        Event::Fail,
    ];

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
        for state in State::ALL.into_iter().filter(|s| s.is_final()) {
            for event in EVENTS {
                assert_eq!(state.after(event), Err(Illegal { from: state, event }));
            }
        }
    }

    #[test]
    fn every_unfinished_desktop_can_be_stopped() {
        for state in State::ALL.into_iter().filter(|s| !s.is_final()) {
            assert_eq!(state.after(Event::Stop), Ok(State::Stopping));
        }
    }

    #[test]
    fn only_a_running_desktop_is_frozen_and_thawed() {
        for state in State::ALL {
            let alive = matches!(state, State::Running | State::Frozen);
            assert_eq!(state.after(Event::Freeze).is_ok(), alive, "{state}");
            assert_eq!(state.after(Event::Thaw).is_ok(), alive, "{state}");
        }
        assert_eq!(State::Running.after(Event::Freeze), Ok(State::Frozen));
        assert_eq!(State::Frozen.after(Event::Thaw), Ok(State::Running));
    }

    #[test]
    fn a_warm_desktop_is_given_away_once() {
        assert_eq!(State::Starting.after(Event::Warmed), Ok(State::Warm));
        assert_eq!(State::Warm.after(Event::Assign), Ok(State::Starting));
        for state in State::ALL.into_iter().filter(|state| *state != State::Warm) {
            assert!(state.after(Event::Assign).is_err(), "{state}");
        }
        // Nobody is in it who could be held still.
        assert!(State::Warm.after(Event::Freeze).is_err());
    }

    #[test]
    fn limits_change_where_there_are_processes_and_nothing_else_does() {
        for state in State::ALL {
            let alive = matches!(state, State::Warm | State::Running | State::Frozen);
            assert_eq!(state.after(Event::Adjust).ok(), alive.then_some(state), "{state}");
        }
    }

    #[test]
    fn an_illegal_pair_names_both() {
        let error = State::Running.after(Event::Launch).unwrap_err();
        assert_eq!(error.to_string(), "a desktop that is running cannot be launched");
    }
}
