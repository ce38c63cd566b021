//! Which warm desktop a claim takes.

use crate::{
    desktops::Desktops,
    placement::{self, Demand, HostFacts},
    state::{self, PoolRecord, Stored, WarmRecord, WarmState, keys},
    store::StoreError,
};

use super::plan::{Standing, is_of_use};

impl Desktops {
    /// A warm desktop that suits; none: it has to be made. `demand` has what is
    /// made when it is given; two brokers with different seeds rarely choose the
    /// same.
    pub(in crate::desktops) async fn choose_warm(
        &self,
        pool: &PoolRecord,
        fleet: &[HostFacts],
        demand: &Demand,
        seed: u64,
    ) -> Result<Option<Stored<WarmRecord>>, StoreError> {
        // Most pools have none, and claims are many.
        if pool.warm == 0 {
            return Ok(None);
        }
        let there = state::list::<WarmRecord>(self.store(), &keys::warm_of(&pool.name)).await?;
        let policy = self.inner.policy;
        let suits = |stored: &Stored<WarmRecord>| {
            let record = &stored.record;
            let Some(host) = fleet.iter().find(|host| host.name == record.host) else {
                return false;
            };
            let version = host.ready.as_ref().ok().and_then(|ready| ready.version_of(&pool.image));
            let standing = Standing { leaving: host.draining, version: version.map(str::to_owned) };
            let demand = Demand { number: record.number, ..demand.clone() };
            record.state == WarmState::Ready
                && !host.set_back
                && is_of_use(record, pool, &standing)
                && placement::suits(host, &demand, policy)
        };
        let fit: Vec<Stored<WarmRecord>> = there.into_iter().filter(suits).collect();
        let chosen = (seed as usize).checked_rem(fit.len());
        let chosen = chosen.and_then(|chosen| fit.into_iter().nth(chosen));
        if chosen.is_some() {
            // Whether it is won or lost: there will be one less.
            self.nudge();
        }
        Ok(chosen)
    }
}
