//! What is to be done about a roll-out now: a pure function over what is there.
//!
//! * Only desktops that ran when it began are restarted, and each once.
//! * Who is connected has until the deadline. Whoever is not is told all the same:
//!   they may come back, and then the deadline is theirs.
//! * Nobody's desktop ends sooner than the warning's time after they were told.
//! * Those nobody is connected to go first, the longest left before the others.
//! * Until one has come up on the new version, one at a time is started anew.

use crate::{
    clock::Timestamp,
    hosts::Age,
    names::DesktopId,
    state::{RolloutEvent, RolloutRecord, RolloutState},
};

/// What counts of a desktop of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) id: DesktopId,
    pub(super) epoch: u64,
    pub(super) life: Life,
    /// Somebody is.
    pub(super) connected: bool,
    /// Since when nobody is, if so.
    pub(super) alone_since: Timestamp,
    /// Its files outlive it.
    pub(super) kept: bool,
    /// Its host answers.
    pub(super) heard: bool,
    /// There is a host that may have it and has the version.
    pub(super) placeable: bool,
    /// The end that its user was told.
    pub(super) told: Option<Timestamp>,
}

/// Where a desktop is in its life, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Starting,
    Running(Age),
    /// It never came up.
    Failed,
    /// It ends or has ended.
    Over,
}

/// What is to be done. Numbers are places among the facts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Whose users are to be told this end, or none.
    pub(super) tell: Vec<(usize, Option<Timestamp>)>,
    /// What is to be ended now, and whether it is started anew.
    pub(super) take: Vec<(usize, bool)>,
    /// Starts that failed and were not counted yet.
    pub(super) failed: Vec<usize>,
    /// All is done.
    pub(super) finished: bool,
}

/// How it stands with those that ran when it began and are behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) behind: u32,
    pub(super) connected: u32,
    pub(super) unreachable: u32,
    pub(super) unplaceable: u32,
    /// With nobody connected, whose users have yet to be told, or have time left.
    pub(super) warned: u32,
}

/// `closed`: the pool takes no new desktops.
pub(super) fn plan(record: &RolloutRecord, facts: &[Fact], closed: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut due = Vec::new();
    for (place, fact) in facts.iter().enumerate() {
        let wanted = is_wanted(record, fact);
        let when = told_at(record, fact, now).filter(|_| wanted && fact.placeable && !closed);
        if when != fact.told {
            plan.tell.push((place, when));
        } else if let Some(at) = when.filter(|at| *at <= now && fact.heard) {
            due.push(((fact.connected, at, fact.alone_since, fact.epoch), place, fact));
        }
        if is_news(record, fact) {
            plan.failed.push(place);
        }
    }
    if record.state != RolloutState::Running {
        return plan;
    }
    let failed = u32::try_from(plan.failed.len()).unwrap_or(u32::MAX);
    let failed = record.failed.saturating_sub(record.forgiven).saturating_add(failed);
    if failed >= record.settings.max_failures {
        return plan;
    }
    due.sort_by_key(|(order, ..)| *order);
    plan.take = within_batch(record, facts, due.into_iter().map(|(_, place, fact)| (place, fact)));
    plan.finished = record.restarting.is_empty()
        && plan.failed.is_empty()
        && !facts.iter().any(|fact| is_of_it(record, fact) && fact.life == Life::Starting)
        && !facts.iter().any(|fact| is_wanted(record, fact));
    plan
}

fn within_batch<'a>(
    record: &RolloutRecord,
    facts: &[Fact],
    due: impl Iterator<Item = (usize, &'a Fact)>,
) -> Vec<(usize, bool)> {
    let proven =
        record.restarted > 0 || facts.iter().any(|fact| fact.life == Life::Running(Age::Current));
    let mut tried = record.restarting.iter().any(|restart| restart.again.is_some());
    let free = (record.batch as usize).saturating_sub(record.restarting.len());
    let mut taken = Vec::new();
    for (place, fact) in due {
        if taken.len() >= free {
            break;
        }
        let again = fact.kept || fact.connected;
        if again && !proven && tried {
            continue;
        }
        tried |= again;
        taken.push((place, again));
    }
    taken
}

