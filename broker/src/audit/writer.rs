//! The one task that puts entries into the store.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Audit, Entry, Outcome, Who, prune, segment};
use crate::{
    auth::Act,
    config,
    store::{Store, StoreError},
};

/// Entries of one transaction.
const BATCH: usize = 64;
/// Their bytes: every broker and every watcher remembers recent transactions.
const BATCH_BYTES: usize = 32 << 10;
/// Between looks for what is to be told or to be thrown away.
const SWEEP: Duration = Duration::from_secs(60);
/// First wait after the store did not take a batch; doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Writes until it is told to end, and then what is left.
pub struct Writer {
    store: Arc<dyn Store>,
    audit: Audit,
    entries: mpsc::Receiver<Entry>,
    config: config::Audit,
    name: String,
    opened: u32,
    open: Option<segment::Open>,
    waiting: VecDeque<Entry>,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        audit: Audit,
        entries: mpsc::Receiver<Entry>,
        config: config::Audit,
    ) -> Self {
        let (name, waiting) = (segment::writer_name(), VecDeque::new());
        Self { store, audit, entries, config, name, opened: 0, open: None, waiting }
    }

    /// Writes entries as they come. When `ending` is cancelled, it takes no
    /// more, writes those that have come, and returns.
    pub async fn run(mut self, ending: CancellationToken) {
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut some = Vec::with_capacity(BATCH);
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                _ = self.entries.recv_many(&mut some, BATCH) => {}
                _ = sweeps.tick() => self.sweep().await,
            }
            self.waiting.extend(some);
            self.write_all().await;
        }
        for entry in self.audit.repeats(super::Repeats::all) {
            self.audit.put(Entry { at: self.audit.inner.clock.now(), ..entry });
        }
        self.entries.close();
        while let Some(entry) = self.entries.recv().await {
            self.waiting.push_back(entry);
        }
        self.write_all().await;
    }

    async fn write_all(&mut self) {
        loop {
            let lost = self.audit.take_lost();
            if lost > 0 {
                tracing::error!(lost, "entries of the audit log were lost: the store is slow");
                let entry = Entry::new(Act::AuditLost, &Who::broker(), Outcome::Failed)
                    .because("the store was too slow; the broker's log has these entries")
                    .detail("entries", lost);
                let at = self.audit.inner.clock.now();
                self.waiting.push_back(Entry { at, ..entry });
            }
            if self.waiting.is_empty() {
                return;
            }
            self.write_some().await;
        }
    }

    /// One batch, until the store has it.
    async fn write_some(&mut self) {
        let mut wait = FIRST_WAIT;
        let mut batch = self.next_batch();
        loop {
            match self.write(&mut batch).await {
                Ok(()) => return,
                // Another try cannot help.
                Err(
                    error @ (StoreError::TooLarge { .. }
                    | StoreError::WrittenTwice(_)
                    | StoreError::Damaged { .. }),
                ) => {
                    let error = &error as &dyn std::error::Error;
                    return tracing::error!(error, "entries of the audit log cannot be written");
                }
                Err(error) => {
                    let (count, error) = (batch.len(), &error as &dyn std::error::Error);
                    tracing::warn!(error, count, "entries of the audit log wait for the store");
                }
            }
            sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    fn next_batch(&mut self) -> Vec<Entry> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.waiting.pop_front() {
            bytes += entry.weight();
            batch.push(entry);
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                break;
            }
        }
        batch
    }

    async fn write(&mut self, batch: &mut [Entry]) -> Result<(), StoreError> {
        let Some(first) = batch.first().map(|entry| entry.at) else { return Ok(()) };
        let open = match self.open.take().filter(|open| !open.is_over(first)) {
            Some(open) => open,
            None => {
                // Two may begin in the same millisecond.
                self.opened = self.opened.wrapping_add(1);
                segment::Open::new(first, &format!("{}x{}", self.name, self.opened))
            }
        };
        // Nobody else writes these keys: written again after an answer was
        // lost, they hold the same.
        let (transaction, next) = open.write(batch)?;
        let written = self.store.commit(transaction).await;
        self.open = Some(if written.is_ok() { next } else { open });
        written.map(drop)
    }

    async fn sweep(&mut self) {
        self.audit.tell_repeats();
        let now = self.audit.inner.clock.now();
        match prune(self.store.as_ref(), self.config, now).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "entries of the audit log were old"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the audit log cannot be pruned");
            }
        }
    }
}
