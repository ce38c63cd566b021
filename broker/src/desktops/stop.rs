//! Ending a desktop. The host is asked by a task of its own: a caller that
//! goes away leaves no desktop half ended.

use std::time::Duration;

use futures_util::StreamExt as _;
use rolltop_proto::v1::StopHostDesktopRequest;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tracing::Instrument as _;

use super::{DesktopError, Desktops};
use crate::{
    names::{DesktopId, HostName},
    state::{self, DesktopRecord, DesktopState, Happening, keys},
    store::StoreError,
};

/// Why a desktop ended when someone wanted it to.
const STOPPED: &str = "STOPPED";
/// The host gets this much longer than a caller waits.
const HOST_EXTRA: Duration = Duration::from_secs(30);
/// Before a watch that ended is begun anew.
const PAUSE: Duration = Duration::from_millis(50);

impl Desktops {
    /// Ends a desktop; answers with its last state when nothing of it is left
    /// but its data. A failed one is put away.
    ///
    /// # Errors
    /// [`DesktopError::Unknown`], or the host does not answer.
    pub async fn stop(&self, id: &DesktopId) -> Result<DesktopRecord, DesktopError> {
        self.stop_within(id, None).await
    }

    /// The same, with `grace` for its programs to end by themselves; none: the
    /// host's default. A start that is under way is not waited for.
    ///
    /// # Errors
    /// The same.
    pub async fn stop_within(
        &self,
        id: &DesktopId,
        grace: Option<Duration>,
    ) -> Result<DesktopRecord, DesktopError> {
        let record = match self.find(id).await? {
            Some(stored) if stored.record.state != DesktopState::Gone => stored.record,
            Some(_) | None => return Err(DesktopError::Unknown(id.clone())),
        };
        if record.state == DesktopState::Failed {
            return self.end(&record, STOPPED).await;
        }
        match self.inner.flights.find(id) {
            Some(flight) => flight.stop(),
            None => {
                // Asked before anything is changed: a host that is out of
                // reach leaves the desktop as it is.
                self.inner.hosts.agent(&record.host)?;
                let stopping = self.happen(id, record.epoch, Happening::Stop, |_| {}).await?;
                self.stop_on_host_within(stopping, grace);
            }
        }
        let wait = self.inner.deadlines.stop_deadline + grace.unwrap_or_default();
        self.ended(&record, wait).await
    }

    /// Asks the host, and notes that it has ended.
    pub(super) fn stop_on_host(&self, record: DesktopRecord) {
        self.stop_on_host_within(record, None);
    }

    fn stop_on_host_within(&self, record: DesktopRecord, grace: Option<Duration>) {
        let desktops = self.clone();
        let span =
            tracing::info_span!("stop", desktop.id = %record.id, desktop.epoch = record.epoch);
        let work = async move {
            // A host that cannot now is asked again when its line is back.
            let DesktopRecord { host, number, epoch, .. } = &record;
            if let Err(error) = desktops.ask_host_to_stop(host, *number, *epoch, grace).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a desktop could not be stopped"
                );
                return;
            }
            // One that failed, or lives on elsewhere, keeps its record.
            if record.state != DesktopState::Stopping {
                return;
            }
            match desktops.end(&record, STOPPED).await {
                Ok(_)
                | Err(
                    DesktopError::Illegal { .. }
                    | DesktopError::Superseded { .. }
                    | DesktopError::Unknown(_),
                ) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the end of a desktop was not noted"
                    );
                }
            }
        };
        self.inner.tasks.spawn(work.instrument(span));
    }

    /// A start is to end: so does what the host has of it.
    pub(super) async fn stop_start(
        &self,
        record: &DesktopRecord,
    ) -> Result<DesktopRecord, DesktopError> {
        let stopping = self.happen(&record.id, record.epoch, Happening::Stop, |_| {}).await?;
        let DesktopRecord { host, number, epoch, .. } = &stopping;
        self.ask_host_to_stop(host, *number, *epoch, None).await?;
        match self.end(&stopping, STOPPED).await {
            Ok(_) | Err(DesktopError::Illegal { .. }) => {
                Err(DesktopError::Stopped(record.id.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// Answers when the host has nothing of this life of the desktop.
    pub(super) async fn ask_host_to_stop(
        &self,
        host: &HostName,
        number: u32,
        epoch: u64,
        grace: Option<Duration>,
    ) -> Result<(), DesktopError> {
        let mut agent = self.inner.hosts.agent(host)?;
        // Bounded where it was asked for; what does not fit is the default.
        let told = grace.and_then(|grace| prost_types::Duration::try_from(grace).ok());
        let request = StopHostDesktopRequest { number, epoch, grace: told };
        let wait = self.inner.deadlines.stop_deadline + HOST_EXTRA + grace.unwrap_or_default();
        let answer = timeout(wait, agent.stop_desktop(request)).await;
        let message = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) if status.code() == Code::NotFound => return Ok(()),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => "it takes too long".to_owned(),
        };
        Err(DesktopError::Agent { host: host.to_string(), verb: "stop a desktop", message })
    }

    /// Waits until this life of a desktop has ended.
    pub(super) async fn ended(
        &self,
        record: &DesktopRecord,
        wait: Duration,
    ) -> Result<DesktopRecord, DesktopError> {
        let slow = DesktopError::SlowStop { desktop: record.id.clone(), seconds: wait.as_secs() };
        timeout(wait, self.watch_end(record)).await.unwrap_or(Err(slow))
    }

    async fn watch_end(&self, record: &DesktopRecord) -> Result<DesktopRecord, DesktopError> {
        let key = keys::desktop(&record.id);
        loop {
            // Range, not get: it tells the revision to watch from.
            let range = self.store().range(&key).await?;
            let now = match range.entries.into_iter().find(|entry| entry.key == key) {
                Some(entry) => Some(state::decode::<DesktopRecord>(&key, &entry.value)?),
                None => None,
            };
            match now {
                Some(now) if now.epoch == record.epoch && now.state.holds_capacity() => {}
                Some(now) if now.epoch == record.epoch => return Ok(now),
                // Started anew or put away: this life is over in any case.
                Some(_) | None => {
                    return Ok(DesktopRecord { state: DesktopState::Gone, ..record.clone() });
                }
            }
            let mut changes = self.store().watch(&key, range.revision).await?;
            match changes.next().await {
                Some(Ok(_)) => {}
                Some(Err(StoreError::Compacted(_))) | None => sleep(PAUSE).await,
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}