/// When its user is to know that it ends; none: it goes on.
fn told_at(record: &RolloutRecord, fact: &Fact, now: Timestamp) -> Option<Timestamp> {
    let lead = Timestamp(now.0.saturating_add(record.settings.warning_ms));
    // Who was told is not told a later time, unless that is the deadline.
    let soonest = fact.told.map_or(lead, |told| told.min(lead));
    match (fact.connected, record.deadline()) {
        (false, _) => Some(soonest),
        (true, None) => None,
        (true, Some(deadline)) => Some(deadline.max(soonest)),
    }
}

/// Whether it ran when the roll-out began, in this life.
fn is_of_it(record: &RolloutRecord, fact: &Fact) -> bool {
    fact.epoch <= record.horizon
}

/// Whether it is still to be restarted.
fn is_wanted(record: &RolloutRecord, fact: &Fact) -> bool {
    record.state == RolloutState::Running
        && is_of_it(record, fact)
        && fact.life == Life::Running(Age::Behind)
}

/// Whether it is a start that failed and is not counted yet. Those the roll-out
/// itself began are counted by who sees to them.
fn is_news(record: &RolloutRecord, fact: &Fact) -> bool {
    record.state == RolloutState::Running
        && fact.life == Life::Failed
        && fact.epoch > record.counts_after
        && !record.knows_failure(&fact.id, fact.epoch)
        && !record.restarting.iter().any(|restart| restart.desktop == fact.id)
}

/// How it stands, also while nothing is restarted.
pub(super) fn standing(record: &RolloutRecord, facts: &[Fact], now: Timestamp) -> Standing {
    let mut standing = Standing::default();
    let behind = facts
        .iter()
        .filter(|fact| is_of_it(record, fact) && fact.life == Life::Running(Age::Behind));
    for fact in behind {
        standing.behind += 1;
        standing.connected += u32::from(fact.connected);
        standing.unreachable += u32::from(!fact.heard);
        standing.unplaceable += u32::from(!fact.placeable);
        let has_time = fact.told.is_none_or(|at| at > now);
        standing.warned += u32::from(has_time && !fact.connected && fact.heard && fact.placeable);
    }
    standing
}

/// What it waits for, or why it was halted: a sentence, or nothing.
pub(super) fn because(record: &RolloutRecord, standing: Standing, closed: bool) -> String {
    match record.state {
        RolloutState::Running => {}
        RolloutState::Halted => return halted_because(record),
        RolloutState::Paused | RolloutState::Done | RolloutState::Cancelled => {
            return String::new();
        }
    }
    if closed {
        return "the pool is closed: what is ended now could not come back".to_owned();
    }
    let in_use = match record.settings.deadline_ms {
        None => "in use, and there is no deadline",
        Some(_) => "in use, until the deadline",
    };
    let warned = format!("to end {} after they are told", spoken(record.settings.warning_ms));
    let parts = [
        (standing.connected, in_use),
        (standing.warned, warned.as_str()),
        (standing.unreachable, "on hosts that do not answer"),
        (standing.unplaceable, "without a host that has the version"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    parts.join("; ")
}

/// A length of time, rounded up where nobody would mind.
fn spoken(ms: u64) -> String {
    const UNITS: [(u64, u64, &str); 3] =
        [(7_200_000, 3_600_000, "h"), (120_000, 60_000, "min"), (0, 1_000, "s")];
    let unit = UNITS.into_iter().find(|(least, ..)| ms >= *least);
    let (_, size, name) = unit.unwrap_or((0, 1_000, "s"));
    format!("{} {name}", ms.div_ceil(size))
}

fn halted_because(record: &RolloutRecord) -> String {
    let counted = record.failed.saturating_sub(record.forgiven);
    let starts = if counted == 1 { "a start".to_owned() } else { format!("{counted} starts") };
    let Some(last) = record.failures.last() else { return format!("{starts} failed") };
    let host = last.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
    format!("{starts} failed; the last: {}{host}: {} ({})", last.desktop, last.reason, last.code)
}

impl Plan {
    /// The event that goes with it, failures apart.
    pub(super) fn event(&self) -> Option<RolloutEvent> {
        self.finished.then_some(RolloutEvent::Finish)
    }
}

#[cfg(test)]
mod tests;
