//! The disks of a host: names, snapshots and bytes in memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use rolltop_proto::v1::{
    self, StartHostDesktopRequest, VolumeId, VolumeKind, home_spec,
    host_storage_server::HostStorage, import_volume_chunk, volume_work,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, async_trait};

use crate::{lock, table::refuse};

/// Held work goes on once the semaphore lets it.
pub type Gate = Arc<Semaphore>;

type Key = (VolumeKind, String);
type Work = BoxStream<'static, Result<v1::VolumeWork, Status>>;

/// What a host has on its disks, and what it does with the next work.
#[derive(Clone, Debug, Default)]
pub struct Disks {
    volumes: Arc<Mutex<BTreeMap<Key, Disk>>>,
    /// Work waits for it.
    pub gate: Arc<Mutex<Option<Gate>>>,
    /// The next work is refused with it.
    pub refusal: Arc<Mutex<Option<Status>>>,
    /// Work that reached the host, by name.
    pub asked: Arc<Mutex<Vec<&'static str>>>,
    /// What has them, and whether other hosts reach it.
    pub on: Arc<Mutex<(String, bool)>>,
    /// Who holds them all; none: nobody.
    pub holder: Arc<Mutex<Option<String>>>,
    /// Exports that were not read to their end.
    pub given_up: Arc<Mutex<usize>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    content: Vec<u8>,
    size_bytes: i64,
    snapshots: BTreeMap<String, Vec<u8>>,
}

impl Disks {
    /// A start makes what it needs.
    pub fn mount(&self, request: &StartHostDesktopRequest) {
        let overlay = request.overlay.clone().unwrap_or_default();
        let mut volumes = lock(&self.volumes);
        if !overlay.persistent_name.is_empty() {
            volumes.entry((VolumeKind::Overlay, overlay.persistent_name)).or_default();
        }
        if let Some(home_spec::Kind::Volume(home)) = request.home.clone().and_then(|home| home.kind)
        {
            volumes.entry((VolumeKind::Home, home.name)).or_default();
        }
    }

    /// The names of all volumes.
    pub fn names(&self) -> Vec<String> {
        lock(&self.volumes).keys().map(|(_, name)| name.clone()).collect()
    }

    /// A desktop writes to the volume of this name; false: there is none.
    pub fn write(&self, name: &str, content: &[u8]) -> bool {
        let mut volumes = lock(&self.volumes);
        let found = volumes.iter_mut().find(|((_, known), _)| known == name);
        found.map(|(_, disk)| disk.content = content.to_vec()).is_some()
    }

    /// What is in the volume of this name.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let volumes = lock(&self.volumes);
        let found = volumes.iter().find(|((_, known), _)| known == name);
        found.map(|(_, disk)| disk.content.clone())
    }

    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Disk) -> T) -> Result<T, Status> {
        let mut volumes = lock(&self.volumes);
        volumes
            .get_mut(key)
            .map(work)
            .ok_or_else(|| refuse(Code::NotFound, "VOLUME_UNKNOWN", "there is no such volume"))
    }

    fn volume(&self, key: &Key) -> Result<v1::Volume, Status> {
        self.with(key, |disk| v1::Volume {
            id: Some(VolumeId { kind: key.0.into(), name: key.1.clone() }),
            size_bytes: disk.size_bytes,
            allocated_bytes: disk.content.len() as i64,
            snapshots: disk.snapshots.len() as i64,
            ..Default::default()
        })
    }

    /// One progress message, then what `work` comes to.
    fn work(
        &self,
        name: &'static str,
        work: impl FnOnce(&Disks) -> Result<v1::VolumeResult, Status> + Send + 'static,
    ) -> Result<Response<Work>, Status> {
        lock(&self.asked).push(name);
        if let Some(refusal) = lock(&self.refusal).take() {
            return Err(refusal);
        }
        let gate = lock(&self.gate).clone();
        let disks = self.clone();
        let message = |message| Ok(v1::VolumeWork { message: Some(message) });
        let progress = v1::WorkProgress { done_bytes: 1, total_bytes: 2, ..Default::default() };
        let begun = stream::iter([message(volume_work::Message::Progress(progress))]);
        let done = stream::once(async move {
            if let Some(gate) = gate {
                let passed = gate.acquire().await;
                passed.map_err(|_| Status::cancelled("the gate is gone"))?.forget();
            }
            let result = work(&disks)?;
            Ok(v1::VolumeWork { message: Some(volume_work::Message::Result(result)) })
        });
        Ok(Response::new(begun.chain(done).boxed()))
    }
}

