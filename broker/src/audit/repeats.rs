//! What comes again and again: the first few of a minute are noted, the rest
//! counted, so that nobody can push others' entries out of the store by being
//! refused, and a display of somebody's processes is not an entry every second.
//! Memory is bounded.

use std::{collections::HashMap, time::Duration};

use super::{Entry, Outcome};
use crate::{auth::Act, clock::Timestamp};

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Noted singly in one window, of somebody who has not shown who they are.
const SINGLY_STRANGER: u32 = 5;
/// The same of an account.
const SINGLY_KNOWN: u32 = 60;
/// Windows at once; whoever comes when all are taken is counted with the others.
const WINDOWS: usize = 4096;

/// What is counted together.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    act: String,
    user: String,
    from: String,
    outcome: Outcome,
    /// Of a look; refusals are counted whatever they are about.
    object: String,
}

/// What came lately.
#[derive(Default)]
pub(super) struct Repeats {
    windows: HashMap<Kind, Window>,
}

struct Window {
    since: Timestamp,
    singly: u32,
    seen: u32,
    last: Entry,
}

// === impl Repeats ===

impl Repeats {
    /// Whether this one is to be noted by itself.
    pub(super) fn admit(&mut self, entry: &Entry) -> bool {
        let (singly, object) = match entry.outcome {
            Outcome::Refused | Outcome::Failed if entry.via.is_empty() => (SINGLY_STRANGER, ""),
            Outcome::Refused | Outcome::Failed => (SINGLY_KNOWN, ""),
            Outcome::Ok if entry.act == Act::LookInto.name() => (1, entry.object.as_str()),
            Outcome::Ok | Outcome::Begun | Outcome::Unknown => return true,
        };
        let mut kind = Kind {
            act: entry.act.clone(),
            user: entry.user.clone(),
            from: entry.from.clone(),
            outcome: entry.outcome,
            object: object.to_owned(),
        };
        if !self.windows.contains_key(&kind) && self.windows.len() >= WINDOWS {
            let (act, outcome, none) = (kind.act, kind.outcome, String::new);
            kind = Kind { act, outcome, user: none(), from: none(), object: none() };
        }
        let window = self.windows.entry(kind).or_insert_with_key(|kind| Window {
            since: entry.at,
            singly,
            seen: 0,
            last: Entry {
                user: kind.user.clone(),
                from: kind.from.clone(),
                object: kind.object.clone(),
                ..entry.clone()
            },
        });
        window.seen = window.seen.saturating_add(1);
        window.seen <= window.singly
    }

    /// What was only counted, of windows that are over by now.
    pub(super) fn over(&mut self, now: Timestamp) -> Vec<Entry> {
        let over: Vec<Window> = self
            .windows
            .extract_if(|_, window| window.since.after(WINDOW) <= now)
            .map(|(_, window)| window)
            .collect();
        over.into_iter().filter_map(Window::told).collect()
    }

    /// What was only counted, of all windows.
    pub(super) fn all(&mut self) -> Vec<Entry> {
        self.windows.drain().filter_map(|(_, window)| window.told()).collect()
    }
}

// === impl Window ===

impl Window {
    fn told(self) -> Option<Entry> {
        let uncounted = self.seen.checked_sub(self.singly).filter(|count| *count > 0)?;
        Some(
            self.last.because("again and again; see the entries before").detail("times", uncounted),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Who;

    fn refused(from: u32, at: u64) -> Entry {
        let who = Who::stranger(std::net::Ipv4Addr::from(from).into());
        Entry { at: Timestamp(at), ..Entry::new(Act::SignIn, &who, Outcome::Refused) }
    }

    #[test]
    fn a_few_are_noted_and_the_rest_counted_once() {
        let mut repeats = Repeats::default();
        let noted = (0..100).filter(|n| repeats.admit(&refused(1, *n))).count();
        assert_eq!(noted, 5);
        assert!(repeats.admit(&refused(2, 100)), "others are not hit");
        assert_eq!(repeats.over(Timestamp(59_000)), []);
        let told = repeats.over(Timestamp(60_000));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].details["times"], "95");
        assert!(repeats.admit(&refused(1, 60_001)), "the window is over");
        assert_eq!(repeats.all(), []);
    }

    #[test]
    fn looks_are_noted_once_a_minute_for_each_desktop_and_acts_always() {
        let mut repeats = Repeats::default();
        let who = Who { via: "session".into(), ..Who::default() };
        let look = |desktop| Entry::new(Act::LookInto, &who, Outcome::Ok).on("desktop", desktop);
        assert!(repeats.admit(&look("demo/anna")) && repeats.admit(&look("demo/ben")));
        assert!(!repeats.admit(&look("demo/anna")));
        let act = Entry::new(Act::StopDesktop, &who, Outcome::Ok);
        assert!((0..100).all(|_| repeats.admit(&act)));
        let told = repeats.all();
        assert_eq!((told.len(), told[0].object.as_str()), (1, "desktop:demo/anna"));
    }

    #[test]
    fn memory_is_bounded_and_nothing_uncounted() {
        let mut repeats = Repeats::default();
        let noted = (0..10_000).filter(|n| repeats.admit(&refused(*n, 0))).count();
        assert!(repeats.windows.len() <= WINDOWS + 1);
        let told = repeats.all();
        let counted: usize =
            told.iter().map(|entry| entry.details["times"].parse::<usize>().unwrap()).sum();
        assert_eq!(noted + counted, 10_000);
    }
}
