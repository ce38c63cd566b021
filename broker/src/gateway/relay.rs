//! Bytes between a WebSocket and a display. Each direction holds one message
//! at a time: a slow reader stops the writer on the other side.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use rolltop_proto::v1::DisplayChunk;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{End, input::InputScanner, viewers::Viewer};
use crate::{
    hosts::Hosts,
    metrics::{Direction, Metrics},
    state::DesktopRecord,
};

pub(super) type Sink = SplitSink<WebSocket, Message>;
pub(super) type Source = SplitStream<WebSocket>;

/// What one message to the agent carries at most.
const CHUNK_BYTES: usize = 64 << 10;
/// Messages on their way to the agent.
const UPWARD: usize = 4;
/// Questions without an answer until a client is given up.
const PATIENCE: u32 = 3;
/// For the display's first answer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// For the last words to a client.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) fn split(socket: WebSocket) -> (Sink, Source) {
    socket.split()
}

/// Connects the display and relays until one side ends.
pub(super) async fn run(
    hosts: &Hosts,
    desktop: &DesktopRecord,
    sink: &mut Sink,
    source: &mut Source,
    ping: Duration,
    viewer: &Viewer,
    metrics: &Metrics,
) -> End {
    let (upward, requests) = mpsc::channel(UPWARD);
    let hello = DisplayChunk { number: desktop.number, epoch: desktop.epoch, data: Vec::new() };
    // Cannot fail: the channel is empty and its other end is here.
    if upward.try_send(hello).is_err() {
        return End::BrokerFault;
    }
    let display = async {
        let mut agent = hosts
            .dial(&desktop.host)
            .await
            .map_err(|error| End::HostUnreachable(error.to_string()))?;
        let joined = agent.connect_display(ReceiverStream::new(requests)).await;
        joined.map(tonic::Response::into_inner).map_err(|status| refused(&status))
    };
    let mut display = match timeout(CONNECT_DEADLINE, display).await {
        Ok(Ok(display)) => display,
        Ok(Err(end)) => return end,
        Err(_) => return End::HostUnreachable("the display does not answer".to_owned()),
    };
    let (heard, last_heard) = tokio::sync::watch::channel(Instant::now());
    tokio::select! {
        end = to_display(source, &upward, &heard, viewer, metrics) => end,
        end = to_client(&mut display, sink, ping, &last_heard, metrics) => end,
    }
}

/// Says why, and waits a moment for the client to have read it: closing a
/// socket that holds unread bytes would throw the close frame away.
pub(super) async fn close(mut sink: Sink, mut source: Source, end: &End) {
    let goodbye = async {
        // The client may be gone already; then nobody is there to be told.
        if sink.send(Message::Close(Some(end.frame()))).await.is_ok() {
            while let Some(Ok(_)) = source.next().await {}
        }
    };
    timeout(GOODBYE, goodbye).await.unwrap_or_default();
}

async fn to_display(
    source: &mut Source,
    upward: &mpsc::Sender<DisplayChunk>,
    heard: &tokio::sync::watch::Sender<Instant>,
    viewer: &Viewer,
    metrics: &Metrics,
) -> End {
    let mut scanner = InputScanner::default();
    while let Some(message) = source.next().await {
        heard.send_replace(Instant::now());
        match message {
            Ok(Message::Binary(bytes)) => {
                metrics.relayed(Direction::ToDesktop, bytes.len());
                if scanner.feed(&bytes) {
                    viewer.used();
                }
                for part in bytes.chunks(CHUNK_BYTES) {
                    let chunk = DisplayChunk { data: part.to_vec(), ..DisplayChunk::default() };
                    if upward.send(chunk).await.is_err() {
                        return End::DisplayEnded(hung_up());
                    }
                }
            }
            Ok(Message::Text(_)) => return End::TextSent,
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) => return End::ClientLeft,
            Err(error) => return broken(error),
        }
    }
    End::ClientLeft
}

async fn to_client(
    display: &mut Streaming<DisplayChunk>,
    sink: &mut Sink,
    ping: Duration,
    last_heard: &tokio::sync::watch::Receiver<Instant>,
    metrics: &Metrics,
) -> End {
    let mut pings = interval(ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        let message = tokio::select! {
            chunk = display.message() => match chunk {
                Ok(Some(chunk)) if chunk.data.is_empty() => continue,
                Ok(Some(chunk)) => {
                    metrics.relayed(Direction::ToViewer, chunk.data.len());
                    Message::Binary(chunk.data.into())
                }
                Ok(None) => return End::DisplayEnded(hung_up()),
                Err(status) => return refused(&status),
            },
            _ = pings.tick() => {
                if last_heard.borrow().elapsed() > ping * PATIENCE {
                    return End::ClientSilent;
                }
                Message::Ping(Bytes::new())
            }
        };
        // A client that reads nothing for so long is as good as silent.
        match timeout(ping * PATIENCE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::ClientLeft,
            Err(_) => return End::ClientSilent,
        }
    }
}

fn hung_up() -> String {
    "the display ended the connection".to_owned()
}

fn refused(status: &Status) -> End {
    let problem = format!("the host cannot show the desktop: {}", status.message());
    match status.code() {
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => {
            End::HostUnreachable(problem)
        }
        // Most often because the desktop has ended, which is about to be known.
        _ => End::DisplayEnded(problem),
    }
}

fn broken(error: axum::Error) -> End {
    use tokio_tungstenite::tungstenite::Error;
    match error.into_inner().downcast::<Error>().as_deref() {
        Ok(Error::Capacity(_)) => End::TooBig,
        Ok(Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt) => End::ProtocolBroken,
        Ok(_) | Err(_) => End::ClientLeft,
    }
}
