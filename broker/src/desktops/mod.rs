//! The desktops of the cluster: asked for, started, watched, ended.
//!
//! * `ledger`: the transactions that change a desktop's record;
//! * `claim`: number, epoch, capacity and record in one of them;
//! * `group`: changes that share records, committed for all that wait at once;
//! * `flight`: a start under way, which any number of callers may join;
//! * `start`, `stop`: what is asked of a host, in tasks of their own, so that
//!   a caller that goes away breaks nothing;
//! * `reconcile`: what hosts say about their desktops, against the records;
//! * `unsettled`: what failures of the store leave to be looked at again;
//! * `warm`: those made ahead of their users.

mod claim;
mod drain;
mod error;
mod expire;
mod flight;
mod freeze;
mod group;
mod last_words;
mod ledger;
mod limits;
mod lost;
mod notice;
mod reconcile;
mod renew;
mod setback;
mod start;
mod stop;
mod tickets;
mod unsettled;
mod warm;

use std::sync::Arc;

use rolltop_proto::v1;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

pub use claim::Claim;
pub use error::DesktopError;
pub use flight::{Flight, Outcome, Step};
pub use limits::NewLimits;
pub use notice::Audience;
pub use reconcile::Reconciler;
pub use tickets::{Admission, IssuedTicket, TicketError, Tickets};
pub use warm::Keeper;

use crate::{
    clock::Clock,
    config::Config,
    data::Data,
    hosts::Hosts,
    metrics::Metrics,
    names::{DesktopId, PoolName, UserName},
    placement::KnownImage,
    presence::Presence,
    state::{self, DesktopRecord, DesktopState, Stored, UserRecord, keys},
    store::{Store, StoreError},
};

/// What a start is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// For whom.
    pub user: UserRecord,
    /// Of which pool.
    pub pool: PoolName,
    /// First width of the screen, pixels; 0: the host's default.
    pub width: u32,
    /// First height of the screen, pixels; 0: the host's default.
    pub height: u32,
    /// Of the session; empty: the image's.
    pub time_zone: String,
}

/// What it takes to see to desktops.
pub struct Parts {
    /// Where their records are.
    pub store: Arc<dyn Store>,
    /// For what is noted with a time.
    pub clock: Arc<dyn Clock>,
    /// Where they run.
    pub hosts: Hosts,
    /// What is kept of them.
    pub data: Data,
    /// This broker among the others.
    pub presence: Presence,
    /// Starts and stops are among these.
    pub tasks: TaskTracker,
    /// Where starts are counted.
    pub metrics: Arc<Metrics>,
}

/// All desktops. Cheap to clone.
#[derive(Clone)]
pub struct Desktops {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    hosts: Hosts,
    data: Data,
    presence: Presence,
    policy: crate::config::Placement,
    deadlines: crate::config::Desktops,
    flights: flight::Flights,
    group: group::Group,
    last_words: last_words::LastWords,
    setbacks: setback::Setbacks,
    warming: warm::Warming,
    /// Starts and stops under way.
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    /// The records may differ from what is there: the store has failed.
    unsettled: Notify,
}

// === impl Desktops ===

impl Desktops {
    /// Over the records in the store.
    pub fn new(parts: Parts, config: &Config) -> Self {
        let Parts { store, clock, hosts, data, presence, tasks, metrics } = parts;
        let inner = Inner {
            store,
            clock,
            hosts,
            data,
            presence,
            policy: config.placement,
            deadlines: config.desktops,
            flights: flight::Flights::default(),
            group: group::Group::default(),
            last_words: last_words::LastWords::default(),
            setbacks: setback::Setbacks::default(),
            warming: warm::Warming::default(),
            tasks,
            metrics,
            unsettled: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// One desktop's record.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find(&self, id: &DesktopId) -> Result<Option<Stored<DesktopRecord>>, StoreError> {
        state::read(self.store(), &keys::desktop(id)).await
    }

    /// All desktops of a user, also those that have ended a moment ago.
    ///
    /// # Errors
    /// Of the store.
    pub async fn of(&self, user: &UserName) -> Result<Vec<Stored<DesktopRecord>>, StoreError> {
        let mut own = Vec::new();
        for id in self.ids_of(user).await? {
            own.extend(self.find(&id).await?);
        }
        Ok(own)
    }

    /// A desktop that runs.
    ///
    /// # Errors
    /// [`DesktopError::Unknown`] or [`DesktopError::WrongState`].
    pub async fn running(&self, id: &DesktopId) -> Result<DesktopRecord, DesktopError> {
        match self.find(id).await?.map(|stored| stored.record) {
            None => Err(DesktopError::Unknown(id.clone())),
            Some(record) if record.state == DesktopState::Gone => {
                Err(DesktopError::Unknown(id.clone()))
            }
            Some(record) if record.state == DesktopState::Running => Ok(record),
            Some(record) => Err(DesktopError::WrongState {
                desktop: id.clone(),
                state: record.state,
                wanted: DesktopState::Running,
            }),
        }
    }

    /// How many starts this broker sees to now.
    pub fn starts_under_way(&self) -> usize {
        self.inner.flights.count()
    }

    fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }
}

/// A version as placement knows it.
fn known_image(known: &v1::ImageVersion) -> KnownImage {
    KnownImage {
        image: known.image.clone(),
        version: known.version.clone(),
        tags: known.tags.clone(),
    }
}
