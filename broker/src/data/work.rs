//! Long work at a host. A task follows it to its end, so that a caller who
//! goes away leaves nothing half noted.

use std::time::Duration;

use futures_util::Stream;
use rolltop_proto::v1::{self, volume_work::Message};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::Instrument as _;

use super::{Data, DataError, DataId, Kept, Order, mark::Look, refused, volume_id, within};
use crate::{
    names::{HostName, UserName},
    state::WorkKind,
};

/// Steps on their way to a caller; progress nobody reads is left out.
const AHEAD: usize = 4;
/// Hosts tell progress every second or so.
const SILENCE: Duration = Duration::from_secs(60);

/// What can be done to data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Makes it larger.
    Grow {
        /// The new size.
        size_mib: i64,
    },
    /// Gives unused blocks back.
    Trim,
    /// Looks for damage.
    Check,
    /// Keeps it as it is now.
    Snapshot {
        /// Empty: from the time.
        name: String,
        /// For people.
        description: String,
    },
    /// Makes it what it was.
    RollBack {
        /// As of when.
        snapshot: String,
    },
    /// Copies it to somebody who has none.
    Clone {
        /// Empty: as it is now.
        snapshot: String,
        /// Whose it will be.
        to: DataId,
    },
}

/// What a caller sees of work.
#[derive(Debug)]
pub enum Step {
    /// How far it is.
    Progress(v1::WorkProgress),
    /// The last.
    Done(Box<Done>),
}

/// What came of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The data; for a clone, the new one.
    pub kept: Kept,
    /// What the host said.
    pub result: v1::VolumeResult,
}

pub(super) type Out = mpsc::Sender<Result<Step, DataError>>;

// === impl Work ===

impl Work {
    fn kind(&self) -> WorkKind {
        match self {
            Self::Grow { .. } => WorkKind::Grow,
            Self::Trim => WorkKind::Trim,
            Self::Check => WorkKind::Check,
            Self::Snapshot { .. } => WorkKind::Snapshot,
            Self::RollBack { .. } => WorkKind::RollBack,
            Self::Clone { .. } => WorkKind::Clone,
        }
    }
}

// === impl Data ===

impl Data {
    /// Has `work` done to `id`.
    pub fn work(
        &self,
        id: DataId,
        work: Work,
        by: UserName,
        request_id: String,
    ) -> impl Stream<Item = Result<Step, DataError>> + Send + use<> {
        let (out, steps) = mpsc::channel(AHEAD);
        let order = Order { kind: work.kind(), by, request_id };
        let data = self.clone();
        let span = tracing::info_span!("work", data.id = %id, work = ?order.kind);
        let task = async move {
            let done = match &work {
                Work::Clone { snapshot, to } => {
                    data.clone_data(&id, to, snapshot, &order, &out).await
                }
                Work::Grow { .. }
                | Work::Trim
                | Work::Check
                | Work::Snapshot { .. }
                | Work::RollBack { .. } => data.work_in_place(&id, &work, &order, &out).await,
            };
            if let Err(error) = &done {
                tracing::info!(error = error as &dyn std::error::Error, "it was not done");
            }
            // Nobody waits for it any more: it is done all the same.
            let _gone = out.send(done.map(|done| Step::Done(Box::new(done)))).await;
        };
        self.inner.tasks.spawn(task.instrument(span));
        ReceiverStream::new(steps)
    }

    async fn work_in_place(
        &self,
        id: &DataId,
        work: &Work,
        order: &Order,
        out: &Out,
    ) -> Result<Done, DataError> {
        let (kept, entry) = self.mark(id, &Look::Whole, order).await?;
        let at_host = async {
            let result = self.work_at_host(&kept, work, order, out).await?;
            Ok(Done { kept: kept.clone(), result })
        };
        entry.during(at_host).await
    }

    async fn work_at_host(
        &self,
        kept: &Kept,
        work: &Work,
        order: &Order,
        out: &Out,
    ) -> Result<v1::VolumeResult, DataError> {
        let mut storage = self.inner.hosts.storage(&kept.host)?;
        let (id, request_id) = (Some(volume_id(kept)), order.request_id.clone());
        let answer = match work {
            Work::Grow { size_mib } => {
                let request = v1::GrowVolumeRequest { id, size_mib: *size_mib };
                within(&kept.host, SILENCE, storage.grow_volume(request)).await
            }
            Work::Trim => {
                let request = v1::TrimVolumeRequest { id };
                within(&kept.host, SILENCE, storage.trim_volume(request)).await
            }
            Work::Check => {
                let request = v1::CheckVolumeRequest { id };
                within(&kept.host, SILENCE, storage.check_volume(request)).await
            }
            Work::Snapshot { name, description } => {
                let (name, description) = (name.clone(), description.clone());
                let request = v1::CreateVolumeSnapshotRequest { id, name, request_id, description };
                within(&kept.host, SILENCE, storage.create_snapshot(request)).await
            }
            Work::RollBack { snapshot } => {
                let request =
                    v1::RollBackVolumeRequest { id, snapshot: snapshot.clone(), request_id };
                within(&kept.host, SILENCE, storage.roll_back_volume(request)).await
            }
            Work::Clone { snapshot, to } => {
                let to = v1::VolumeId {
                    kind: to.kind().into(),
                    name: self.key(to).await.map(|key| super::make::volume_of(to, &key))?,
                };
                let snapshot = snapshot.clone();
                let request = v1::CloneVolumeRequest { id, snapshot, to: Some(to), request_id };
                within(&kept.host, SILENCE, storage.clone_volume(request)).await
            }
        };
        follow(&kept.host, answer?, out).await
    }

    /// The part of a clone that the host does.
    pub(super) async fn clone_at_host(
        &self,
        from: &Kept,
        to: &DataId,
        snapshot: &str,
        order: &Order,
        out: &Out,
    ) -> Result<v1::VolumeResult, DataError> {
        let work = Work::Clone { snapshot: snapshot.to_owned(), to: to.clone() };
        self.work_at_host(from, &work, order, out).await
    }
}

async fn follow(
    host: &HostName,
    mut steps: Streaming<v1::VolumeWork>,
    out: &Out,
) -> Result<v1::VolumeResult, DataError> {
    let lost = |problem: &str| DataError::Lost { host: host.clone(), problem: problem.to_owned() };
    loop {
        let step = timeout(SILENCE, steps.message())
            .await
            .map_err(|_elapsed| lost("it says nothing more"))?
            .map_err(|status| refused(host, status))?;
        match step.map(|step| step.message) {
            Some(Some(Message::Progress(progress))) => {
                // A slow reader sees fewer steps; one that left sees none.
                let _missed = out.try_send(Ok(Step::Progress(progress)));
            }
            Some(Some(Message::Result(result))) => return Ok(result),
            Some(None) => {}
            None => return Err(lost("it ended the answer too early")),
        }
    }
}
