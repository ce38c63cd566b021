//! What is to be done about a desktop's time.

use crate::{
    clock::Timestamp,
    state::{ExpiryRecord, TimeLimit, TimeLimits},
};

/// What a desktop's time is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// When it was claimed.
    pub since: Timestamp,
    /// When its user last did something.
    pub used_at: Timestamp,
    /// Since when nobody is connected; none: somebody is.
    pub away_since: Option<Timestamp>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing; look again at this time, which is to come, or when something
    /// changes.
    Wait(Option<Timestamp>),
    /// Its user is to know this.
    Tell(ExpiryRecord),
    /// What was told does not hold any more.
    Untell,
    /// It has had its time.
    End(TimeLimit),
}

/// What is to be done now. `told`: what its user was told last.
///
/// No desktop is ended before its limit, nor sooner than the warning's time
/// after its user was told, be it that the limit was set a moment ago.
pub fn step(
    limits: &TimeLimits,
    facts: &Facts,
    told: Option<&ExpiryRecord>,
    now: Timestamp,
) -> Step {
    let Some((limit, due)) = first_due(limits, facts) else {
        return if told.is_some() { Step::Untell } else { Step::Wait(None) };
    };
    let warn_at = Timestamp(due.0.saturating_sub(limits.warning_ms));
    if now < warn_at {
        return if told.is_some() { Step::Untell } else { Step::Wait(Some(warn_at)) };
    }
    // Who was told already is not told a later time for another reason.
    let lead = Timestamp(now.0.saturating_add(limits.warning_ms));
    let at = due.max(told.map_or(lead, |told| told.at.min(lead)));
    if now >= at {
        return Step::End(limit);
    }
    match told {
        Some(told) if told.limit == limit && told.at == at => Step::Wait(Some(at)),
        Some(_) | None => Step::Tell(ExpiryRecord { limit, at, because: sentence(limit, limits) }),
    }
}

/// The limit that is reached first, and when.
fn first_due(limits: &TimeLimits, facts: &Facts) -> Option<(TimeLimit, Timestamp)> {
    let due = |limit, from: Option<Timestamp>, ms: Option<u64>| {
        Some((limit, Timestamp(from?.0.saturating_add(ms?))))
    };
    let all = [
        due(TimeLimit::Total, Some(facts.since), limits.total_ms),
        due(TimeLimit::Disconnected, facts.away_since, limits.disconnected_ms),
        due(TimeLimit::Idle, Some(facts.used_at), limits.idle_ms),
    ];
    // Of two at once, the one that is named first: it says more.
    all.into_iter().flatten().min_by_key(|(_, at)| *at)
}

fn sentence(limit: TimeLimit, limits: &TimeLimits) -> String {
    let span = |ms: Option<u64>| span(ms.unwrap_or_default());
    match limit {
        TimeLimit::Idle => format!(
            "desktops of this pool are closed when nobody has used them for {}; press a key or move the pointer \
             to keep it",
            span(limits.idle_ms)
        ),
        TimeLimit::Disconnected => format!(
            "desktops of this pool are closed when nobody has been connected for {}; open it to keep it",
            span(limits.disconnected_ms)
        ),
        TimeLimit::Total => {
            format!("desktops of this pool run for {} at most", span(limits.total_ms))
        }
    }
}

/// A length of time in its largest whole unit.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (count, unit) = match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s >= 3600 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s >= 60 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
