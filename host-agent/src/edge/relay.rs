//! Joins a caller to a desktop's display: bytes both ways, bounded buffers,
//! and the end of one side is the end of the other.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use rolltop_proto::v1::DisplayChunk;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::{
    error::{chain, invalid_field, status},
    service::number,
};
use crate::{
    display,
    host::Host,
    lifecycle::State,
    metrics::{Direction, Metrics},
};

/// Bytes read from a display at a time: large enough for a screenful of
/// compressed pixels, small enough for thousands of viewers.
const CHUNK: usize = 64 * 1024;
/// Chunks on the way to a slow viewer; behind them the display waits.
const QUEUE: usize = 4;

type Chunks = Pin<Box<dyn Stream<Item = Result<DisplayChunk, Status>> + Send>>;

pub(super) async fn connect(
    host: &Arc<Host>,
    mut incoming: Streaming<DisplayChunk>,
) -> Result<Response<Chunks>, Status> {
    let first = incoming.message().await?.ok_or_else(|| {
        invalid_field("number", "the first message must name the desktop; there was none")
    })?;
    let number = number(first.number)?;
    let desktop = host.registry.get_fenced(number, first.epoch)?;
    let view = desktop.view();
    if view.state() != State::Running {
        let text = format!("desktop {number} is {}: wait until it is running", view.state());
        return Err(status(Code::FailedPrecondition, "NOT_RUNNING", text));
    }
    let dir = host.paths.desktop(number).display_dir();
    let stream = display::connect(&dir, &view.record.display_socket)
        .await
        .map_err(|error| status(Code::Unavailable, "DISPLAY_FAILED", chain(&error)))?;
    let (from_display, mut to_display) = stream.into_split();
    let (chunks, answers) = mpsc::channel(QUEUE);
    let host = Arc::clone(host);
    tokio::spawn(async move {
        let metrics = &host.metrics;
        let _counted = metrics.viewer();
        metrics.relayed(Direction::ToDesktop, first.data.len());
        if to_display.write_all(&first.data).await.is_err() {
            return;
        }
        tokio::select! {
            () = send(from_display, &chunks, metrics) => {}
            () = receive(incoming, to_display, metrics) => {}
            // The viewer has gone, even if it sends nothing any more.
            () = chunks.closed() => {}
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
}

async fn send(
    mut display: OwnedReadHalf,
    chunks: &mpsc::Sender<Result<DisplayChunk, Status>>,
    metrics: &Metrics,
) {
    let mut buffer = vec![0; CHUNK];
    // An error on the display's side is its end.
    while let Ok(length @ 1..) = display.read(&mut buffer).await {
        let chunk = DisplayChunk { data: buffer[..length].to_vec(), ..Default::default() };
        if chunks.send(Ok(chunk)).await.is_err() {
            return;
        }
        metrics.relayed(Direction::ToViewer, length);
    }
}

async fn receive(
    mut incoming: Streaming<DisplayChunk>,
    mut display: OwnedWriteHalf,
    metrics: &Metrics,
) {
    while let Ok(Some(chunk)) = incoming.message().await {
        if display.write_all(&chunk.data).await.is_err() {
            return;
        }
        metrics.relayed(Direction::ToDesktop, chunk.data.len());
    }
}
