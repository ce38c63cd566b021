//! Hosts that failed starts are set back for a while: taken only if no other
//! will do. In memory: a broker that comes up tries them again, which costs one
//! start; and what fails for one broker may well be that broker's line.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::names::HostName;

/// After the first failure; twice as long after each further one.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// Who is set back until when.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    hosts: Mutex<HashMap<HostName, (Duration, Instant)>>,
}

impl Setbacks {
    /// All that are set back now.
    pub(super) fn all(&self) -> BTreeSet<HostName> {
        let (now, hosts) = (Instant::now(), self.lock());
        let held = hosts.iter().filter(|(_, (_, until))| now < *until);
        held.map(|(host, _)| host.clone()).collect()
    }

    /// A start failed there.
    pub(super) fn failed(&self, host: &HostName) {
        let now = Instant::now();
        let mut hosts = self.lock();
        // What is long over does not count any more.
        hosts.retain(|_, (_, until)| now < *until + LONGEST);
        let wait = hosts.get(host).map_or(FIRST, |(wait, _)| (*wait * 2).min(LONGEST));
        hosts.insert(host.clone(), (wait, now + wait));
        tracing::info!(host.name = %host, seconds = wait.as_secs(), "a host is set back after a failed start");
    }

    /// A start went well there.
    pub(super) fn went_well(&self, host: &HostName) {
        self.lock().remove(host);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<HostName, (Duration, Instant)>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Setbacks {
        fn holds(&self, host: &HostName) -> bool {
            self.all().contains(host)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_sets_back_for_longer_and_a_success_forgives() {
        let (host, setbacks) = ("h1".parse::<HostName>().unwrap(), Setbacks::default());
        setbacks.failed(&host);
        tokio::time::advance(FIRST).await;
        assert!(!setbacks.holds(&host));
        setbacks.failed(&host);
        tokio::time::advance(FIRST).await;
        assert!(setbacks.holds(&host), "twice as long");
        setbacks.went_well(&host);
        assert!(!setbacks.holds(&host));
        (0..20).for_each(|_| setbacks.failed(&host));
        tokio::time::advance(LONGEST).await;
        assert!(!setbacks.holds(&host));
        tokio::time::advance(LONGEST).await;
        setbacks.failed(&host);
        tokio::time::advance(FIRST).await;
        assert!(!setbacks.holds(&host), "long ago");
    }
}
