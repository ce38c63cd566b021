//! A program's standard streams, for what reads and writes without waiting for
//! an event loop.

use std::io::{self, Read, Write};

use rolltop_proto::v1::{ExecRequest, exec_request};
use tokio::sync::mpsc;

use crate::desktop::session;

const CHUNK_BYTES: usize = 32 * 1024;

/// Standard input of a program in a desktop.
pub(super) struct Requests(pub(super) mpsc::Sender<ExecRequest>);

impl Requests {
    fn send(&self, message: exec_request::Message) -> io::Result<()> {
        let gone = |_| io::ErrorKind::BrokenPipe.into();
        self.0.blocking_send(session::request(message)).map_err(gone)
    }

    pub(super) fn end(&self) -> io::Result<()> {
        self.send(exec_request::Message::StdinClosed(true))
    }
}

impl Write for Requests {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = &bytes[..bytes.len().min(CHUNK_BYTES)];
        if !chunk.is_empty() {
            self.send(exec_request::Message::Stdin(chunk.to_vec()))?;
        }
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output of a program in a desktop.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) received: mpsc::Receiver<Vec<u8>>,
    pub(super) rest: Vec<u8>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.received.blocking_recv().unwrap_or_default();
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}
