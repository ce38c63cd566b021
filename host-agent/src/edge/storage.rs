//! The storage service, call by call.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use rolltop_overlay::{OverlaySize, Overlays, SnapshotName};
use rolltop_proto::v1::{
    self, export_chunk, host_storage_server::HostStorage, import_volume_chunk, volume_work,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    error::{self, internal, invalid_field},
    service::Service,
    storage_convert as convert,
};
use crate::{
    volumes::{self, Job, Order, Outcome, Passed, Piece, VolumeKey},
    work::blocking,
};

/// Between messages about long work.
const TICK: Duration = Duration::from_secs(1);
/// Messages that wait for a slow reader.
const AHEAD: usize = 4;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Work = Answers<v1::VolumeWork>;

#[tonic::async_trait]
impl HostStorage for Service {
    type GrowVolumeStream = Work;
    type TrimVolumeStream = Work;
    type CheckVolumeStream = Work;
    type CreateSnapshotStream = Work;
    type RollBackVolumeStream = Work;
    type CloneVolumeStream = Work;
    type ExportVolumeStream = Answers<v1::ExportChunk>;

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Answer<v1::ListVolumesResponse> {
        let wanted = request.into_inner().kind();
        let (host, kept) = (Arc::clone(&self.host), self.kept().await?);
        let found =
            blocking(move || volumes::look(&host, &kept)).await.map_err(|e| error::store(&e))?;
        let all = found.into_iter().map(|volume| self.show(volume));
        let volumes = all
            .filter(|volume| {
                let kind = volume.id.as_ref().map(v1::VolumeId::kind);
                wanted == v1::VolumeKind::Unspecified || kind == Some(wanted)
            })
            .collect();
        Ok(Response::new(v1::ListVolumesResponse { volumes }))
    }

    async fn get_volume(&self, request: Request<v1::GetVolumeRequest>) -> Answer<v1::Volume> {
        let key = key("id", request.into_inner().id)?;
        self.look_at(key).await.map(Response::new)
    }

    async fn get_fence(&self, request: Request<v1::GetFenceRequest>) -> Answer<v1::Fence> {
        let key = key("id", request.into_inner().id)?;
        let kept = self.kept().await?;
        let fence = blocking(move || kept.fence(&key.overlay())).await;
        let fence = fence.map_err(|error| error::store(&error))?;
        Ok(Response::new(convert::fence(&fence)))
    }

    async fn grow_volume(&self, request: Request<v1::GrowVolumeRequest>) -> Answer<Work> {
        let request = request.into_inner();
        let size = OverlaySize::from_mib(request.size_mib)
            .map_err(|error| invalid_field("size_mib", error.to_string()))?;
        self.work(&key("id", request.id)?, Order::Grow(size), "").await
    }

    async fn trim_volume(&self, request: Request<v1::TrimVolumeRequest>) -> Answer<Work> {
        self.work(&key("id", request.into_inner().id)?, Order::Trim, "").await
    }

