//! Transactions that wait for the embedded store. Making one durable takes as
//! long as making many durable at once, so whoever writes takes all that have
//! come meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Commit, StoreError, Transaction};

/// Most that share one write: a bound on what is lost if it fails.
const TOGETHER: usize = 256;

/// One transaction, and who waits for it.
pub(super) struct Waiting {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<Commit, StoreError>>,
}

/// See the module's page.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Someone writes, and will look here again.
    served: bool,
}

/// The duty to write until nobody waits.
pub(super) struct Turn(Arc<Queue>);

// === impl Queue ===

impl Queue {
    /// True: nobody writes, so the caller has to see to it.
    pub(super) fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.state();
        state.waiting.push(waiting);
        !std::mem::replace(&mut state.served, true)
    }

    /// For the one who was told to.
    pub(super) fn serve(self: &Arc<Self>) -> Turn {
        Turn(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Turn ===

impl Turn {
    /// The first of those that wait.
    pub(super) fn next(&self) -> Vec<Waiting> {
        let mut state = self.0.state();
        let count = state.waiting.len().min(TOGETHER);
        state.waiting.drain(..count).collect()
    }

    /// Whether nobody waits, so that the turn is over.
    pub(super) fn is_over(&self) -> bool {
        let mut state = self.0.state();
        state.served = !state.waiting.is_empty();
        !state.served
    }
}

impl Drop for Turn {
    /// After a panic, those that wait are let go, and the next one writes.
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.state() = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting {
        Waiting { transaction: Transaction::new(), answer: oneshot::channel().0 }
    }

    #[test]
    fn one_serves_all_that_come_and_the_next_begins_anew() {
        let queue = Arc::new(Queue::default());
        assert!(queue.push(waiting()));
        let turn = queue.serve();
        assert!(!queue.push(waiting()), "somebody sees to it");
        assert_eq!(turn.next().len(), 2);
        assert!(!queue.push(waiting()));
        assert!(!turn.is_over(), "one came meanwhile");
        assert_eq!(turn.next().len(), 1);
        assert!(turn.is_over());
        assert!(queue.push(waiting()), "nobody does any more");
    }

    #[test]
    fn a_panic_keeps_nobody_waiting() {
        let queue = Arc::new(Queue::default());
        queue.push(waiting());
        let turn = queue.serve();
        std::thread::spawn(move || {
            let _turn = turn;
            panic!("while it serves");
        })
        .join()
        .unwrap_err();
        assert!(queue.push(waiting()));
        assert_eq!(queue.serve().next().len(), 1);
    }
}
