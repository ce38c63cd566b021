//! One desktop: its snapshot, and the task that brings it up, watches it and
//! takes it down.

mod boot;
mod disk;
mod disks;
mod failure;
mod farewell;
mod home;
mod inside;
mod live;
mod orders;
mod output;
mod release;
mod session;
mod start;
mod verdict;
mod warm;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

pub use self::disks::DisksError;
pub use self::failure::{is_disk_full, sentence};
pub use self::live::{adopt, begin, clear_away};
use self::orders::Asked;
pub use self::orders::{Order, OrderError};
pub use self::release::{ReleaseError, release};
pub use self::{session::Seat, start::Start};
use crate::{
    events::Events,
    lifecycle::{EndReason, Event, Illegal, State},
    registry::Publisher,
    request::Assignment,
    view::{Failure, Mark, Phase, View},
};

/// A desktop as the rest of the agent holds it.
#[derive(Debug)]
pub struct Desktop {
    publisher: Publisher,
    stop: watch::Sender<Option<StopOrder>>,
    orders: mpsc::Sender<Asked>,
    inbox: Mutex<Option<mpsc::Receiver<Asked>>>,
    /// To whom it was given, if it was made ahead.
    assigned: watch::Sender<Option<Arc<Assignment>>>,
    /// A step looks, and then goes: one at a time.
    turn: Mutex<()>,
    /// When the request arrived that it is being brought up for.
    begun: Mutex<Instant>,
}

/// A request to end.
#[derive(Clone, Copy, Debug)]
pub struct StopOrder {
    /// How long the session may take; none: the host's default.
    pub grace: Option<Duration>,
}

impl Desktop {
    pub(crate) fn new(view: View, events: Arc<Events>) -> Self {
        let (orders, inbox) = mpsc::channel(orders::QUEUE);
        Self {
            publisher: Publisher { view: watch::Sender::new(view), events },
            stop: watch::Sender::new(None),
            orders,
            inbox: Mutex::new(Some(inbox)),
            assigned: watch::Sender::new(None),
            turn: Mutex::default(),
            begun: Mutex::new(Instant::now()),
        }
    }

    /// The present snapshot.
    pub fn view(&self) -> View {
        self.publisher.view.borrow().clone()
    }

    /// The snapshot, and its changes.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.publisher.view.subscribe()
    }

    /// For everything that is logged about it.
    pub fn span(&self) -> tracing::Span {
        let record = &self.publisher.view.borrow().record;
        tracing::info_span!("desktop", number = %record.number, label = %record.label, epoch = record.epoch)
    }

    /// Asks it to end. The first order counts.
    pub fn stop(&self, order: StopOrder) {
        self.stop.send_if_modified(|present| {
            let first = present.is_none();
            present.get_or_insert(order);
            first
        });
    }

    /// Waits until someone asks it to end.
    async fn stop_ordered(&self) -> StopOrder {
        let mut orders = self.stop.subscribe();
        // Cannot fail: the sender lives as long as `self`.
        let order = orders.wait_for(Option::is_some).await.ok().and_then(|order| *order);
        order.unwrap_or(StopOrder { grace: None })
    }

    fn is_stop_ordered(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Waits until it has ended, one way or the other.
    pub async fn ended(&self) -> View {
        let mut views = self.subscribe();
        let end =
            views.wait_for(|view| view.state().is_final()).await.ok().map(|view| view.clone());
        // Cannot fail: the sender lives as long as `self`.
        end.unwrap_or_else(|| self.view())
    }

    /// Goes to the state after `event`.
    pub(crate) fn step(&self, event: Event) -> Result<State, Illegal> {
        let _turn = lock(&self.turn);
        let after = self.publisher.view.borrow().state().after(event)?;
        self.publisher.change(|view| view.record.state = after);
        Ok(after)
    }

    /// Gives it to somebody: whoever comes second finds that it is not warm. The
    /// desktop's task does the rest.
    ///
    /// # Errors
    /// It is not warm.
    pub(crate) fn assign(&self, assignment: Assignment) -> Result<(), Illegal> {
        let _turn = lock(&self.turn);
        let after = self.publisher.view.borrow().state().after(Event::Assign)?;
        *lock(&self.begun) = Instant::now();
        self.publisher.change(|view| {
            assignment.enter(view);
            view.record.state = after;
        });
        self.assigned.send_replace(Some(Arc::new(assignment)));
        Ok(())
    }

    /// Waits until it is given to somebody.
    async fn given(&self) -> Arc<Assignment> {
        let mut assigned = self.assigned.subscribe();
        let given = assigned.wait_for(Option::is_some).await.ok().and_then(|given| given.clone());
        match given {
            Some(assignment) => assignment,
            // Cannot be: the sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Since the request arrived.
    fn elapsed(&self) -> Duration {
        lock(&self.begun).elapsed()
    }

    /// Tells watchers that something measured has changed.
    pub(crate) fn touch(&self) {
        self.publisher.change(|_| {});
    }

    fn mark(&self, phase: Phase, done: bool) {
        let elapsed = self.elapsed();
        self.publisher.change(|view| view.marks.push(Mark { phase, done, elapsed }));
    }

    fn set_end(&self, reason: EndReason) {
        self.publisher.change(|view| view.end = Some(reason));
    }

    fn set_failure(&self, failure: Failure) {
        self.publisher.change(|view| view.failure = Some(failure));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can be left half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        address::{Mac, Number},
        record::{FORMAT, Record},
        request::{Account, Limits},
    };

    pub(crate) fn view(number: u32, epoch: u64, request_id: &str) -> View {
        View {
            record: Record {
                format: FORMAT,
                number: Number::new(number).unwrap(),
                epoch,
                request_id: request_id.into(),
                label: "demo/alice".into(),
                account: Some(Account {
                    name: "alice".into(),
                    uid: 2000,
                    full_name: String::new(),
                }),
                image: "demo:stable".into(),
                version: "1".into(),
                persistent_overlay: None,
                home: None,
                egress: Vec::new(),
                limits: Limits::default(),
                runtime: "builtin".into(),
                display_socket: "vnc.sock".into(),
                init_stop_signal: None,
                state: State::Planned,
                init: None,
                started_at: 0,
            },
            mac: Mac([0; 6]),
            ips: Vec::new(),
            overlay: rolltop_overlay::OverlayKind::Volatile(number),
            home_volume: None,
            marks: Vec::new(),
            failure: None,
            end: None,
        }
    }

    #[tokio::test]
    async fn the_first_stop_order_counts_and_wakes_the_waiter() {
        let desktop = Desktop::new(view(1, 1, "a"), Events::new());
        assert!(!desktop.is_stop_ordered());
        let first = Duration::from_secs(1);
        desktop.stop(StopOrder { grace: Some(first) });
        desktop.stop(StopOrder { grace: None });
        assert_eq!(desktop.stop_ordered().await.grace, Some(first));
    }

    #[tokio::test]
    async fn an_illegal_step_changes_nothing() {
        let desktop = Desktop::new(view(1, 1, "a"), Events::new());
        assert!(desktop.step(Event::Ready).is_err());
        assert_eq!(desktop.view().state(), State::Planned);
    }
}
