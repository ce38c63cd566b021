//! Changes of desktops, in order, kept for a while: whoever watches can go on
//! where an earlier stream broke off.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::view::View;

/// Changes kept. A start makes some fifteen of them.
const KEPT: usize = 4_096;

/// A place in the stream of changes of one agent: after so many of them.
///
/// As text, it is opaque to callers. Another agent process counts anew, and
/// knows that a place is not one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    agent: Uuid,
    changes: u64,
}

/// The changes after a place are not known any more, or never were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("changes were missed; watch again to get the present state")]
pub struct Missed;

/// A change, and the place after it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The place to go on from.
    pub position: Position,
    /// The desktop, as it was after the change.
    pub view: Arc<View>,
}

/// The changes.
#[derive(Debug)]
pub struct Events {
    agent: Uuid,
    log: Mutex<Log>,
    /// How many there have been.
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    count: u64,
    last: VecDeque<Arc<View>>,
}

/// Reads changes, one after the other.
#[derive(Debug)]
pub struct Reader {
    events: Arc<Events>,
    count: watch::Receiver<u64>,
    position: Position,
}

// === impl Position ===

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.agent.simple(), self.changes)
    }
}

impl FromStr for Position {
    type Err = Missed;

    fn from_str(text: &str) -> Result<Self, Missed> {
        let (agent, changes) = text.rsplit_once('-').ok_or(Missed)?;
        let agent = agent.parse().map_err(|_| Missed)?;
        Ok(Self { agent, changes: changes.parse().map_err(|_| Missed)? })
    }
}

// === impl Events ===

impl Events {
    /// No changes yet, of an agent unlike any other.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            agent: Uuid::new_v4(),
            log: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // No step under this lock can leave the log half-changed.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change and notes its outcome. One at a time: what is noted
    /// later is what happened later.
    pub(crate) fn note(&self, change: impl FnOnce() -> View) {
        let mut log = self.lock();
        log.last.push_back(Arc::new(change()));
        log.count += 1;
        let surplus = log.last.len().saturating_sub(KEPT);
        log.last.drain(..surplus);
        self.count.send_replace(log.count);
    }

    /// What `look` sees, and the changes from then on: no change is in
    /// neither, and none in both.
    pub(crate) fn from_now<T>(self: &Arc<Self>, look: impl FnOnce() -> T) -> (T, Reader) {
        let log = self.lock();
        let position = Position { agent: self.agent, changes: log.count };
        (look(), self.reader(position))
    }

    /// The changes after `position`.
    ///
    /// # Errors
    /// [`Missed`]: it is another agent's, or too long ago.
    pub fn after(self: &Arc<Self>, position: Position) -> Result<Reader, Missed> {
        let log = self.lock();
        if position.agent != self.agent {
            return Err(Missed);
        }
        let oldest = log.count - log.last.len() as u64;
        let known = oldest..=log.count;
        known.contains(&position.changes).then(|| self.reader(position)).ok_or(Missed)
    }

    /// How many changes there have been.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// How many readers there are now.
    pub fn readers(&self) -> usize {
        self.count.receiver_count()
    }

    fn reader(self: &Arc<Self>, position: Position) -> Reader {
        Reader { events: Arc::clone(self), count: self.count.subscribe(), position }
    }
}

// === impl Reader ===

impl Reader {
    /// The place after all that was read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next change, if it has happened.
    ///
    /// # Errors
    /// [`Missed`]: the reader was too slow.
    pub fn next_known(&mut self) -> Result<Option<Change>, Missed> {
        let log = self.events.lock();
        let behind = (log.count - self.position.changes) as usize;
        let place = log.last.len().checked_sub(behind).ok_or(Missed)?;
        Ok(log.last.get(place).map(|view| {
            self.position.changes += 1;
            Change { position: self.position, view: Arc::clone(view) }
        }))
    }

    /// The next change; waits for it.
    ///
    /// # Errors
    /// [`Missed`]: the reader was too slow.
    pub async fn next(&mut self) -> Result<Change, Missed> {
        loop {
            self.count.borrow_and_update();
            if let Some(change) = self.next_known()? {
                return Ok(change);
            }
            // Cannot fail: the sender lives as long as `events`.
            self.count.changed().await.map_err(|_| Missed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::tests::view;

    fn note(events: &Events, numbers: std::ops::Range<u32>) {
        numbers.for_each(|number| events.note(|| view(number, 1, "a")));
    }

    fn numbers(reader: &mut Reader) -> Vec<u32> {
        let next = || reader.next_known().unwrap();
        std::iter::from_fn(next).map(|change| change.view.record.number.get()).collect()
    }

    #[test]
    fn a_reader_goes_on_where_another_broke_off() {
        let events = Events::new();
        note(&events, 1..3);
        let ((), mut first) = events.from_now(|| ());
        note(&events, 3..6);
        assert_eq!(first.next_known().unwrap().unwrap().view.record.number.get(), 3);
        let place = first.position().to_string();
        note(&events, 6..8);
        let mut second = events.after(place.parse().unwrap()).unwrap();
        assert_eq!(numbers(&mut second), [4, 5, 6, 7]);
        assert_eq!(numbers(&mut first), [4, 5, 6, 7]);
        assert_eq!(second.position(), first.position());
    }

    #[test]
    fn what_is_forgotten_is_said_to_be_missed() {
        let events = Events::new();
        let ((), mut slow) = events.from_now(|| ());
        let place = slow.position();
        let all = u32::try_from(KEPT).unwrap();
        note(&events, 1..all + 1);
        assert!(events.after(place).is_ok(), "just kept");
        note(&events, 1..2);
        assert_eq!(events.after(place).unwrap_err(), Missed);
        assert_eq!(slow.next_known().unwrap_err(), Missed);
    }

    #[test]
    fn places_of_other_agents_and_of_nobody_are_refused() {
        let (events, other) = (Events::new(), Events::new());
        let ((), reader) = other.from_now(|| ());
        assert_eq!(events.after(reader.position()).unwrap_err(), Missed);
        let ahead = Position { changes: 1, ..other.reader(reader.position()).position() };
        assert_eq!(other.after(ahead).unwrap_err(), Missed);
        for text in ["", "-", "1", "x-1", "1-x", "1-99999999999999999999"] {
            assert_eq!(text.parse::<Position>().unwrap_err(), Missed, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes() {
        let events = Events::new();
        let ((), mut reader) = events.from_now(|| ());
        let reading = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        note(&events, 7..8);
        assert_eq!(reading.await.unwrap().unwrap().view.record.number.get(), 7);
    }
}
