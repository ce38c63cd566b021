//! The states of a host, and what may happen to it. Two things make a state:
//! whether the host is heard, which each broker finds out for itself, and what
//! it is there for, which operators decide and the store knows.
//!
//! ```text
//!            heard            not heard
//! serving    ready            unknown, suspect, lost
//! draining   draining         unknown, suspect, lost
//! drained    drained          unknown, suspect, lost
//! ```

use std::fmt;

use thiserror::Error;

use crate::state::Duty;

/// Whether a host is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It never has been.
    #[default]
    Unknown,
    /// It is.
    Ready,
    /// It is not now.
    Suspect,
    /// It has not been for so long that its volatile desktops are given out
    /// elsewhere.
    Lost,
}

/// A host's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HostState {
    /// Whether it is heard.
    pub health: Health,
    /// What it is there for.
    pub duty: Duty,
}

/// What can happen to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// It told all it has, and was told what is no longer its own.
    Heard,
    /// Its line broke, or it did not answer in time.
    Silent,
    /// It has been silent for too long.
    Lapse,
    /// It is to get rid of its desktops.
    Drain,
    /// It has no desktops left.
    Emptied,
    /// It may have desktops again.
    Undrain,
}

/// Something happened that cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a host that is {from} cannot {happening}")]
pub struct Illegal {
    /// The state it is in.
    pub from: HostState,
    /// What was to happen.
    pub happening: Happening,
}

/// What a host is there for after something that operators or its desktops did;
/// what cannot happen changes nothing.
pub fn duty_after(duty: Duty, happening: Happening) -> Duty {
    let state = HostState { duty, ..HostState::default() };
    state.after(happening).map_or(duty, |after| after.duty)
}

// === impl HostState ===

impl HostState {
    /// The one place that says what may happen when.
    ///
    /// # Errors
    /// Names state and happening when it may not.
    pub fn after(self, happening: Happening) -> Result<Self, Illegal> {
        use Duty::{Drained, Draining, Serving};
        use Health::{Lost, Ready, Suspect, Unknown};
        let illegal = Illegal { from: self, happening };
        let health = |health| Ok(Self { health, ..self });
        let duty = |duty| Ok(Self { duty, ..self });
        match happening {
            Happening::Heard => match self.health {
                Unknown | Ready | Suspect | Lost => health(Ready),
            },
            Happening::Silent => match self.health {
                Unknown => health(Unknown),
                Ready | Suspect => health(Suspect),
                Lost => health(Lost),
            },
            Happening::Lapse => match self.health {
                Unknown | Suspect | Lost => health(Lost),
                Ready => Err(illegal),
            },
            Happening::Drain => match self.duty {
                Serving | Draining => duty(Draining),
                Drained => duty(Drained),
            },
            Happening::Emptied => match self.duty {
                Draining | Drained => duty(Drained),
                Serving => Err(illegal),
            },
            Happening::Undrain => match self.duty {
                Serving | Draining | Drained => duty(Serving),
            },
        }
    }

    /// Every state, by what it is called; the first that is called so.
    pub fn all() -> impl Iterator<Item = Self> {
        use Duty::{Drained, Draining, Serving};
        use Health::{Lost, Ready, Suspect, Unknown};
        let states = [
            (Ready, Serving),
            (Ready, Draining),
            (Ready, Drained),
            (Unknown, Serving),
            (Suspect, Serving),
            (Lost, Serving),
        ];
        states.into_iter().map(|(health, duty)| Self { health, duty })
    }

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match (self.health, self.duty) {
            (Health::Unknown, _) => "unknown",
            (Health::Suspect, _) => "suspect",
            (Health::Lost, _) => "lost",
            (Health::Ready, Duty::Serving) => "ready",
            (Health::Ready, Duty::Draining) => "draining",
            (Health::Ready, Duty::Drained) => "drained",
        }
    }

    /// Whether it may be given a desktop.
    pub fn takes_desktops(self) -> bool {
        self == Self { health: Health::Ready, duty: Duty::Serving }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heard => "be heard",
            Self::Silent => "be silent",
            Self::Lapse => "be given up",
            Self::Drain => "be drained",
            Self::Emptied => "be empty",
            Self::Undrain => "be taken into service",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Happening::*, *};

    const HEALTHS: [Health; 4] = [Health::Unknown, Health::Ready, Health::Suspect, Health::Lost];
    const DUTIES: [Duty; 3] = [Duty::Serving, Duty::Draining, Duty::Drained];
    const HAPPENINGS: [Happening; 6] = [Heard, Silent, Lapse, Drain, Emptied, Undrain];

    fn any_state() -> impl Strategy<Value = HostState> {
        (prop::sample::select(&HEALTHS[..]), prop::sample::select(&DUTIES[..]))
            .prop_map(|(health, duty)| HostState { health, duty })
    }

    proptest! {
        #[test]
        fn nothing_that_is_heard_changes_what_operators_decided(from in any_state(), happening in prop::sample::select(&HAPPENINGS[..])) {
            match (happening, from.after(happening)) {
                (Heard | Silent | Lapse, Ok(to)) => prop_assert_eq!(to.duty, from.duty),
                (Drain | Emptied | Undrain, Ok(to)) => prop_assert_eq!(to.health, from.health),
                (_, Err(illegal)) => prop_assert_eq!(illegal, Illegal { from, happening }),
            }
        }

        #[test]
        fn the_same_again_changes_nothing(from in any_state(), happening in prop::sample::select(&HAPPENINGS[..])) {
            if let Ok(to) = from.after(happening) {
                prop_assert_eq!(to.after(happening), Ok(to));
            }
        }

        #[test]
        fn a_host_comes_back_as_what_it_was_there_for(duty in prop::sample::select(&DUTIES[..]), times in prop::collection::vec(prop::sample::select(&[Silent, Lapse][..]), 1..6)) {
            let before = HostState { health: Health::Ready, duty };
            let away = times.into_iter().fold(before, |state, happening| state.after(happening).unwrap_or(state));
            prop_assert_eq!(away.after(Heard), Ok(before));
            prop_assert!(duty == Duty::Serving || !before.takes_desktops());
        }

        #[test]
        fn nothing_is_lost_that_was_not_silent_first(happenings in prop::collection::vec(prop::sample::select(&HAPPENINGS[..]), 0..20)) {
            let mut state = HostState { health: Health::Ready, duty: Duty::Serving };
            for happening in happenings {
                let next = state.after(happening).unwrap_or(state);
                prop_assert!(!(state.health == Health::Ready && next.health == Health::Lost));
                state = next;
            }
        }
    }
}
