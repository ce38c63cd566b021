//! When each viewer of this broker last used their desktop. In memory: it
//! changes with every key, and the broker that relays is the only one to know.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{clock::Timestamp, names::DesktopId};

/// All viewers of this broker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Activities {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    live: Mutex<HashMap<DesktopId, Arc<Activity>>>,
    /// Desktops that were used although somebody waited for their end.
    used: Mutex<BTreeSet<DesktopId>>,
    news: Notify,
}

/// One viewer's.
pub(super) struct Activity {
    desktop: DesktopId,
    connection: String,
    last_ms: AtomicU64,
    /// Somebody wants to hear of the next use.
    alarm: AtomicBool,
    shared: Arc<Shared>,
}

// === impl Activities ===

impl Activities {
    pub(super) fn open(
        &self,
        desktop: &DesktopId,
        connection: &str,
        now: Timestamp,
    ) -> Arc<Activity> {
        let activity = Arc::new(Activity {
            desktop: desktop.clone(),
            connection: connection.to_owned(),
            last_ms: AtomicU64::new(now.0),
            alarm: AtomicBool::new(false),
            shared: Arc::clone(&self.shared),
        });
        lock(&self.shared.live).insert(desktop.clone(), Arc::clone(&activity));
        activity
    }

    /// When this connection's viewer last used the desktop; none: it is not
    /// relayed here. With `alarm`, the next use after the one that is told is
    /// heard of by [`Activities::used_again`].
    pub fn last_use(
        &self,
        desktop: &DesktopId,
        connection: &str,
        alarm: bool,
    ) -> Option<Timestamp> {
        let activity = lock(&self.shared.live).get(desktop).cloned();
        let activity = activity.filter(|activity| activity.connection == connection)?;
        // Before the time is read: a use in between is told, or raises it.
        activity.alarm.store(alarm, Ordering::SeqCst);
        Some(activity.last())
    }

    /// Waits until desktops with an alarm were used.
    pub async fn used_again(&self) -> BTreeSet<DesktopId> {
        loop {
            let news = self.shared.news.notified();
            let used = std::mem::take(&mut *lock(&self.shared.used));
            if !used.is_empty() {
                return used;
            }
            news.await;
        }
    }
}

// === impl Activity ===

impl Activity {
    /// The viewer has done something.
    pub(super) fn used(&self, now: Timestamp) {
        self.last_ms.store(now.0, Ordering::SeqCst);
        if self.alarm.swap(false, Ordering::SeqCst) {
            lock(&self.shared.used).insert(self.desktop.clone());
            self.shared.news.notify_one();
        }
    }

    pub(super) fn last(&self) -> Timestamp {
        Timestamp(self.last_ms.load(Ordering::SeqCst))
    }

    /// Unless someone else has come meanwhile.
    pub(super) fn close(&self) {
        let mut live = lock(&self.shared.live);
        if live.get(&self.desktop).is_some_and(|now| now.connection == self.connection) {
            live.remove(&self.desktop);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_use_is_told_to_whoever_waits_for_it_and_only_then() {
        let (all, desktop) = (Activities::default(), DesktopId::from_key("demo/anna").unwrap());
        let first = all.open(&desktop, "1", Timestamp(10));
        first.used(Timestamp(20));
        assert_eq!(all.last_use(&desktop, "1", true), Some(Timestamp(20)));
        assert_eq!(all.last_use(&desktop, "2", true), None, "another's");
        first.used(Timestamp(30));
        assert_eq!(all.used_again().await, BTreeSet::from([desktop.clone()]));
        first.used(Timestamp(40));
        assert!(lock(&all.shared.used).is_empty(), "nobody waits");

        let second = all.open(&desktop, "2", Timestamp(50));
        first.close();
        assert_eq!(all.last_use(&desktop, "2", false), Some(Timestamp(50)), "it is the second's");
        second.close();
        assert_eq!(all.last_use(&desktop, "2", false), None);
    }
}
