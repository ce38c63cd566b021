//! Which warm desktop a claim takes.

use crate::{
    desktops::{Desktops, group::Draft},
    placement::{self, Demand, HostFacts},
    state::{PoolRecord, Stored, WarmRecord, WarmState},
};

use super::plan::{Standing, is_of_use};

impl Desktops {
    /// A warm desktop that suits; none: it has to be made. `demand` has what is
    /// made when it is given; two brokers with different seeds rarely choose the
    /// same.
    pub(in crate::desktops) fn choose_warm(
        &self,
        pool: &PoolRecord,
        draft: &Draft<'_>,
        demand: &Demand,
        seed: u64,
    ) -> Option<Stored<WarmRecord>> {
        // Most pools have none, and claims are many.
        if pool.warm == 0 {
            return None;
        }
        let policy = self.inner.policy;
        let suits = |stored: &&Stored<WarmRecord>| {
            let record = &stored.record;
            let Some(host) = draft.host(&record.host) else { return false };
            let demand = Demand { number: record.number, ..demand.clone() };
            record.state == WarmState::Ready
                && !host.set_back
                && is_of_use(record, pool, &standing(Some(host), record))
                && placement::suits(host, &demand, policy)
        };
        let fit: Vec<&Stored<WarmRecord>> = draft.warm_of(&pool.name).filter(suits).collect();
        let chosen = (seed as usize).checked_rem(fit.len());
        let chosen = chosen.and_then(|chosen| fit.get(chosen)).copied().cloned();
        if chosen.is_some() {
            // Whether it is won or lost: there will be one less.
            self.nudge();
        }
        chosen
    }
}

/// What is known about where a warm desktop is.
pub(super) fn standing(host: Option<&HostFacts>, record: &WarmRecord) -> Standing {
    host.map_or_else(Standing::default, |host| {
        let ready = host.ready.as_ref().ok();
        let version = ready.and_then(|ready| ready.version_of(&record.recipe.image));
        Standing { leaving: host.draining, version: version.map(str::to_owned) }
    })
}