fn key(id: Option<VolumeId>) -> Result<Key, Status> {
    let id = id.ok_or_else(|| Status::invalid_argument("id: missing; name a volume"))?;
    Ok((id.kind(), id.name))
}

fn of(volume: v1::Volume) -> v1::VolumeResult {
    v1::VolumeResult { volume: Some(volume), ..Default::default() }
}

#[async_trait]
impl HostStorage for Disks {
    type GrowVolumeStream = Work;
    type TrimVolumeStream = Work;
    type CheckVolumeStream = Work;
    type CreateSnapshotStream = Work;
    type RollBackVolumeStream = Work;
    type CloneVolumeStream = Work;
    type ExportVolumeStream = BoxStream<'static, Result<v1::ExportChunk, Status>>;

    async fn list_volumes(
        &self,
        _: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let keys: Vec<Key> = lock(&self.volumes).keys().cloned().collect();
        let volumes: Result<Vec<_>, _> = keys.iter().map(|key| self.volume(key)).collect();
        Ok(Response::new(v1::ListVolumesResponse { volumes: volumes? }))
    }

    async fn get_volume(
        &self,
        request: Request<v1::GetVolumeRequest>,
    ) -> Result<Response<v1::Volume>, Status> {
        self.volume(&key(request.into_inner().id)?).map(Response::new)
    }

    async fn get_fence(
        &self,
        request: Request<v1::GetFenceRequest>,
    ) -> Result<Response<v1::Fence>, Status> {
        self.volume(&key(request.into_inner().id)?)?;
        let holder = lock(&self.holder).clone();
        let held = holder.is_some();
        let holder = holder.unwrap_or_default();
        Ok(Response::new(v1::Fence { held, holder, watch: None }))
    }

    async fn grow_volume(
        &self,
        request: Request<v1::GrowVolumeRequest>,
    ) -> Result<Response<Work>, Status> {
        let request = request.into_inner();
        let key = key(request.id)?;
        self.work("grow", move |disks| {
            disks.with(&key, |disk| disk.size_bytes = request.size_mib << 20)?;
            disks.volume(&key).map(of)
        })
    }

    async fn trim_volume(
        &self,
        request: Request<v1::TrimVolumeRequest>,
    ) -> Result<Response<Work>, Status> {
        let key = key(request.into_inner().id)?;
        self.work("trim", move |disks| {
            Ok(v1::VolumeResult { trimmed_bytes: 4096, ..of(disks.volume(&key)?) })
        })
    }

