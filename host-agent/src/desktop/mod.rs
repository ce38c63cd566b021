//! One desktop: its snapshot, and the task that brings it up, watches it and
//! takes it down.

mod disk;
mod failure;
mod home;
mod live;
mod release;
mod start;
mod verdict;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, watch};

pub use self::failure::{is_disk_full, sentence};
pub use self::live::{adopt, begin};
pub use self::release::release;
pub use self::start::Start;
use crate::{
    lifecycle::{EndReason, Event, Illegal, State},
    registry::Publisher,
    view::{Failure, Mark, Phase, View},
};

/// A desktop as the rest of the agent holds it.
#[derive(Debug)]
pub struct Desktop {
    publisher: Publisher,
    stop: watch::Sender<Option<StopOrder>>,
    /// When its request arrived.
    begun: Instant,
}

/// A request to end.
#[derive(Clone, Copy, Debug)]
pub struct StopOrder {
    /// How long the session may take; none: the host's default.
    pub grace: Option<Duration>,
}

impl Desktop {
    pub(crate) fn new(view: View, events: broadcast::Sender<Arc<View>>) -> Self {
        Self {
            publisher: Publisher { view: watch::Sender::new(view), events },
            stop: watch::Sender::new(None),
            begun: Instant::now(),
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
        let after = self.publisher.view.borrow().state().after(event)?;
        self.publisher.change(|view| view.record.state = after);
        Ok(after)
    }

    /// Tells watchers that something measured has changed.
    pub(crate) fn touch(&self) {
        self.publisher.change(|_| {});
    }

    fn mark(&self, phase: Phase, done: bool) {
        let elapsed = self.begun.elapsed();
        self.publisher.change(|view| view.marks.push(Mark { phase, done, elapsed }));
    }

    fn set_end(&self, reason: EndReason) {
        self.publisher.change(|view| view.end = Some(reason));
    }

    fn set_failure(&self, failure: Failure) {
        self.publisher.change(|view| view.failure = Some(failure));
    }
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
                account: Account { name: "alice".into(), uid: 2000, full_name: String::new() },
                image: "demo:stable".into(),
                version: "1".into(),
                persistent_overlay: None,
                home: None,
                limits: Limits::default(),
                runtime: "builtin".into(),
                display_socket: "vnc.sock".into(),
                state: State::Planned,
                init: None,
                started_at: 0,
            },
            mac: Mac([0; 6]),
            ip: std::net::Ipv4Addr::LOCALHOST,
            overlay: rolltop_overlay::OverlayKind::Volatile(number),
            home_volume: None,
            marks: Vec::new(),
            failure: None,
            end: None,
        }
    }

    #[tokio::test]
    async fn the_first_stop_order_counts_and_wakes_the_waiter() {
        let desktop = Desktop::new(view(1, 1, "a"), broadcast::channel(1).0);
        assert!(!desktop.is_stop_ordered());
        let first = Duration::from_secs(1);
        desktop.stop(StopOrder { grace: Some(first) });
        desktop.stop(StopOrder { grace: None });
        assert_eq!(desktop.stop_ordered().await.grace, Some(first));
    }

    #[tokio::test]
    async fn an_illegal_step_changes_nothing() {
        let desktop = Desktop::new(view(1, 1, "a"), broadcast::channel(1).0);
        assert!(desktop.step(Event::Ready).is_err());
        assert_eq!(desktop.view().state(), State::Planned);
    }
}