    async fn check_volume(&self, request: Request<v1::CheckVolumeRequest>) -> Answer<Work> {
        self.work(&key("id", request.into_inner().id)?, Order::Check, "").await
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Answer<v1::DeleteVolumeResponse> {
        let key = key("id", request.into_inner().id)?;
        let job = volumes::delete(&self.host, self.kept().await?, &key)
            .map_err(|busy| error::busy(&busy))?;
        done(&job.outcome().await)?;
        Ok(Response::new(v1::DeleteVolumeResponse {}))
    }

    async fn create_snapshot(
        &self,
        request: Request<v1::CreateVolumeSnapshotRequest>,
    ) -> Answer<Work> {
        let request = request.into_inner();
        let name = match request.name.as_str() {
            "" => convert::snapshot_name_now(),
            given => given.to_owned(),
        };
        let name = snapshot("name", &name)?;
        let order = Order::Snapshot { name, description: request.description };
        self.work(&key("id", request.id)?, order, &request.request_id).await
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListVolumeSnapshotsRequest>,
    ) -> Answer<v1::ListVolumeSnapshotsResponse> {
        let kind = key("id", request.into_inner().id)?.overlay();
        let kept = self.kept().await?;
        let found = blocking(move || kept.snapshots(&kind)).await;
        let found = found.map_err(|error| error::store(&error))?;
        let snapshots = found.into_iter().map(convert::snapshot).collect();
        Ok(Response::new(v1::ListVolumeSnapshotsResponse { snapshots }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteVolumeSnapshotRequest>,
    ) -> Answer<v1::DeleteVolumeSnapshotResponse> {
        let request = request.into_inner();
        let (key, name) = (key("id", request.id)?, snapshot("name", &request.name)?);
        let job = volumes::delete_snapshot(&self.host, self.kept().await?, &key, name)
            .map_err(|busy| error::busy(&busy))?;
        done(&job.outcome().await)?;
        Ok(Response::new(v1::DeleteVolumeSnapshotResponse {}))
    }

    async fn roll_back_volume(&self, request: Request<v1::RollBackVolumeRequest>) -> Answer<Work> {
        let request = request.into_inner();
        let order = Order::RollBack(snapshot("snapshot", &request.snapshot)?);
        self.work(&key("id", request.id)?, order, &request.request_id).await
    }

    async fn clone_volume(&self, request: Request<v1::CloneVolumeRequest>) -> Answer<Work> {
        let request = request.into_inner();
        let (from, to) = (key("id", request.id)?, key("to", request.to)?);
        if from == to {
            return Err(invalid_field("to", "is what is to be cloned: give it another name"));
        }
        let order = Order::Clone { snapshot: some_snapshot(&request.snapshot)?, to };
        self.work(&from, order, &request.request_id).await
    }

    async fn export_volume(
        &self,
        request: Request<v1::ExportVolumeRequest>,
    ) -> Answer<Self::ExportVolumeStream> {
        let request = request.into_inner();
        let (key, snapshot) = (key("id", request.id)?, some_snapshot(&request.snapshot)?);
        let volume = self.look_at(key.clone()).await?;
        let head = v1::ExportHead {
            size_bytes: volume.size_bytes,
            allocated_bytes: volume.allocated_bytes,
        };
        let (writer, chunks) = volumes::export_pipe();
        let job = volumes::export(&self.host, self.kept().await?, &key, snapshot, writer)
            .map_err(|busy| error::busy(&busy))?;
        let (out, answers) = mpsc::channel(AHEAD);
        tokio::spawn(send_export(head, chunks, job, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn import_volume(
        &self,
        request: Request<Streaming<v1::ImportVolumeChunk>>,
    ) -> Answer<v1::Volume> {
        use import_volume_chunk::Message;
        let mut chunks = request.into_inner();
        let Some(Message::Start(start)) = chunks.message().await?.and_then(|chunk| chunk.message)
        else {
            return Err(invalid_field("start", "must be the first message"));
        };
        let key = key("start.id", start.id)?;
        let (pieces, reader) = volumes::caller_pipe();
        let job = volumes::import(&self.host, self.kept().await?, &key, reader)
            .map_err(|busy| error::busy(&busy))?;
        // Until all has come, or the library wants no more.
        let fed = feed(chunks, pieces).await;
        let outcome = job.outcome().await;
        if let (Err(problem), Err(_)) = (&fed, outcome.as_ref()) {
            return Err(error::status(Code::InvalidArgument, "BAD_STREAM", problem));
        }
        done(&outcome)?;
        self.look_at(key).await.map(Response::new)
    }
}

impl Service {
    async fn kept(&self) -> Result<Arc<Overlays>, Status> {
        self.host.keep.kept().await.map_err(|error| error::keep(&error))
    }

    async fn work(&self, key: &VolumeKey, order: Order, request_id: &str) -> Answer<Work> {
        let job = volumes::begin(&self.host, self.kept().await?, key, order, request_id)
            .map_err(|busy| error::busy(&busy))?;
        let (out, answers) = mpsc::channel(AHEAD);
        let service = self.clone();
        tokio::spawn(async move { service.tell(&job, &out).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    /// Progress, and how it ended, to a caller who may leave.
    async fn tell(&self, job: &Job, out: &mpsc::Sender<Result<v1::VolumeWork, Status>>) {
        use volume_work::Message;
        let message = |message| Ok(v1::VolumeWork { message: Some(message) });
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = job.outcome() => break outcome,
                () = out.closed() => return,
                _ = ticks.tick() => {
                    // A slow reader sees fewer of them.
                    let _full = out.try_send(message(Message::Progress(convert::progress(job))));
                }
            }
        };
        let result = match outcome.as_ref() {
            Ok(done) => message(Message::Result(convert::result(done, |v| self.show(v)))),
            Err(failed) => Err(error::volume(failed)),
        };
        // A caller that has gone away needs no answer.
        let _gone = out.send(result).await;
    }

    async fn look_at(&self, key: VolumeKey) -> Result<v1::Volume, Status> {
        let (host, kept) = (Arc::clone(&self.host), self.kept().await?);
        let found = blocking(move || volumes::look_at(&host, &kept, &key)).await;
        found.map(|volume| self.show(volume)).map_err(|error| error::store(&error))
    }

    /// With what is being done to it.
    fn show(&self, volume: volumes::Volume) -> v1::Volume {
        let job = self.host.jobs.of(&volume.key);
        convert::volume(volume, job.as_deref())
    }
}

async fn send_export(
    head: v1::ExportHead,
    mut chunks: mpsc::Receiver<Vec<u8>>,
    job: Arc<Job>,
    out: mpsc::Sender<Result<v1::ExportChunk, Status>>,
) {
    use export_chunk::Message;
    let chunk = |message| Ok(v1::ExportChunk { message: Some(message) });
    if out.send(chunk(Message::Head(head))).await.is_err() {
        return;
    }
    loop {
        let data = tokio::select! {
            data = chunks.recv() => data,
            // `chunks` ends with this, and the export with `chunks`.
            () = out.closed() => return,
        };
        let Some(data) = data else { break };
        if out.send(chunk(Message::Data(data))).await.is_err() {
            return;
        }
    }
    let last = match job.outcome().await.as_ref() {
        Ok(volumes::Done::Exported(Passed { sha256, bytes })) => {
            chunk(Message::End(v1::ExportEnd {
                sha256: sha256.clone(),
                bytes: convert::signed(*bytes),
            }))
        }
        Ok(_) => Err(internal(&io::Error::other("an export that was none"))),
        Err(failed) => Err(error::volume(failed)),
    };
    // A caller that has gone away needs no answer.
    let _gone = out.send(last).await;
}

/// Passes a caller's stream on; says what is wrong with it.
async fn feed(
    mut chunks: Streaming<v1::ImportVolumeChunk>,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), &'static str> {
    use import_volume_chunk::Message;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.message() => chunk,
            // The library has made up its mind.
            () = pieces.closed() => return Ok(()),
        };
        let message = match chunk {
            Ok(Some(chunk)) => chunk.message,
            Ok(None) => return Err("the stream ends without its last message"),
            Err(_broken) => return Err("the stream broke off"),
        };
        let (piece, last) = match message {
            Some(Message::Data(data)) => (Piece::Data(data), false),
            Some(Message::End(end)) => {
                let bytes = u64::try_from(end.bytes).unwrap_or(0);
                (Piece::End(Passed { sha256: end.sha256, bytes }), true)
            }
            Some(Message::Start(_)) => return Err("the stream begins twice"),
            None => continue,
        };
        if pieces.send(piece).await.is_err() || last {
            return Ok(());
        }
    }
}

fn done(outcome: &Outcome) -> Result<(), Status> {
    match outcome.as_ref() {
        Ok(_) => Ok(()),
        Err(failed) => Err(error::volume(failed)),
    }
}

fn key(field: &'static str, id: Option<v1::VolumeId>) -> Result<VolumeKey, Status> {
    VolumeKey::parse(id).map_err(|error| invalid_field(field, error.to_string()))
}

fn snapshot(field: &'static str, name: &str) -> Result<SnapshotName, Status> {
    SnapshotName::try_from(name).map_err(|error| invalid_field(field, error.to_string()))
}

fn some_snapshot(name: &str) -> Result<Option<SnapshotName>, Status> {
    if name.is_empty() { Ok(None) } else { snapshot("snapshot", name).map(Some) }
}