    async fn check_volume(
        &self,
        request: Request<v1::CheckVolumeRequest>,
    ) -> Result<Response<Work>, Status> {
        let key = key(request.into_inner().id)?;
        self.work("check", move |disks| {
            let check = v1::CheckResult {
                condition: v1::VolumeCondition::Sound.into(),
                ..Default::default()
            };
            Ok(v1::VolumeResult { check: Some(check), ..of(disks.volume(&key)?) })
        })
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Result<Response<v1::DeleteVolumeResponse>, Status> {
        let key = key(request.into_inner().id)?;
        if let Some(refusal) = lock(&self.refusal).take() {
            return Err(refusal);
        }
        let gone = lock(&self.volumes).remove(&key);
        gone.map(|_| Response::new(v1::DeleteVolumeResponse {}))
            .ok_or_else(|| refuse(Code::NotFound, "VOLUME_UNKNOWN", "there is no such volume"))
    }

    async fn create_snapshot(
        &self,
        request: Request<v1::CreateVolumeSnapshotRequest>,
    ) -> Result<Response<Work>, Status> {
        let request = request.into_inner();
        let key = key(request.id)?;
        self.work("snapshot", move |disks| {
            disks.with(&key, |disk| {
                disk.snapshots.insert(request.name.clone(), disk.content.clone())
            })?;
            let snapshot = v1::Snapshot { name: request.name, ..Default::default() };
            Ok(v1::VolumeResult { snapshot: Some(snapshot), ..of(disks.volume(&key)?) })
        })
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListVolumeSnapshotsRequest>,
    ) -> Result<Response<v1::ListVolumeSnapshotsResponse>, Status> {
        let names = self.with(&key(request.into_inner().id)?, |disk| {
            disk.snapshots.keys().cloned().collect::<Vec<_>>()
        })?;
        let snapshots =
            names.into_iter().map(|name| v1::Snapshot { name, ..Default::default() }).collect();
        Ok(Response::new(v1::ListVolumeSnapshotsResponse { snapshots }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteVolumeSnapshotRequest>,
    ) -> Result<Response<v1::DeleteVolumeSnapshotResponse>, Status> {
        let request = request.into_inner();
        let gone = self.with(&key(request.id)?, |disk| disk.snapshots.remove(&request.name))?;
        gone.map(|_| Response::new(v1::DeleteVolumeSnapshotResponse {}))
            .ok_or_else(|| refuse(Code::NotFound, "SNAPSHOT_UNKNOWN", "there is no such snapshot"))
    }

    async fn roll_back_volume(
        &self,
        request: Request<v1::RollBackVolumeRequest>,
    ) -> Result<Response<Work>, Status> {
        let request = request.into_inner();
        let key = key(request.id)?;
        self.work("roll back", move |disks| {
            let unknown =
                || refuse(Code::NotFound, "SNAPSHOT_UNKNOWN", "there is no such snapshot");
            disks.with(&key, |disk| {
                let then = disk.snapshots.get(&request.snapshot).ok_or_else(unknown)?;
                disk.content.clone_from(then);
                Ok::<_, Status>(())
            })??;
            disks.volume(&key).map(of)
        })
    }

    async fn clone_volume(
        &self,
        request: Request<v1::CloneVolumeRequest>,
    ) -> Result<Response<Work>, Status> {
        let request = request.into_inner();
        let (from, to) = (key(request.id)?, key(request.to)?);
        self.work("clone", move |disks| {
            let copy = disks.with(&from, |disk| disk.clone())?;
            lock(&disks.volumes).insert(to.clone(), copy);
            disks.volume(&to).map(of)
        })
    }

    /// In pieces of a byte, so that a reader can leave in the middle.
    async fn export_volume(
        &self,
        request: Request<v1::ExportVolumeRequest>,
    ) -> Result<Response<Self::ExportVolumeStream>, Status> {
        use v1::export_chunk::Message;
        let content = self.with(&key(request.into_inner().id)?, |disk| disk.content.clone())?;
        let given_up = Arc::clone(&self.given_up);
        let (out, chunks) = mpsc::channel(1);
        tokio::spawn(async move {
            let bytes = content.len() as i64;
            let head = Message::Head(v1::ExportHead { size_bytes: bytes, allocated_bytes: bytes });
            let data = content.into_iter().map(|byte| Message::Data(vec![byte]));
            let end = Message::End(v1::ExportEnd { sha256: "sum".into(), bytes });
            for message in [head].into_iter().chain(data).chain([end]) {
                let chunk = v1::ExportChunk { message: Some(message) };
                if out.send(Ok(chunk)).await.is_err() {
                    *lock(&given_up) += 1;
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(chunks).boxed()))
    }

    async fn import_volume(
        &self,
        request: Request<Streaming<v1::ImportVolumeChunk>>,
    ) -> Result<Response<v1::Volume>, Status> {
        use import_volume_chunk::Message;
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.and_then(|chunk| chunk.message);
        let Some(Message::Start(start)) = first else {
            return Err(Status::invalid_argument("start"));
        };
        lock(&self.asked).push("import");
        let mut content = Vec::new();
        loop {
            match chunks.message().await?.and_then(|chunk| chunk.message) {
                Some(Message::Data(data)) => content.extend(data),
                Some(Message::End(_)) => break,
                Some(Message::Start(_)) | None => {
                    return Err(Status::invalid_argument("it is not whole"));
                }
            }
        }
        let key = key(start.id)?;
        lock(&self.volumes).entry(key.clone()).or_default().content = content;
        self.volume(&key).map(Response::new)
    }
}
