//! The desktops that run, and when each is to be looked at again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rules::{Facts, Step, step};
use crate::{
    clock::Timestamp,
    gateway::Viewers,
    names::{DesktopId, PoolName},
    state::{DesktopRecord, DesktopState, ExpiryRecord, SeatRecord, TimeLimits, ViewerRecord},
    store::Revision,
};

/// What is to be done about a desktop, judged by the record of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Whoever sat there is gone without a word.
    Vacate(Revision),
    /// As the rules say; never to wait.
    Step(Revision, Step),
}

/// See the module's page.
#[derive(Default)]
pub(super) struct Table {
    pools: HashMap<PoolName, TimeLimits>,
    desktops: BTreeMap<DesktopId, Timed>,
    /// Connection and broker of who looks.
    viewers: HashMap<DesktopId, (String, String)>,
    queue: BTreeSet<(Timestamp, DesktopId)>,
}

/// What counts of a desktop that runs.
struct Timed {
    revision: Revision,
    since: Timestamp,
    seat: SeatRecord,
    told: Option<ExpiryRecord>,
    look_at: Option<Timestamp>,
}

// === impl Table ===

impl Table {
    /// Notes a desktop as it is now; `None`: there is none.
    pub(super) fn desktop(&mut self, id: &DesktopId, now: Option<(Revision, DesktopRecord)>) {
        self.forget(id);
        if let Some((revision, record)) = now
            && record.state == DesktopState::Running
        {
            let DesktopRecord { claimed_at: since, seat, expiry: told, .. } = record;
            let timed = Timed { revision, since, seat, told, look_at: None };
            self.desktops.insert(id.clone(), timed);
        }
    }

    /// Notes who looks at a desktop.
    pub(super) fn viewer(&mut self, id: &DesktopId, now: Option<ViewerRecord>) {
        match now {
            Some(viewer) => {
                self.viewers.insert(id.clone(), (viewer.connection, viewer.broker));
            }
            None => drop(self.viewers.remove(id)),
        }
    }

    /// Notes the limits of a pool; tells whose desktops they are.
    pub(super) fn pool(&mut self, pool: &PoolName, now: TimeLimits) -> Vec<DesktopId> {
        if self.pools.insert(pool.clone(), now) == Some(now) {
            return Vec::new();
        }
        self.desktops.keys().filter(|id| id.pool == *pool).cloned().collect()
    }

    /// All that run.
    pub(super) fn all(&self) -> Vec<DesktopId> {
        self.desktops.keys().cloned().collect()
    }

    /// When there is something to look at next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes a desktop that is to be looked at now.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<DesktopId> {
        let (at, id) = self.queue.first().filter(|(at, _)| *at <= now)?.clone();
        self.queue.remove(&(at, id.clone()));
        Some(id)
    }

    /// Looks at a desktop: what is to be done, and when to look again at last.
    pub(super) fn judge(
        &mut self,
        id: &DesktopId,
        now: Timestamp,
        again: Timestamp,
        viewers: &Viewers,
    ) -> Option<Act> {
        let act = self.act(id, now, viewers);
        let look_at = match &act {
            Some(Act::Step(_, Step::Wait(at))) => *at,
            // What was done shows as a change; if it could not be, again.
            Some(_) => Some(again),
            None => None,
        };
        if let Some(timed) = self.desktops.get_mut(id) {
            if let Some(before) = std::mem::replace(&mut timed.look_at, look_at) {
                self.queue.remove(&(before, id.clone()));
            }
            self.queue.extend(look_at.map(|at| (at, id.clone())));
        }
        act.filter(|act| !matches!(act, Act::Step(_, Step::Wait(_))))
    }

    fn act(&self, id: &DesktopId, now: Timestamp, viewers: &Viewers) -> Option<Act> {
        let timed = self.desktops.get(id)?;
        let none = TimeLimits::default();
        let limits = self.pools.get(&id.pool).unwrap_or(&none);
        let seat = &timed.seat;
        let (used_at, away_since) = match self.viewers.get(id) {
            None if !seat.connection.is_empty() => return Some(Act::Vacate(timed.revision)),
            None => {
                let used_at = seat.input_at.unwrap_or(timed.since);
                (used_at, Some(seat.left_at.unwrap_or(timed.since)))
            }
            // Only who relays knows when it was used.
            Some((connection, broker)) if broker == viewers.broker() => {
                let alarm = timed.told.is_some();
                (viewers.activities().last_use(id, connection, alarm)?, None)
            }
            Some(_) => return None,
        };
        let facts = Facts { since: timed.since, used_at, away_since };
        Some(Act::Step(timed.revision, step(limits, &facts, timed.told.as_ref(), now)))
    }

    fn forget(&mut self, id: &DesktopId) {
        if let Some(Timed { look_at: Some(at), .. }) = self.desktops.remove(id) {
            self.queue.remove(&(at, id.clone()));
        }
    }
}
