//! Who did what, from where, and what came of it: every administrative act and
//! every connection. This is the one place that writes such entries, to the
//! store and to the log (target `audit`).
//!
//! ```text
//! rpc, gateway ─► Audit::note ─► queue (bounded) ─► Writer ─► store
//!                     └─► log          full: counted, and told in an entry
//! ```
//! Noting an entry never waits. The writer puts many entries into one
//! transaction while the store is busy, keeps trying while the store does not
//! answer, and empties the queue before the broker ends.
//!
//! Entries lie in **segments** ([`segment`]): so many entries, or an hour, of
//! one broker. An index of a few bytes for each segment says how many there are
//! and when, so that neither a question nor the bound on their number has to
//! read them all. Brokers never write to each other's segments.

mod entry;
mod prune;
mod query;
mod repeats;
pub mod segment;
mod watch;
mod writer;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

pub use entry::{Entry, Outcome, Who};
pub use prune::prune;
pub use query::{Filter, Found, Order, Page, Position, page};
pub use watch::watch;
pub use writer::Writer;

use crate::{clock::Clock, config, store::Store};
use repeats::Repeats;

/// Entries that wait for the store: seconds of a login storm.
const QUEUE: usize = 8192;

/// Where acts are noted. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Entry>,
    /// Entries that found the queue full and are not told of yet.
    lost: AtomicU64,
    repeats: Mutex<Repeats>,
}

// === impl Audit ===

impl Audit {
    /// And the writer that has to run.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        config: config::Audit,
    ) -> (Self, Writer) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let repeats = Mutex::new(Repeats::default());
        let inner = Arc::new(Inner { clock, queue, lost: AtomicU64::new(0), repeats });
        let writer = Writer::new(store, Self { inner: Arc::clone(&inner) }, entries, config);
        (Self { inner }, writer)
    }

    /// Notes an entry, at once.
    ///
    /// Of what can be brought about in a loop a few in a minute are noted for each
    /// act, user and address, the others counted, and their number is told in an
    /// entry of its own.
    pub fn note(&self, entry: Entry) {
        let now = self.inner.clock.now();
        let entry = Entry { at: now, ..entry };
        if self.repeats(|repeats| repeats.admit(&entry)) {
            self.put(entry);
        }
    }

    fn put(&self, entry: Entry) {
        entry.log();
        match self.inner.queue.try_send(entry) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.inner.lost.fetch_add(1, Ordering::Relaxed);
            }
            // The broker ends; the log has it.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    /// Tells what was only counted, of windows that are over.
    fn tell_repeats(&self) {
        let now = self.inner.clock.now();
        for entry in self.repeats(|repeats| repeats.over(now)) {
            self.put(Entry { at: now, ..entry });
        }
    }

    /// How many entries were lost since this was last asked.
    fn take_lost(&self) -> u64 {
        self.inner.lost.swap(0, Ordering::Relaxed)
    }

    fn repeats<T>(&self, act: impl FnOnce(&mut Repeats) -> T) -> T {
        act(&mut self.inner.repeats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
