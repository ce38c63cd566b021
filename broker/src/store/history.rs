//! The last changes, for watches: a ring that forgets the oldest. A watch
//! reads it at its own pace, so a slow one costs no memory; one that falls
//! behind what is remembered is told so.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::stream;
use tokio::sync::watch;

use super::{Event, Revision, StoreError, Watch};

/// Changes remembered. Enough for a watcher to pause for seconds at a
/// thousand changes a second.
const REMEMBERED: usize = 8192;

/// Most changes a watch takes at once.
const BATCH: usize = 256;

pub(super) struct History {
    ring: Mutex<Ring>,
    latest: watch::Sender<Revision>,
}

struct Ring {
    events: VecDeque<Event>,
    /// Everything after this revision is in `events`.
    complete_since: Revision,
}

struct Cursor {
    history: Arc<History>,
    latest: watch::Receiver<Revision>,
    prefix: String,
    seen: Revision,
    ready: VecDeque<Event>,
}

// === impl History ===

impl History {
    /// Remembers what comes after `revision`.
    pub(super) fn starting_at(revision: Revision) -> Self {
        Self {
            ring: Mutex::new(Ring { events: VecDeque::new(), complete_since: revision }),
            latest: watch::Sender::new(revision),
        }
    }

    /// Adds the changes of one transaction.
    pub(super) fn record(&self, revision: Revision, events: Vec<Event>) {
        {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.events.extend(events);
            while ring.events.len() > REMEMBERED {
                if let Some(forgotten) = ring.events.pop_front() {
                    ring.complete_since = forgotten.revision;
                }
            }
        }
        self.latest.send_replace(revision);
    }

    /// Changes up to `revision` are not to be had any more: watches that have
    /// not seen them all are told.
    pub(super) fn forget_before(&self, revision: Revision) {
        {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.events.clear();
            ring.complete_since = revision.max(ring.complete_since);
        }
        self.latest.send_replace(revision);
    }

    /// See [`super::Store::watch`].
    pub(super) fn watch(self: &Arc<Self>, prefix: &str, since: Revision) -> Watch {
        let cursor = Cursor {
            latest: self.latest.subscribe(),
            history: Arc::clone(self),
            prefix: prefix.to_owned(),
            seen: since,
            ready: VecDeque::new(),
        };
        Box::pin(stream::try_unfold(cursor, Cursor::next))
    }

    /// Changes under `prefix` after `since`, and how far they reach: always
    /// to the end of a transaction.
    fn after(&self, since: Revision, prefix: &str) -> Result<(Vec<Event>, Revision), StoreError> {
        let latest = *self.latest.borrow();
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if since < ring.complete_since {
            return Err(StoreError::Compacted(since));
        }
        let first = ring.events.partition_point(|event| event.revision <= since);
        let mut events: Vec<Event> = Vec::new();
        let new = ring.events.range(first..).take_while(|event| event.revision <= latest);
        for event in new.filter(|event| event.key.starts_with(prefix)) {
            if let Some(last) = events.last().filter(|_| events.len() >= BATCH)
                && last.revision != event.revision
            {
                let reached = last.revision;
                return Ok((events, reached));
            }
            events.push(event.clone());
        }
        Ok((events, latest.max(since)))
    }
}

// === impl Cursor ===

impl Cursor {
    async fn next(mut self) -> Result<Option<(Event, Self)>, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some((event, self)));
            }
            self.latest.borrow_and_update();
            let (events, reached) = self.history.after(self.seen, &self.prefix)?;
            self.seen = reached;
            self.ready.extend(events);
            if self.ready.is_empty()
                && *self.latest.borrow() <= self.seen
                && self.latest.changed().await.is_err()
            {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn event(revision: u64, key: &str) -> Event {
        Event { key: key.into(), value: Some(vec![]), revision: Revision(revision) }
    }

    #[tokio::test]
    async fn a_watch_left_behind_is_told() {
        let history = Arc::new(History::starting_at(Revision(0)));
        let mut watch = history.watch("", Revision(0));
        for revision in 1..=(REMEMBERED as u64 + 1) {
            history.record(Revision(revision), vec![event(revision, "k")]);
        }
        let told = watch.next().await.unwrap();
        assert!(matches!(told, Err(StoreError::Compacted(Revision(0)))), "{told:?}");
    }

    #[tokio::test]
    async fn a_gap_is_told_to_those_who_have_not_seen_past_it() {
        let history = Arc::new(History::starting_at(Revision(0)));
        let mut behind = history.watch("", Revision(3));
        let mut beyond = history.watch("", Revision(20));
        history.forget_before(Revision(10));
        let told = behind.next().await.unwrap();
        assert!(matches!(told, Err(StoreError::Compacted(Revision(3)))), "{told:?}");
        history.record(Revision(20), vec![event(20, "seen")]);
        history.record(Revision(21), vec![event(21, "new")]);
        assert_eq!(beyond.next().await.unwrap().unwrap(), event(21, "new"));
    }

    #[tokio::test]
    async fn more_than_a_batch_arrives_whole_and_in_order() {
        let history = Arc::new(History::starting_at(Revision(0)));
        for revision in 1..=1000 {
            history.record(Revision(revision), vec![event(revision, "a"), event(revision, "b")]);
        }
        let seen: Vec<u64> = history
            .watch("b", Revision(10))
            .take(990)
            .map(|event| event.unwrap().revision.0)
            .collect()
            .await;
        assert_eq!(seen, (11..=1000).collect::<Vec<_>>());
    }
}
