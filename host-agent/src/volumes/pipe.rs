//! Between streams of messages and the library's blocking readers and writers.
//! Neither side runs ahead of the other by more than a few messages, and each
//! sees when the other has gone.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Bytes in one message out.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages that wait.
const AHEAD: usize = 4;

/// What came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// SHA-256 of it all, in hexadecimal digits.
    pub sha256: String,
    /// How much.
    pub bytes: u64,
}

/// A writer whose bytes go to a caller.
#[derive(Debug)]
pub struct ToCaller {
    out: mpsc::Sender<Vec<u8>>,
    chunk: Vec<u8>,
    digest: Sha256,
    bytes: u64,
}

/// A message from a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More bytes.
    Data(Vec<u8>),
    /// These were all.
    End(Passed),
}

/// A reader of a caller's bytes. The last of them are only read once the caller
/// has said that they are, and their checksum is right.
#[derive(Debug)]
pub struct FromCaller {
    pieces: mpsc::Receiver<Piece>,
    /// Being read, from `at` on.
    chunk: Vec<u8>,
    at: usize,
    /// Came, and must wait for what comes after it.
    held: Option<Vec<u8>>,
    digest: Sha256,
    bytes: u64,
    ended: bool,
}

/// A pipe to a caller.
pub fn export_pipe() -> (ToCaller, mpsc::Receiver<Vec<u8>>) {
    let (out, chunks) = mpsc::channel(AHEAD);
    (ToCaller { out, chunk: Vec::new(), digest: Sha256::new(), bytes: 0 }, chunks)
}

/// A pipe from a caller.
pub fn caller_pipe() -> (mpsc::Sender<Piece>, FromCaller) {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let reader = FromCaller {
        pieces,
        chunk: Vec::new(),
        at: 0,
        held: None,
        digest: Sha256::new(),
        bytes: 0,
        ended: false,
    };
    (sender, reader)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

// === impl ToCaller ===

impl ToCaller {
    /// Sends what is left; what came through in all.
    ///
    /// # Errors
    /// The caller has gone.
    pub fn finish(mut self) -> io::Result<Passed> {
        self.send()?;
        Ok(Passed { sha256: hex(&self.digest.finalize()), bytes: self.bytes })
    }

    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.out
            .blocking_send(chunk)
            .map_err(|_gone| io::Error::new(io::ErrorKind::BrokenPipe, "the caller has gone away"))
    }
}

impl Write for ToCaller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.chunk.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(taken);
        self.digest.update(taken);
        self.bytes += taken.len() as u64;
        if self.chunk.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken.len())
    }

    /// Nothing: small messages would help nobody.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl FromCaller ===

impl FromCaller {
    /// Brings the next bytes to read into `chunk`, or sees that there are none.
    fn advance(&mut self) -> io::Result<()> {
        while self.at == self.chunk.len() && !self.ended {
            let before = match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => {
                    self.digest.update(&data);
                    self.bytes += data.len() as u64;
                    self.held.replace(data)
                }
                Some(Piece::End(told)) => {
                    self.check(&told)?;
                    self.ended = true;
                    self.held.take()
                }
                None => {
                    let gone = "the caller went away before the end";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, gone));
                }
            };
            self.chunk = before.unwrap_or_default();
            self.at = 0;
        }
        Ok(())
    }

    fn check(&self, told: &Passed) -> io::Result<()> {
        let sha256 = hex(&self.digest.clone().finalize());
        if told.bytes == self.bytes && told.sha256.eq_ignore_ascii_case(&sha256) {
            return Ok(());
        }
        let problem = format!(
            "{} bytes with checksum {sha256} arrived, and {} with {} were sent",
            self.bytes, told.bytes, told.sha256
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, problem))
    }
}

impl Read for FromCaller {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.advance()?;
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        let (into, from) = (buffer.get_mut(..length), rest.get(..length));
        if let (Some(into), Some(from)) = (into, from) {
            into.copy_from_slice(from);
        }
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(bytes: &[u8]) -> Passed {
        Passed { sha256: hex(&Sha256::digest(bytes)), bytes: bytes.len() as u64 }
    }

    fn read(pieces: Vec<Piece>) -> io::Result<Vec<u8>> {
        let (sender, mut reader) = caller_pipe();
        let feeder = std::thread::spawn(move || {
            for piece in pieces {
                if sender.blocking_send(piece).is_err() {
                    return;
                }
            }
        });
        let mut bytes = Vec::new();
        let outcome = reader.read_to_end(&mut bytes);
        drop(reader);
        feeder.join().unwrap();
        outcome.map(|_| bytes)
    }

    #[test]
    fn nothing_is_read_to_its_end_without_the_end() {
        let data = || Piece::Data(b"all of it".to_vec());
        assert_eq!(read(vec![data(), Piece::End(passed(b"all of it"))]).unwrap(), b"all of it");
        let cut = read(vec![data()]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        for told in [passed(b"something"), Passed { bytes: 1, ..passed(b"all of it") }] {
            let wrong = read(vec![data(), Piece::End(told)]).unwrap_err();
            assert_eq!(wrong.kind(), io::ErrorKind::InvalidData);
        }
        // The last bytes wait for the end, whatever was read before.
        let (sender, mut reader) = caller_pipe();
        sender.blocking_send(Piece::Data(b"first".to_vec())).unwrap();
        sender.blocking_send(Piece::Data(b"last".to_vec())).unwrap();
        drop(sender);
        let mut buffer = [0; 64];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        assert!(reader.read(&mut buffer).is_err());
    }

    #[test]
    fn a_writer_ends_with_its_reader() {
        let (mut writer, chunks) = export_pipe();
        drop(chunks);
        let all = vec![0; CHUNK_BYTES];
        assert_eq!(writer.write_all(&all).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..8),
        ) {
            let whole = pieces.concat();
            let (mut writer, mut chunks) = export_pipe();
            let writing = std::thread::spawn(move || {
                for piece in &pieces {
                    writer.write_all(piece).unwrap();
                }
                writer.finish().unwrap()
            });
            let mut sent = Vec::new();
            while let Some(chunk) = chunks.blocking_recv() {
                sent.push(Piece::Data(chunk));
            }
            let told = writing.join().unwrap();
            prop_assert_eq!(&told, &passed(&whole));
            sent.push(Piece::End(told));
            prop_assert_eq!(read(sent).unwrap(), whole);
        }
    }
}
