//! What is kept for users: the overlays of persistent desktops, and homes.
//!
//! * `id`: what people call it; `kept`: where it is and who uses it;
//! * `mark`: one thing at a time is done to it, and no start meanwhile;
//! * `work`: long work at a host, followed to its end;
//! * `make`: data that comes to be, by cloning or from a stream;
//! * `transfer`: streams of bytes to and from a host;
//! * `remove`: deleting;
//! * `slot`: what a start takes of it.

mod adopt;
mod error;
mod id;
mod kept;
mod make;
mod mark;
mod remove;
mod slot;
mod transfer;
mod work;

use std::{sync::Arc, time::Duration};

use rolltop_proto::v1;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Response, Status};

pub use adopt::Adopted;
pub use error::DataError;
pub use id::DataId;
pub use kept::{Kept, home_name, overlay_name};
pub use mark::Order;
pub use slot::Slot;
pub use work::{Done, Step, Work};

use crate::{clock::Clock, hosts::Hosts, names::HostName, store::Store};

/// For calls that only look something up.
const LOOK: Duration = Duration::from_secs(10);

/// All data that is kept. Cheap to clone.
#[derive(Clone)]
pub struct Data {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    hosts: Hosts,
    /// Work under way.
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

// === impl Data ===

impl Data {
    /// Over the records in the store; work is among `tasks`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        hosts: Hosts,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self { inner: Arc::new(Inner { store, clock, hosts, tasks, shutdown }) }
    }

    /// What its host says about data.
    ///
    /// # Errors
    /// The host does not answer, or has not got it.
    pub async fn measure(&self, kept: &Kept) -> Result<v1::Volume, DataError> {
        let mut storage = self.inner.hosts.storage(&kept.host)?;
        let request = v1::GetVolumeRequest { id: Some(volume_id(kept)) };
        within(&kept.host, LOOK, storage.get_volume(request)).await
    }

    /// What a host says about all that it keeps.
    ///
    /// # Errors
    /// The host does not answer.
    pub async fn measure_all(&self, host: &HostName) -> Result<Vec<v1::Volume>, DataError> {
        let mut storage = self.inner.hosts.storage(host)?;
        let call = storage.list_volumes(v1::ListVolumesRequest::default());
        Ok(within(host, LOOK, call).await?.volumes)
    }

    /// Snapshots of data, oldest first.
    ///
    /// # Errors
    /// There is no such data, or its host does not answer.
    pub async fn snapshots(&self, id: &DataId) -> Result<Vec<v1::Snapshot>, DataError> {
        let kept = self.find(id).await?;
        let mut storage = self.inner.hosts.storage(&kept.host)?;
        let request = v1::ListVolumeSnapshotsRequest { id: Some(volume_id(&kept)) };
        Ok(within(&kept.host, LOOK, storage.list_snapshots(request)).await?.snapshots)
    }
}

fn volume_id(kept: &Kept) -> v1::VolumeId {
    v1::VolumeId { kind: kept.id.kind().into(), name: kept.volume.clone() }
}

/// Awaits a host's answer, but not for ever.
async fn within<T>(
    host: &HostName,
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, DataError> {
    match timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refused(host, status)),
        Err(_elapsed) => Err(DataError::Lost {
            host: host.clone(),
            problem: format!("no answer within {} s", deadline.as_secs()),
        }),
    }
}

fn refused(host: &HostName, status: Status) -> DataError {
    match lost(&status) {
        true => DataError::Lost { host: host.clone(), problem: status.message().to_owned() },
        false => DataError::Refused { host: host.clone(), status },
    }
}

/// Whether a status is a broken line rather than a host's word.
fn lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => true,
        // What tonic makes of a broken transport; agents do not send it.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    }
}
