//! A pool whose warm desktops cannot be made is left alone for a while, longer
//! each time. In memory, like what is known of hosts that fail: a broker that
//! comes up tries once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::names::PoolName;

/// After the first failure; twice as long after each further one.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);

/// Who is left alone until when.
#[derive(Debug, Default)]
pub(super) struct Patience {
    pools: Mutex<HashMap<PoolName, Wait>>,
}

#[derive(Debug)]
struct Wait {
    wait: Duration,
    until: Instant,
    problem: String,
}

impl Patience {
    /// How long the pool is left alone from now on; none: it is not.
    pub(super) fn left(&self, pool: &PoolName) -> Option<Duration> {
        let until = self.lock().get(pool).map(|wait| wait.until)?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Why its desktops could not be made last.
    pub(super) fn problem(&self, pool: &PoolName) -> Option<String> {
        self.lock().get(pool).map(|wait| wait.problem.clone())
    }

    /// One could not be made. `chance`, 0 to 1, moves the next try, so that
    /// brokers that failed together do not try together.
    pub(super) fn failed(&self, pool: &PoolName, problem: String, chance: f64) {
        let mut pools = self.lock();
        let now = Instant::now();
        // Makes that were begun together count as one failure.
        if let Some(wait) = pools.get_mut(pool)
            && now < wait.until
        {
            wait.problem = problem;
            return;
        }
        let wait = pools.get(pool).map_or(FIRST, |wait| (wait.wait * 2).min(LONGEST));
        let until = now + wait.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0);
        tracing::warn!(pool.name = %pool, seconds = wait.as_secs(), problem, "no desktops are made ahead for a while");
        pools.insert(pool.clone(), Wait { wait, until, problem });
    }

    /// One could be made.
    pub(super) fn went_well(&self, pool: &PoolName) {
        self.lock().remove(pool);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PoolName, Wait>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn demo() -> PoolName {
        "demo".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_waits_longer_and_a_success_forgives() {
        let (patience, demo) = (Patience::default(), demo());
        assert_eq!(patience.left(&demo), None);
        patience.failed(&demo, "no room".into(), 0.5);
        assert_eq!(patience.left(&demo), Some(FIRST));
        patience.failed(&demo, "of the same moment".into(), 0.5);
        assert_eq!(patience.left(&demo), Some(FIRST));
        assert_eq!(patience.problem(&demo).unwrap(), "of the same moment");
        tokio::time::advance(FIRST).await;
        assert_eq!(patience.left(&demo), None);
        patience.failed(&demo, "again".into(), 0.5);
        assert_eq!(patience.left(&demo), Some(FIRST * 2));
        patience.went_well(&demo);
        assert_eq!((patience.left(&demo), patience.problem(&demo)), (None, None));
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds(chances in prop::collection::vec(-1.0_f64..2.0, 1..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let (patience, demo) = (Patience::default(), demo());
                for chance in chances {
                    patience.failed(&demo, String::new(), chance);
                    let left = patience.left(&demo).unwrap();
                    assert!(left >= FIRST.mul_f64(0.74) && left <= LONGEST.mul_f64(1.26));
                    tokio::time::advance(left).await;
                }
            });
        }
    }
}
