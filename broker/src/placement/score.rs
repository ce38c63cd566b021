//! What speaks for a host.

use super::{Demand, HostFacts, MIB, Resources};
use crate::{config::Placement as Policy, state::Strategy};

/// Room is counted in thousandths of a host, and so is all else.
const WHOLE: i64 = 1000;
/// More than everything else can add up to.
const SET_BACK: i64 = -1_000_000_000;

/// Points of one host, by what they are for. More is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Memory and places left, or taken if desktops go side by side.
    pub room: i64,
    /// Desktops there run from the same version.
    pub image: i64,
    /// Labels the pool prefers, less those it avoids.
    pub labels: i64,
    /// It failed starts a moment ago.
    pub failures: i64,
}

// === impl Score ===

impl Score {
    pub(super) fn of(host: &HostFacts, demand: &Demand, policy: Policy) -> Self {
        let Ok(has) = &host.ready else { return Self::default() };
        let room = match demand.wishes.strategy.unwrap_or(policy.strategy) {
            Strategy::Spread => room_left(host, has, demand),
            Strategy::Pack => WHOLE - room_left(host, has, demand),
        };
        let warm = has.version_of(&demand.image).is_some_and(|version| has.warm.contains(version));
        let had = |terms: &[crate::state::Term]| {
            terms.iter().filter(|term| term.is_had(&host.labels)).count() as i64
        };
        let labels = had(&demand.wishes.prefer) - had(&demand.wishes.avoid);
        Self {
            room: room.saturating_mul(policy.weight_room) / 100,
            image: if warm { WHOLE.saturating_mul(policy.weight_image) / 100 } else { 0 },
            labels: labels.saturating_mul(WHOLE).saturating_mul(policy.weight_labels) / 100,
            failures: if host.set_back { SET_BACK } else { 0 },
        }
    }

    /// All of it.
    pub fn total(&self) -> i64 {
        self.room
            .saturating_add(self.image)
            .saturating_add(self.labels)
            .saturating_add(self.failures)
    }

    /// Each part with its name.
    pub fn parts(&self) -> [(&'static str, i64); 4] {
        [
            ("room", self.room),
            ("image", self.image),
            ("labels", self.labels),
            ("failures", self.failures),
        ]
    }
}

/// What would be left, in thousandths of the host: of memory to claim, or of
/// places, whichever is less. Below nothing where memory is overcommitted.
fn room_left(host: &HostFacts, has: &Resources, demand: &Demand) -> i64 {
    let share = |of: i64, taken: i64| {
        let of = of.max(1);
        let left = i128::from(of) - i128::from(taken);
        let share = left * i128::from(WHOLE) / i128::from(of);
        i64::try_from(share).unwrap_or(if share < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
    };
    let memory = host.claimed.memory_mib.saturating_add(demand.limits.memory_mib);
    let places = host.claimed.desktops.saturating_add(1);
    share(has.memory_bytes / MIB, memory)
        .min(share(has.max_desktops, places))
        .clamp(-100 * WHOLE, WHOLE)
}
