//! A desktop's programs, played by those of this machine.

use std::process::Stdio;

use rolltop_proto::v1::{self as api, exec_request, exec_response};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    sync::mpsc,
};
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming};

type Responses = mpsc::Sender<Result<api::ExecResponse, Status>>;

/// Runs a command with the caller's streams; returns how it ended.
pub async fn run(
    command: &[&str],
    mut input: Streaming<api::ExecRequest>,
    to: &Responses,
) -> api::ExecExit {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = tokio::spawn(async move {
        while let Some(Ok(request)) = input.next().await {
            match request.message {
                Some(exec_request::Message::Stdin(bytes)) => {
                    if stdin.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
    let out = forward(child.stdout.take().unwrap(), to, exec_response::Message::Stdout);
    let err = forward(child.stderr.take().unwrap(), to, exec_response::Message::Stderr);
    tokio::join!(out, err);
    let status = child.wait().await.unwrap();
    feeding.abort();
    api::ExecExit { code: status.code().unwrap_or(255), signal: 0 }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    to: &Responses,
    wrap: impl Fn(Vec<u8>) -> exec_response::Message,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let message = Some(wrap(buffer[..length].to_vec()));
        // Whether somebody still listens does not matter to the script.
        to.send(Ok(api::ExecResponse { message })).await.ok();
    }
}
