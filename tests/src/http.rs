//! One plain HTTP request, for ports that answer nothing else.

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The body at `path` of the server at `address`.
///
/// # Errors
/// Nobody answers, or not with 200.
pub async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("nobody is at {address}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // The length is told, so the body is not in chunks.
    ensure!(head.to_ascii_lowercase().contains("content-length:"), "{head}");
    Ok(body.to_owned())
}
