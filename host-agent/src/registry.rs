//! The desktops of this host, and the stream of their changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use thiserror::Error;
use tokio::sync::watch;

use crate::{
    address::Number,
    desktop::Desktop,
    events::{Events, Missed, Position, Reader},
    lifecycle::State,
    request::Assignment,
    view::View,
};

/// Ended desktops remembered, so that a repeated request gets the same answer.
const REMEMBERED: usize = 256;

/// All desktops, by number.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    events: Arc<Events>,
    max_desktops: AtomicUsize,
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
    /// It has a user already, or is ending.
    #[error(
        "desktop {number} is {label}, which is {state}: only a warm desktop can be given to a user"
    )]
    NotWarm {
        /// The number.
        number: Number,
        /// What it is.
        label: String,
        /// Where that is in its life.
        state: State,
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
        let max_desktops = AtomicUsize::new(max_desktops);
        Self { inner: Mutex::default(), events: Events::new(), max_desktops }
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
        if let Some(ended) = inner.ended_of(number, &view.record.request_id) {
            return Ok(Admission::Joined(ended));
        }
        let most = self.max_desktops();
        if inner.living.len() >= most {
            return Err(RegistryError::Full(most));
        }
        let desktop = Arc::new(Desktop::new(view, Arc::clone(&self.events)));
        inner.living.insert(number, Arc::clone(&desktop));
        Ok(Admission::New(desktop))
    }

    /// Gives a warm desktop to a user, or joins the request that did.
    ///
    /// # Errors
    /// There is none of that number and epoch, or it has a user.
    pub fn assign(&self, assignment: Assignment) -> Result<Arc<Desktop>, RegistryError> {
        let (number, epoch) = (assignment.number, assignment.epoch);
        let inner = self.lock();
        if inner.closed {
            return Err(RegistryError::ShuttingDown);
        }
        let Some(there) = inner.living.get(&number) else {
            let ended = inner.ended_of(number, &assignment.request_id);
            return ended.ok_or(RegistryError::Unknown(number));
        };
        let known = there.view().record;
        // One without an account is known by the request that made it.
        let same = epoch == known.epoch && assignment.request_id == known.request_id;
        if same && known.account.is_some() {
            return Ok(Arc::clone(there));
        }
        if epoch <= known.epoch {
            return Err(RegistryError::StaleEpoch { number, asked: epoch, known: known.epoch });
        }
        let given = known.epoch == assignment.warm_epoch && there.assign(assignment).is_ok();
        if given {
            return Ok(Arc::clone(there));
        }
        let view = there.view();
        let (label, state) = (view.record.label.clone(), view.state());
        Err(RegistryError::NotWarm { number, label, state })
    }

    /// Takes in a desktop that an earlier agent started.
    pub fn adopt(&self, view: View) -> Arc<Desktop> {
        let number = view.record.number;
        let desktop = Arc::new(Desktop::new(view, Arc::clone(&self.events)));
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
    pub fn watch(&self) -> (Vec<View>, Reader) {
        let inner = self.lock();
        self.events.from_now(|| inner.living.values().map(|desktop| desktop.view()).collect())
    }

    /// The changes after a place in the stream of them.
    ///
    /// # Errors
    /// [`Missed`]: they are not known any more; [`Registry::watch`] is left.
    pub fn watch_after(&self, position: Position) -> Result<Reader, Missed> {
        self.events.after(position)
    }

    /// The log of changes.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Most desktops at a time.
    pub fn max_desktops(&self) -> usize {
        self.max_desktops.load(Ordering::Relaxed)
    }

    /// Admits no more than this from now on; who is there stays.
    pub fn set_max_desktops(&self, most: usize) {
        self.max_desktops.store(most, Ordering::Relaxed);
    }

    /// Refuses new desktops from now on.
    pub fn close(&self) {
        self.lock().closed = true;
    }
}

// === impl Inner ===

impl Inner {
    /// The desktop that an earlier request with this id was about, if it has
    /// ended not long ago.
    fn ended_of(&self, number: Number, request_id: &str) -> Option<Arc<Desktop>> {
        let is_it = |ended: &&Arc<Desktop>| {
            let record = ended.view().record;
            record.request_id == request_id && record.number == number
        };
        self.ended.iter().find(is_it).filter(|_| !request_id.is_empty()).cloned()
    }
}

/// Where a desktop's snapshot is published.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) view: watch::Sender<View>,
    pub(crate) events: Arc<Events>,
}

impl Publisher {
    /// Changes the snapshot and tells everyone.
    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        self.events.note(|| {
            self.view.send_modify(change);
            self.view.borrow().clone()
        });
    }
}

#[cfg(test)]
mod tests {
    use rolltop_proto::v1;

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

    fn assignment(epoch: u64, warm_epoch: u64, request_id: &str) -> Assignment {
        Assignment::parse(v1::AssignHostDesktopRequest {
            request_id: request_id.into(),
            number: 1,
            epoch,
            warm_epoch,
            account: Some(v1::Account { name: "bob".into(), ..Default::default() }),
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn a_warm_desktop_is_given_to_one_user() {
        use crate::lifecycle::Event;
        let registry = Registry::new(10);
        let refused = |assignment| registry.assign(assignment).unwrap_err();
        assert_eq!(refused(assignment(2, 1, "b")), RegistryError::Unknown(number(1)));
        let mut ahead = view(1, 5, "a");
        ahead.record.account = None;
        let Admission::New(desktop) = registry.admit(ahead).unwrap() else { panic!() };
        assert!(matches!(refused(assignment(6, 5, "b")), RegistryError::NotWarm { .. }));
        for event in [Event::Prepare, Event::Launch, Event::Warmed] {
            desktop.step(event).unwrap();
        }
        let stale = RegistryError::StaleEpoch { number: number(1), asked: 5, known: 5 };
        assert_eq!(refused(assignment(5, 4, "b")), stale);
        assert_eq!(refused(assignment(5, 4, "a")), stale, "that is the request that made it");
        // Another warm desktop of the same number is not meant.
        assert!(matches!(refused(assignment(6, 4, "b")), RegistryError::NotWarm { .. }));
        assert_eq!(desktop.view().state(), State::Warm);

        let given = registry.assign(assignment(6, 5, "b")).unwrap();
        assert_eq!((given.view().record.epoch, given.view().state()), (6, State::Starting));
        registry.assign(assignment(6, 5, "b")).unwrap();
        assert!(matches!(refused(assignment(7, 5, "c")), RegistryError::NotWarm { .. }));
        registry.forget(number(1));
        registry.assign(assignment(6, 5, "b")).unwrap();
        assert_eq!(refused(assignment(7, 5, "c")), RegistryError::Unknown(number(1)));
    }

    #[test]
    fn a_full_or_closing_host_says_so() {
        let registry = Registry::new(1);
        registry.admit(view(1, 1, "a")).unwrap();
        assert_eq!(registry.admit(view(2, 1, "b")).unwrap_err(), RegistryError::Full(1));
        registry.set_max_desktops(2);
        registry.admit(view(2, 1, "b")).unwrap();
        registry.set_max_desktops(1);
        assert_eq!(registry.admit(view(3, 1, "c")).unwrap_err(), RegistryError::Full(1));
        assert_eq!(registry.len(), 2, "who is there stays");
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
        assert_eq!(events.next_known().unwrap().unwrap().view.record.number, number(2));
        assert!(events.next_known().unwrap().is_none());
    }
}
