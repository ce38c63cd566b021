//! Displays: a banner, then an echo, for as long as the desktop lives.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::DisplayChunk;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::{host::Host, start::last_word};

const BANNER: &[u8] = b"RFB 003.008\n";

type Chunks = BoxStream<'static, Result<DisplayChunk, Status>>;

pub(crate) async fn connect(
    host: &Arc<Host>,
    mut input: Streaming<DisplayChunk>,
) -> Result<Response<Chunks>, Status> {
    let hello = input.message().await?.ok_or_else(|| Status::invalid_argument("hello"))?;
    let told = {
        let table = host.table();
        table.fenced(hello.number, hello.epoch)?;
        let life = table.life(hello.number);
        life.ok_or_else(|| Status::internal("it was there"))?.told.subscribe()
    };
    let (out, answers) = mpsc::channel(1);
    tokio::spawn(async move {
        let talk = async {
            let mut next = Some(BANNER.to_vec());
            while let Some(data) = next {
                if out.send(Ok(DisplayChunk { data, ..Default::default() })).await.is_err() {
                    return;
                }
                next = input.message().await.ok().flatten().map(|chunk| chunk.data);
            }
        };
        tokio::select! {
            () = talk => {}
            _ = last_word(told) => {}
        }
    });
    Ok(Response::new(ReceiverStream::new(answers).boxed()))
}
