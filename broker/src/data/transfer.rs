//! Streams of bytes from and to a host, on connections of their own, so that a
//! slow one holds up nothing else. Neither end runs ahead of the other by more
//! than a few messages.

use futures_util::Stream;
use rolltop_proto::v1::{self, import_data_chunk, import_volume_chunk};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::Instrument as _;

use super::{Data, DataError, DataId, Kept, Order, mark::Look, refused, volume_id};
use crate::{
    hosts::Health,
    names::{HostName, UserName},
    state::WorkKind,
};

/// Messages on their way to the other end.
const AHEAD: usize = 4;

type Chunks = mpsc::Sender<Result<v1::ExportChunk, DataError>>;

// === impl Data ===

impl Data {
    /// The data as a stream. It ends early when its reader does.
    pub fn export(
        &self,
        id: DataId,
        snapshot: String,
        by: UserName,
    ) -> impl Stream<Item = Result<v1::ExportChunk, DataError>> + Send + use<> {
        let (out, chunks) = mpsc::channel(AHEAD);
        let order = Order { kind: WorkKind::Export, by, request_id: String::new() };
        let data = self.clone();
        let span = tracing::info_span!("export", data.id = %id);
        let task = async move {
            if let Err(error) = data.export_to(&id, snapshot, &order, &out).await {
                tracing::info!(error = &error as &dyn std::error::Error, "it was not exported");
                // The reader may have left.
                let _gone = out.send(Err(error)).await;
            }
        };
        self.inner.tasks.spawn(task.instrument(span));
        ReceiverStream::new(chunks)
    }

    async fn export_to(
        &self,
        id: &DataId,
        snapshot: String,
        order: &Order,
        out: &Chunks,
    ) -> Result<(), DataError> {
        let (kept, entry) = self.mark(id, &Look::Whole, order).await?;
        let work = async {
            let mut storage = self.inner.hosts.dial_storage(&kept.host).await?;
            let request = v1::ExportVolumeRequest { id: Some(volume_id(&kept)), snapshot };
            let failed = |status| refused(&kept.host, status);
            let mut chunks = storage.export_volume(request).await.map_err(failed)?.into_inner();
            loop {
                let chunk = tokio::select! {
                    chunk = chunks.message() => chunk.map_err(failed)?,
                    () = out.closed() => None,
                    () = self.inner.shutdown.cancelled() => return Err(DataError::Ending),
                };
                let Some(chunk) = chunk else { return Ok(()) };
                // The reader's end ends the host's part as well.
                if out.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
            }
        };
        entry.during(work).await
    }

    /// Makes data from a stream; `chunks` is what follows its first message.
    ///
    /// # Errors
    /// There is data already; the stream is not whole; the host refuses.
    pub async fn import(
        &self,
        id: DataId,
        host: Option<HostName>,
        chunks: Streaming<v1::ImportDataChunk>,
        by: UserName,
    ) -> Result<(Kept, v1::Volume), DataError> {
        let (done, imported) = oneshot::channel();
        let order = Order { kind: WorkKind::Import, by, request_id: String::new() };
        let data = self.clone();
        let span = tracing::info_span!("import", data.id = %id);
        // A task of its own: a caller who goes away leaves no mark behind.
        let task = async move {
            let outcome = data.import_from(&id, host, chunks, &order).await;
            if let Err(error) = &outcome {
                tracing::info!(error = error as &dyn std::error::Error, "it was not imported");
            }
            // The caller may have left.
            let _gone = done.send(outcome);
        };
        self.inner.tasks.spawn(task.instrument(span));
        imported.await.unwrap_or(Err(DataError::Ending))
    }

    async fn import_from(
        &self,
        id: &DataId,
        host: Option<HostName>,
        chunks: Streaming<v1::ImportDataChunk>,
        order: &Order,
    ) -> Result<(Kept, v1::Volume), DataError> {
        let host = host.map_or_else(|| self.roomiest(id), Ok)?;
        self.inner.hosts.storage(&host)?;
        let (kept, entry) = self.mark(id, &Look::New { host }, order).await?;
        let at_host = self.import_at_host(&kept, chunks);
        let volume = entry.during(self.settle(&kept, at_host)).await?;
        Ok((Kept { making: false, ..kept }, volume))
    }

    async fn import_at_host(
        &self,
        kept: &Kept,
        chunks: Streaming<v1::ImportDataChunk>,
    ) -> Result<v1::Volume, DataError> {
        let mut storage = self.inner.hosts.dial_storage(&kept.host).await?;
        let (upward, passed_on) = mpsc::channel(AHEAD);
        let start = v1::ImportVolumeStart { id: Some(volume_id(kept)) };
        let first = import_volume_chunk::Message::Start(start);
        // Cannot fail: the channel is empty and its other end is here.
        upward.try_send(v1::ImportVolumeChunk { message: Some(first) }).unwrap_or_default();
        let call = storage.import_volume(ReceiverStream::new(passed_on));
        let (answer, fed) = tokio::join!(call, feed(chunks, upward));
        match (answer, fed) {
            (Ok(answer), _) => Ok(answer.into_inner()),
            // It refused because of what the caller did.
            (Err(_), Err(problem)) => Err(DataError::BadStream(problem)),
            (Err(status), Ok(())) => Err(refused(&kept.host, status)),
        }
    }

    /// The host with the most room.
    fn roomiest(&self, id: &DataId) -> Result<HostName, DataError> {
        let seen = self.inner.hosts.seen().into_iter();
        let ready = seen.filter(|(_, seen)| seen.health == Health::Ready);
        let free = |seen: &crate::hosts::Seen| seen.info.as_ref().map(|i| i.overlay_free_bytes);
        let roomiest = ready.max_by_key(|(_, seen)| free(seen)).map(|(name, _)| name);
        roomiest.ok_or_else(|| DataError::NoHost(id.clone()))
    }
}

/// Passes a caller's stream on. Without its last message the host imports
/// nothing, so what is wrong with it only has to be told.
async fn feed(
    mut chunks: Streaming<v1::ImportDataChunk>,
    upward: mpsc::Sender<v1::ImportVolumeChunk>,
) -> Result<(), &'static str> {
    use import_data_chunk::Message as From;
    use import_volume_chunk::Message as To;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.message() => chunk,
            // The host has made up its mind.
            () = upward.closed() => return Ok(()),
        };
        let message = match chunk {
            Ok(Some(chunk)) => chunk.message,
            Ok(None) => return Err("it ends without its last message"),
            Err(_broken) => return Err("its sender went away"),
        };
        let (message, last) = match message {
            Some(From::Data(data)) => (To::Data(data), false),
            Some(From::End(end)) => (To::End(end), true),
            Some(From::Start(_)) => return Err("it begins twice"),
            None => continue,
        };
        let sent = upward.send(v1::ImportVolumeChunk { message: Some(message) }).await;
        if last || sent.is_err() {
            return Ok(());
        }
    }
}
