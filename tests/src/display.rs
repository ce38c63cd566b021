//! A desktop's display as a stream of bytes, over the agent's API: the way the
//! gateway takes.

use anyhow::Context as _;
use rolltop_proto::v1::DisplayChunk;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::Api;

/// Bytes on the way to a viewer.
const BUFFER: usize = 1 << 20;
const CHUNK: usize = 64 * 1024;
/// Chunks on the way from a viewer, which says little.
const QUEUE: usize = 4;

/// Joins the display of a desktop. It ends when the stream is dropped.
///
/// # Errors
/// No such desktop, or it has no display.
pub async fn connect(api: &mut Api, number: u32, epoch: u64) -> anyhow::Result<DuplexStream> {
    let (sender, chunks) = mpsc::channel(QUEUE);
    sender.send(DisplayChunk { number, epoch, data: Vec::new() }).await?;
    let incoming = api
        .connect_display(ReceiverStream::new(chunks))
        .await
        .with_context(|| format!("the display of desktop {number} cannot be joined"))?
        .into_inner();
    let (viewer, ours) = duplex(BUFFER);
    let (from_viewer, to_viewer) = split(ours);
    tokio::spawn(receive(incoming, to_viewer));
    tokio::spawn(send(from_viewer, sender));
    Ok(viewer)
}

async fn receive(mut incoming: Streaming<DisplayChunk>, mut viewer: WriteHalf<DuplexStream>) {
    // An error is the end of the display; the viewer sees it as such.
    while let Ok(Some(chunk)) = incoming.message().await {
        if viewer.write_all(&chunk.data).await.is_err() {
            return;
        }
    }
    // Fails only if the viewer has gone.
    let _gone = viewer.shutdown().await;
}

async fn send(mut viewer: ReadHalf<DuplexStream>, sender: mpsc::Sender<DisplayChunk>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = viewer.read(&mut buffer).await {
        let chunk = DisplayChunk { data: buffer[..length].to_vec(), ..Default::default() };
        if sender.send(chunk).await.is_err() {
            return;
        }
    }
}
