//! Claims, one at a time: what number, epoch and capacity must do.

use std::collections::BTreeMap;

use super::search::Model;

/// Most desktops of a host.
pub(crate) const ROOM: u64 = 4;

/// How full a host is, and how often that changed: a value that comes back is
/// told from one that stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Load {
    pub(crate) desktops: u64,
    pub(crate) changes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    ReadEpoch,
    ReadLoad {
        host: usize,
    },
    /// If the last epoch is the one before this, the host's load is this, and
    /// the number is free: takes all three.
    Claim {
        number: u64,
        epoch: u64,
        host: usize,
        load: Load,
    },
    /// If the number belongs to this epoch and the host's load is this: gives
    /// both back.
    Release {
        number: u64,
        epoch: u64,
        host: usize,
        load: Load,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Epoch(u64),
    Load(Load),
    Applied,
    Conflict,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct State {
    epoch: u64,
    loads: BTreeMap<usize, Load>,
    /// Those in use, and since which epoch.
    numbers: BTreeMap<u64, u64>,
}

/// All in one part: the epoch is everybody's.
pub(crate) struct Claims;

impl Model for Claims {
    type State = State;
    type What = What;
    type Answer = Answer;
    type Part = ();

    fn part(&self, _: &What) {}

    fn begin(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, what: &What, answer: Option<&Answer>) -> Option<State> {
        let load_of = |host: &usize| state.loads.get(host).copied().unwrap_or_default();
        let same = |right: bool| right.then(|| state.clone());
        let after = match what {
            What::ReadEpoch => {
                return same(answer.is_none_or(|a| *a == Answer::Epoch(state.epoch)));
            }
            What::ReadLoad { host } => {
                return same(answer.is_none_or(|a| *a == Answer::Load(load_of(host))));
            }
            What::Claim { number, epoch, host, load } => {
                let holds = state.epoch + 1 == *epoch
                    && load_of(host) == *load
                    && load.desktops < ROOM
                    && !state.numbers.contains_key(number);
                holds.then(|| {
                    let mut after = state.clone();
                    after.epoch = *epoch;
                    after.numbers.insert(*number, *epoch);
                    let load = Load { desktops: load.desktops + 1, changes: load.changes + 1 };
                    after.loads.insert(*host, load);
                    after
                })
            }
            What::Release { number, epoch, host, load } => {
                let holds = state.numbers.get(number) == Some(epoch) && load_of(host) == *load;
                holds.then(|| {
                    let mut after = state.clone();
                    after.numbers.remove(number);
                    let load = Load { desktops: load.desktops - 1, changes: load.changes + 1 };
                    after.loads.insert(*host, load);
                    after
                })
            }
        };
        match (answer, after) {
            (Some(Answer::Applied), after) => after,
            (Some(Answer::Conflict), None) => Some(state.clone()),
            (None, after) => Some(after.unwrap_or_else(|| state.clone())),
            (Some(Answer::Conflict | Answer::Epoch(_) | Answer::Load(_)), _) => None,
        }
    }
}

/// Keys apart from each other: reads and writes, for histories by key.
pub(crate) struct Registers;

#[derive(Debug, Clone)]
pub(crate) enum Access {
    Read,
    Write(u8),
}

impl Model for Registers {
    type State = u8;
    type What = (&'static str, Access);
    type Answer = u8;
    type Part = &'static str;

    fn part(&self, (key, _): &Self::What) -> &'static str {
        key
    }

    fn begin(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, (_, access): &Self::What, answer: Option<&u8>) -> Option<u8> {
        match access {
            Access::Read => answer.is_none_or(|answer| answer == state).then_some(*state),
            Access::Write(value) => Some(*value),
        }
    }
}
