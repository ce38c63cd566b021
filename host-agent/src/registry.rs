//! The desktops of this host, and the stream of their changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use tokio::sync::{broadcast, watch};

use crate::{address::Number, desktop::Desktop, lifecycle::State, view::View};

/// Changes kept for a slow watcher before it must begin anew.
const EVENTS: usize = 4_096;
/// Ended desktops remembered, so that a repeated request gets the same answer.
const REMEMBERED: usize = 256;

/// All desktops, by number.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    events: broadcast::Sender<Arc<View>>,
    max_desktops: usize,
}

#[derive(Debug, Default)]
struct Inner {
    living: BTreeMap<Number, Arc<Desktop>>,
    ended: VecDeque<Arc<Desktop>>,
    closed: bool,
}

/// What a start request finds.
#[derive(Debug)]
pub enum Admission {
    /// A place, taken for the new desktop.
    New(Arc<Desktop>),
    /// The desktop of an earlier request with the same id.
    Joined(Arc<Desktop>),
}

/// Why a desktop may not begin, or a command may not be given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// No desktop has the number.
    #[error("there is no desktop {0} on this host")]
    Unknown(Number),
    /// Another desktop has the number.
    #[error("number {number} is taken by {label}, which is {state}")]
    NumberTaken {
        /// The number.
        number: Number,
        /// Its owner.
        label: String,
        /// Where that is in its life.
        state: State,
    },
    /// The caller's knowledge is from an earlier time.
    #[error("epoch {asked} of desktop {number} is over: this host has epoch {known}")]
    StaleEpoch {
        /// The number.
        number: Number,
        /// The caller's epoch.
        asked: u64,
        /// The host's.
        known: u64,
    },
    /// The host's own limit.
    #[error("this host takes {0} desktops at most (max_desktops) and has them")]
    Full(usize),
    /// The agent is ending.
    #[error("the agent is shutting down; ask again in a moment")]
    ShuttingDown,
}

impl Registry {
    /// An empty registry.
    pub fn new(max_desktops: usize) -> Self {
        Self { inner: Mutex::default(), events: broadcast::channel(EVENTS).0, max_desktops }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // No step under this lock can leave the maps half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of `view`'s number, or joins the request that has it.
    ///
    /// # Errors
    /// The number is another's, the epoch is old, or the host is full.
    pub fn admit(&self, view: View) -> Result<Admission, RegistryError> {
        let (number, epoch) = (view.record.number, view.record.epoch);
        let mut inner = self.lock();
        if inner.closed {
            return Err(RegistryError::ShuttingDown);
        }
        if let Some(there) = inner.living.get(&number) {
            let known = there.view();
            if epoch < known.record.epoch {
                let known = known.record.epoch;
                return Err(RegistryError::StaleEpoch { number, asked: epoch, known });
            }
            let same = epoch == known.record.epoch
                && view.record.request_id == known.record.request_id
                && known.state() != State::Stopping;
            return if same {
                Ok(Admission::Joined(Arc::clone(there)))
            } else {
                let (label, state) = (known.record.label.clone(), known.state());
                Err(RegistryError::NumberTaken { number, label, state })
            };
        }
        let id = &view.record.request_id;
        let repeated = inner.ended.iter().find(|ended| {
            let ended = ended.view();
            !id.is_empty() && ended.record.request_id == *id && ended.record.number == number
        });
        if let Some(ended) = repeated {
            return Ok(Admission::Joined(Arc::clone(ended)));
        }
        if inner.living.len() >= self.max_desktops {
            return Err(RegistryError::Full(self.max_desktops));
        }
        let desktop = Arc::new(Desktop::new(view, self.events.clone()));
        inner.living.insert(number, Arc::clone(&desktop));
        Ok(Admission::New(desktop))
    }

    /// Takes in a desktop that an earlier agent started.
    pub fn adopt(&self, view: View) -> Arc<Desktop> {
        let number = view.record.number;
        let desktop = Arc::new(Desktop::new(view, self.events.clone()));
        self.lock().living.insert(number, Arc::clone(&desktop));
        desktop
    }

    /// Gives a number back; its desktop has ended.
    pub fn forget(&self, number: Number) {
        let mut inner = self.lock();
        if let Some(desktop) = inner.living.remove(&number) {
            inner.ended.push_back(desktop);
            let surplus = inner.ended.len().saturating_sub(REMEMBERED);
            inner.ended.drain(..surplus);
        }
    }

    /// The living desktop `number`.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, number: Number) -> Result<Arc<Desktop>, RegistryError> {
        self.lock().living.get(&number).cloned().ok_or(RegistryError::Unknown(number))
    }

