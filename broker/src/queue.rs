//! Those that wait for one who works for all of them. What takes as long for one
//! as for many is so done for all that have come meanwhile: whoever finds nobody
//! at work sees to it, until nobody waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module's page.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: Vec<T>,
    /// Someone works, and will look here again.
    served: bool,
}

/// The duty to work until nobody waits.
pub(crate) struct Turn<T>(Arc<Queue<T>>);

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), served: false }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { state: Mutex::default() }
    }
}

// === impl Queue ===

impl<T> Queue<T> {
    /// True: nobody works, so the caller has to see to it.
    pub(crate) fn push(&self, waiting: T) -> bool {
        let mut state = self.state();
        state.waiting.push(waiting);
        !std::mem::replace(&mut state.served, true)
    }

    /// For the one who was told to.
    pub(crate) fn serve(self: &Arc<Self>) -> Turn<T> {
        Turn(Arc::clone(self))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl<T> Turn<T> {
    /// The first of those that wait, `most` of them.
    pub(crate) fn next(&self, most: usize) -> Vec<T> {
        let mut state = self.0.state();
        let count = state.waiting.len().min(most);
        state.waiting.drain(..count).collect()
    }

    /// Whether nobody waits, so that the turn is over.
    pub(crate) fn is_over(&self) -> bool {
        let mut state = self.0.state();
        state.served = !state.waiting.is_empty();
        !state.served
    }
}

impl<T> Drop for Turn<T> {
    /// After a panic, those that wait are let go, and the next one works.
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.state() = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_serves_all_that_come_and_the_next_begins_anew() {
        let queue = Arc::new(Queue::default());
        assert!(queue.push(1));
        let turn = queue.serve();
        assert!(!queue.push(2), "somebody sees to it");
        assert!(!queue.push(3));
        assert_eq!(turn.next(2), [1, 2]);
        assert!(!turn.is_over(), "one waits still");
        assert_eq!(turn.next(2), [3]);
        assert!(turn.is_over());
        assert!(queue.push(4), "nobody does any more");
    }

    #[test]
    fn a_panic_keeps_nobody_waiting() {
        let queue = Arc::new(Queue::default());
        queue.push(1);
        let turn = queue.serve();
        std::thread::spawn(move || {
            let _turn = turn;
            panic!("while it serves");
        })
        .join()
        .unwrap_err();
        assert!(queue.push(2));
        assert_eq!(queue.serve().next(2), [2]);
    }
}
