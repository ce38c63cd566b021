//! How many warm desktops are missing, and which are of no use: a pure function
//! over what is there.

use crate::state::{PoolRecord, Stored, WarmRecord, WarmState};

/// What is to be done about the warm desktops of one pool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Of no use: changed pool, newer image, host that is drained, or too many.
    pub(super) end: Vec<&'a Stored<WarmRecord>>,
    /// To be made.
    pub(super) missing: u32,
}

/// What is known about where a warm desktop is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its host is to have no desktops.
    pub(super) leaving: bool,
    /// The version its image has there now; none: not known.
    pub(super) version: Option<String>,
}

/// Whether a user of the pool may get it, now or when it is ready.
pub(super) fn is_of_use(warm: &WarmRecord, pool: &PoolRecord, standing: &Standing) -> bool {
    let present = standing.version.as_ref();
    warm.state != WarmState::Ending
        && !standing.leaving
        && warm.recipe == pool.recipe()
        && (warm.version.is_empty() || present.is_none_or(|present| *present == warm.version))
}

/// `pool`: none, it was deleted. `there`: all of that pool's.
pub(super) fn plan<'a>(
    pool: Option<&PoolRecord>,
    there: &'a [Stored<WarmRecord>],
    standing: impl Fn(&WarmRecord) -> Standing,
) -> Plan<'a> {
    let useful = |stored: &&Stored<WarmRecord>| {
        pool.is_some_and(|pool| is_of_use(&stored.record, pool, &standing(&stored.record)))
    };
    let (mut useful, useless): (Vec<_>, Vec<_>) = there.iter().partition(useful);
    let wanted = pool.map_or(0, PoolRecord::warm_wanted) as usize;
    // Too many: the youngest go, which may not even be ready.
    useful.sort_by_key(|stored| stored.record.epoch);
    let surplus = useful.split_off(useful.len().min(wanted));
    let ends = useless.into_iter().chain(surplus);
    Plan {
        end: ends.filter(|stored| stored.record.state != WarmState::Ending).collect(),
        missing: u32::try_from(wanted - useful.len()).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock as _, SystemClock},
        state::LimitsRecord,
        store::Revision,
    };

    fn pool(warm: u32) -> PoolRecord {
        PoolRecord {
            name: "demo".parse().unwrap(),
            title: String::new(),
            description: String::new(),
            image: "demo:stable".parse().unwrap(),
            persistent: false,
            overlay_size_mib: 64,
            limits: LimitsRecord::default(),
            runtime: String::new(),
            users: Vec::new(),
            home: None,
            egress: Vec::new(),
            hosts: Default::default(),
            groups: Vec::new(),
            time_limits: Default::default(),
            max_desktops: 0,
            closed: String::new(),
            warm,
        }
    }

    fn warm(epoch: u64, state: WarmState, version: &str) -> Stored<WarmRecord> {
        let record = WarmRecord {
            pool: "demo".parse().unwrap(),
            number: 1,
            epoch,
            host: "h1".parse().unwrap(),
            state,
            pilot: String::new(),
            request_id: String::new(),
            recipe: pool(0).recipe(),
            version: version.into(),
            claimed_at: SystemClock.now(),
        };
        Stored { record, key: String::new(), revision: Revision(epoch) }
    }

    fn at_version(version: &str) -> impl Fn(&WarmRecord) -> Standing {
        move |_| Standing { leaving: false, version: Some(version.to_owned()) }
    }

    fn planned(plan: &Plan<'_>) -> (Vec<u64>, u32) {
        (plan.end.iter().map(|stored| stored.record.epoch).collect(), plan.missing)
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_too_much_ends() {
        use WarmState::{Ending, Making, Ready};
        let there =
            [warm(2, Ready, "1"), warm(1, Ready, "1"), warm(3, Making, ""), warm(4, Ending, "1")];
        let planned = |count| planned(&plan(Some(&pool(count)), &there, at_version("1")));
        assert_eq!(planned(5), (vec![], 2));
        assert_eq!(planned(3), (vec![], 0));
        assert_eq!(planned(1), (vec![2, 3], 0));
        assert_eq!(planned(0), (vec![1, 2, 3], 0));
        let most = PoolRecord { max_desktops: 4, ..pool(5) };
        assert_eq!(self::planned(&plan(Some(&most), &there, at_version("1"))), (vec![], 1));
        let closed = PoolRecord { closed: "moving".into(), ..pool(5) };
        let planned = self::planned(&plan(Some(&closed), &there, at_version("1")));
        assert_eq!(planned, (vec![1, 2, 3], 0));
    }

    #[test]
    fn what_its_pool_is_no_longer_is_replaced() {
        use WarmState::Ready;
        let there = [warm(1, Ready, "1"), warm(2, Ready, "2")];
        let two = pool(2);
        assert_eq!(planned(&plan(Some(&two), &there, at_version("2"))), (vec![1], 1));
        // A host that does not say what it has is believed.
        assert_eq!(planned(&plan(Some(&two), &there, |_| Standing::default())), (vec![], 0));
        let changed = PoolRecord { overlay_size_mib: 128, ..two.clone() };
        assert_eq!(planned(&plan(Some(&changed), &there, at_version("2"))), (vec![1, 2], 2));
        let retitled = PoolRecord { title: "Demo".into(), ..two.clone() };
        assert_eq!(planned(&plan(Some(&retitled), &there, at_version("2"))), (vec![1], 1));
        let leaving = |_: &WarmRecord| Standing { leaving: true, version: None };
        assert_eq!(planned(&plan(Some(&two), &there, leaving)), (vec![1, 2], 2));
        assert_eq!(planned(&plan(None, &there, at_version("2"))), (vec![1, 2], 0));
    }
}