    /// The living desktop `number`, for a caller that knows `epoch`.
    ///
    /// # Errors
    /// There is none, or the caller's epoch is over.
    pub fn get_fenced(&self, number: Number, epoch: u64) -> Result<Arc<Desktop>, RegistryError> {
        let desktop = self.get(number)?;
        let known = desktop.view().record.epoch;
        if epoch < known {
            return Err(RegistryError::StaleEpoch { number, asked: epoch, known });
        }
        Ok(desktop)
    }

    /// Every living desktop, by number.
    pub fn all(&self) -> Vec<Arc<Desktop>> {
        self.lock().living.values().cloned().collect()
    }

    /// Tells watchers of these desktops that something measured has changed.
    pub fn touch(&self, which: impl Fn(&View) -> bool) {
        for desktop in self.all().into_iter().filter(|desktop| which(&desktop.view())) {
            desktop.touch();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().living.len()
    }

    /// `true` when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything there is, and all changes after it: none is missed and none
    /// can come before the snapshot it changes.
    pub fn watch(&self) -> (Vec<Arc<View>>, broadcast::Receiver<Arc<View>>) {
        let inner = self.lock();
        let events = self.events.subscribe();
        let now = inner.living.values().map(|desktop| Arc::new(desktop.view())).collect();
        (now, events)
    }

    /// Refuses new desktops from now on.
    pub fn close(&self) {
        self.lock().closed = true;
    }
}

/// Where a desktop's snapshot is published.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) view: watch::Sender<View>,
    pub(crate) events: broadcast::Sender<Arc<View>>,
}

impl Publisher {
    /// Changes the snapshot and tells everyone.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
        // No receiver is no fault: nobody watches.
        if self.events.receiver_count() > 0 {
            let _nobody = self.events.send(Arc::new(self.view.borrow().clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::tests::view;

    fn number(n: u32) -> Number {
        Number::new(n).unwrap()
    }

    #[test]
    fn the_same_request_joins_and_another_is_refused() {
        let registry = Registry::new(10);
        let first = registry.admit(view(1, 5, "a")).unwrap();
        assert!(matches!(first, Admission::New(_)));
        assert!(matches!(registry.admit(view(1, 5, "a")).unwrap(), Admission::Joined(_)));
        assert!(matches!(
            registry.admit(view(1, 5, "b")).unwrap_err(),
            RegistryError::NumberTaken { .. }
        ));
        assert_eq!(
            registry.admit(view(1, 4, "a")).unwrap_err(),
            RegistryError::StaleEpoch { number: number(1), asked: 4, known: 5 }
        );
    }

    #[test]
    fn a_repeated_request_hears_how_the_first_ended() {
        let registry = Registry::new(10);
        registry.admit(view(1, 5, "a")).unwrap();
        registry.forget(number(1));
        assert!(registry.is_empty());
        assert!(matches!(registry.admit(view(1, 5, "a")).unwrap(), Admission::Joined(_)));
        assert!(matches!(registry.admit(view(1, 6, "b")).unwrap(), Admission::New(_)));
    }

    #[test]
    fn a_full_or_closing_host_says_so() {
        let registry = Registry::new(1);
        registry.admit(view(1, 1, "a")).unwrap();
        assert_eq!(registry.admit(view(2, 1, "b")).unwrap_err(), RegistryError::Full(1));
        registry.close();
        assert_eq!(registry.admit(view(2, 1, "b")).unwrap_err(), RegistryError::ShuttingDown);
    }

    #[test]
    fn commands_from_an_earlier_epoch_are_refused() {
        let registry = Registry::new(10);
        registry.admit(view(1, 5, "a")).unwrap();
        assert!(registry.get_fenced(number(1), 5).is_ok());
        assert!(registry.get_fenced(number(1), 6).is_ok());
        assert!(matches!(
            registry.get_fenced(number(1), 4).unwrap_err(),
            RegistryError::StaleEpoch { .. }
        ));
        assert_eq!(registry.get(number(9)).unwrap_err(), RegistryError::Unknown(number(9)));
    }

    #[test]
    fn a_watcher_gets_the_present_and_then_every_change() {
        let registry = Registry::new(10);
        registry.admit(view(1, 1, "a")).unwrap();
        let (now, mut events) = registry.watch();
        assert_eq!(now.len(), 1);
        let Admission::New(second) = registry.admit(view(2, 1, "b")).unwrap() else { panic!() };
        second.step(crate::lifecycle::Event::Prepare).unwrap();
        assert_eq!(events.try_recv().unwrap().record.number, number(2));
    }
}
