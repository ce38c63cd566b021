//! Whether a recorded history can be explained: is there an order of its
//! operations, each taking effect at one moment between its call and its
//! return, in which a sequential model gives the same answers? The search is
//! that of Wing and Gong with Lowe's memory of configurations: a set of
//! operations done, and the state they led to, is looked at once.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
};

/// One thing a client did. Times are of one clock, and no two the same.
#[derive(Debug, Clone)]
pub(crate) struct Operation<W, A> {
    pub(crate) called: u64,
    /// `None`: the client never learnt what became of it. It may take effect
    /// at any time, or never.
    pub(crate) returned: Option<(u64, A)>,
    pub(crate) what: W,
}

/// What operations mean when there is one at a time.
pub(crate) trait Model {
    type State: Clone + Eq + Hash;
    type What: Clone;
    type Answer: Clone;
    type Part: Ord;

    /// Operations of different parts have nothing to do with each other.
    fn part(&self, what: &Self::What) -> Self::Part;
    fn begin(&self) -> Self::State;
    /// The state after it; `None`: there is no such answer in this state.
    /// Without an answer, it does what it can.
    fn step(
        &self,
        state: &Self::State,
        what: &Self::What,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// As many operations of `part` as can be explained, if not all can.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexplained {
    pub(crate) explained: usize,
    pub(crate) of: usize,
    /// In the history: the first whose return cannot be passed.
    pub(crate) stuck_at: usize,
}

pub(crate) fn check<M: Model>(
    model: &M,
    history: &[Operation<M::What, M::Answer>],
) -> Result<(), Unexplained> {
    let mut parts: BTreeMap<M::Part, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        parts.entry(model.part(&operation.what)).or_default().push(place);
    }
    parts.values().try_for_each(|places| Search::new(model, history, places).run())
}

/// A call or a return, in the order of time.
#[derive(Clone, Copy)]
struct Moment {
    operation: usize,
    is_call: bool,
}

/// An operation of a model, with its place in the history.
type Placed<'a, M> = (usize, &'a Operation<<M as Model>::What, <M as Model>::Answer>);

struct Search<'a, M: Model> {
    model: &'a M,
    operations: Vec<Placed<'a, M>>,
    moments: Vec<Moment>,
    /// Where each operation's return is among the moments.
    returns: Vec<usize>,
    /// A list through the moments; the last place is its head.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Operation<M::What, M::Answer>], places: &[usize]) -> Self {
        let operations: Vec<_> = places.iter().map(|place| (*place, &history[*place])).collect();
        let mut times = Vec::new();
        for (operation, (_, recorded)) in operations.iter().enumerate() {
            let end = recorded.returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
            assert!(recorded.called < end, "an operation returns after its call");
            times.push((recorded.called, Moment { operation, is_call: true }));
            times.push((end, Moment { operation, is_call: false }));
        }
        times.sort_by_key(|(at, moment)| (*at, moment.operation));
        let moments: Vec<_> = times.into_iter().map(|(_, moment)| moment).collect();
        let mut returns = vec![0; operations.len()];
        for (place, moment) in moments.iter().enumerate().filter(|(_, moment)| !moment.is_call) {
            returns[moment.operation] = place;
        }
        let around = moments.len() + 1;
        let next = (0..around).map(|place| (place + 1) % around).collect();
        let previous = (0..around).map(|place| (place + around - 1) % around).collect();
        Self { model, operations, moments, returns, next, previous }
    }

    fn run(mut self) -> Result<(), Unexplained> {
        let head = self.moments.len();
        let mut done = vec![0_u64; self.operations.len().div_ceil(64)];
        let mut state = self.model.begin();
        let mut seen = HashSet::new();
        let mut taken: Vec<(usize, M::State)> = Vec::new();
        let mut best = Unexplained { explained: 0, of: self.operations.len(), stuck_at: 0 };
        let mut place = self.next[head];
        // Those without a return are at the end, and may be left over.
        while place != head {
            let Moment { operation, is_call } = self.moments[place];
            let (in_history, recorded) = self.operations[operation];
            if is_call {
                let answer = recorded.returned.as_ref().map(|(_, answer)| answer);
                let stepped = self.model.step(&state, &recorded.what, answer);
                if let Some(after) = stepped {
                    done[operation / 64] |= 1 << (operation % 64);
                    if seen.insert((done.clone(), after.clone())) {
                        taken.push((place, std::mem::replace(&mut state, after)));
                        self.lift(place);
                        self.lift(self.returns[operation]);
                        place = self.next[head];
                        continue;
                    }
                    done[operation / 64] &= !(1 << (operation % 64));
                }
                place = self.next[place];
                continue;
            }
            if recorded.returned.is_none() {
                return Ok(());
            }
            if taken.len() >= best.explained {
                best.explained = taken.len();
                best.stuck_at = in_history;
            }
            // It has returned, so it must be done by now: another way.
            let Some((last, before)) = taken.pop() else { return Err(best) };
            let operation = self.moments[last].operation;
            done[operation / 64] &= !(1 << (operation % 64));
            state = before;
            self.put_back(self.returns[operation]);
            self.put_back(last);
            place = self.next[last];
        }
        Ok(())
    }

    fn lift(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    /// In the reverse order of [`Self::lift`].
    fn put_back(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        self.next[previous] = place;
        self.previous[next] = place;
    }
}
