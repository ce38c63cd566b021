//! What may be asked of a desktop that is up: its own task does it, one thing
//! after the other.

use rolltop_launcher::cgroup::CgroupError;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{
    Desktop,
    disks::{Disks, DisksError},
    start::{Base, record},
};
use crate::{
    address::link_name,
    bundle,
    host::Host,
    lifecycle::{Event, Illegal, State},
    network::NetworkError,
    request::Limits,
    runtime::{Container, RuntimeError},
    view::View,
    work::blocking,
};

/// Orders that wait for a desktop.
pub(super) const QUEUE: usize = 8;

/// Something to do with a desktop that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Hold its processes still.
    Freeze,
    /// Let them go on.
    Thaw,
    /// Replace its limits.
    Limits(Limits),
}

/// An order, and who waits for its outcome.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<View, OrderError>>,
}

/// An order was not carried out.
#[derive(Debug, Error)]
pub enum OrderError {
    /// It is not up.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It ended meanwhile.
    #[error("the desktop is ending")]
    Ending,
    /// Control groups.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// Rates of its disks.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// Rates of its link.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A value that OCI does not know.
    #[error("the limits cannot be written down")]
    Spec(#[from] oci_spec::OciSpecError),
    /// Its runtime was taken out of the configuration.
    #[error("runtime `{0}` is not configured any more")]
    NoRuntime(String),
    /// The record on disk.
    #[error("cannot write the record of the desktop: {0}")]
    Record(String),
}

impl Desktop {
    /// Has an order carried out; the desktop as it is then.
    ///
    /// # Errors
    /// It is not up, or the kernel refuses.
    pub async fn order(&self, order: Order) -> Result<View, OrderError> {
        self.view().state().after(order.event())?;
        let (answer, outcome) = oneshot::channel();
        let asked = Asked { order, answer };
        self.orders.send(asked).await.map_err(|_ended| OrderError::Ending)?;
        outcome.await.map_err(|_ended| OrderError::Ending)?
    }

    /// For the desktop's task: to be taken once.
    pub(super) fn take_orders(&self) -> mpsc::Receiver<Asked> {
        let mut inbox = self.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Taken already: then nobody sends to this one.
        inbox.take().unwrap_or_else(|| mpsc::channel(1).1)
    }
}

impl Order {
    /// What must be allowed.
    fn event(self) -> Event {
        match self {
            Self::Freeze => Event::Freeze,
            Self::Thaw => Event::Thaw,
            Self::Limits(_) => Event::Adjust,
        }
    }
}

/// Carries out an order and answers it.
pub(super) async fn obey(host: &Host, desktop: &Desktop, up: &Base, asked: Asked) {
    let Asked { order, answer } = asked;
    let done = match order {
        Order::Freeze => freeze(host, desktop, up).await,
        Order::Thaw => thaw(host, desktop, up).await,
        Order::Limits(limits) => set_limits(host, desktop, up, limits).await,
    };
    match &done {
        Ok(()) => info!(?order, "done"),
        Err(error) => warn!(?order, error = %super::sentence(error), "not done"),
    }
    // Who asked may have gone: it is done all the same.
    let _gone = answer.send(done.map(|()| desktop.view()));
}

/// The record goes first: an agent that finds it freezes what was not yet.
async fn freeze(host: &Host, desktop: &Desktop, up: &Base) -> Result<(), OrderError> {
    desktop.step(Event::Freeze)?;
    let frozen = async {
        write_record(host, desktop).await?;
        in_kernel(host, desktop, up, State::Frozen).await
    };
    let frozen = frozen.await;
    if frozen.is_err() {
        desktop.step(Event::Thaw)?;
        write_record(host, desktop).await?;
    }
    frozen
}

async fn thaw(host: &Host, desktop: &Desktop, up: &Base) -> Result<(), OrderError> {
    in_kernel(host, desktop, up, State::Running).await?;
    desktop.step(Event::Thaw)?;
    write_record(host, desktop).await
}

/// Makes the processes what the state says they are.
pub(super) async fn in_kernel(
    host: &Host,
    desktop: &Desktop,
    up: &Base,
    state: State,
) -> Result<(), OrderError> {
    let record = desktop.view().record;
    let (_, runtime) = host
        .runtimes
        .get(Some(&record.runtime))
        .ok_or_else(|| OrderError::NoRuntime(record.runtime.clone()))?;
    let paths = host.paths.desktop(record.number);
    let container = Container {
        id: &record.number.to_string(),
        bundle: &paths.bundle(),
        init: &up.init,
        group: &up.group,
    };
    match state {
        State::Frozen => runtime.freeze(&container).await?,
        _ => runtime.thaw(&container).await?,
    }
    Ok(())
}

async fn set_limits(
    host: &Host,
    desktop: &Desktop,
    up: &Base,
    limits: Limits,
) -> Result<(), OrderError> {
    let record = desktop.view().record;
    let paths = host.paths.desktop(record.number);
    let resources = bundle::new_resources(limits)?;
    let (group, hierarchies) = (up.group.clone(), host.hierarchies.clone());
    blocking(move || {
        group.set_limits(&resources)?;
        if limits.disk == record.limits.disk {
            return Ok(());
        }
        let disks = Disks::of(&paths, record.home.as_ref())?;
        disks.limit(&group, limits.disk)?;
        Ok::<_, OrderError>(disks.limit_write_back(&hierarchies, limits.disk)?)
    })
    .await?;
    if limits.network != record.limits.network {
        let link = link_name(record.number);
        host.network.set_rates(&link, up.init.id().pid, limits.network).await?;
    }
    desktop.publisher.change(|view| view.record.limits = limits);
    write_record(host, desktop).await
}

async fn write_record(host: &Host, desktop: &Desktop) -> Result<(), OrderError> {
    record(host, desktop).await.map_err(|error| OrderError::Record(super::sentence(&error)))
}
