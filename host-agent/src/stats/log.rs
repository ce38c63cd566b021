//! What a session has written to its standard output and error.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use futures_util::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use nix::libc::O_NOFOLLOW;
use thiserror::Error;

/// Read at a time.
const CHUNK: usize = 32 * 1024;

/// The log cannot be read.
#[derive(Debug, Error)]
#[error("cannot {verb} the session's output")]
pub struct LogError {
    verb: &'static str,
    #[source]
    source: io::Error,
}

/// A session's output, from a place on.
#[derive(Debug)]
pub struct SessionLog {
    file: File,
    place: u64,
    changes: Changes,
}

struct Changes(EventStream<Vec<u8>>);

impl SessionLog {
    /// Opens the log at the begin of what is kept, or of its last `lines`.
    /// Blocking.
    ///
    /// # Errors
    /// It is not there, as long as the session has not begun.
    pub fn open(path: &Path, lines: Option<usize>) -> Result<Self, LogError> {
        let failed = |verb| move |source| LogError { verb, source };
        // Before it is read: nothing that is written later is missed.
        let inotify = Inotify::init().map_err(failed("watch"))?;
        inotify.watches().add(path, WatchMask::MODIFY).map_err(failed("watch"))?;
        let changes = inotify.into_event_stream(vec![0; 1024]).map_err(failed("watch"))?;
        let mut options = OpenOptions::new();
        let file =
            options.read(true).custom_flags(O_NOFOLLOW).open(path).map_err(failed("open"))?;
        let length = file.metadata().map_err(failed("open"))?.size();
        let place = match lines {
            Some(lines) => last_lines(&file, length, lines).map_err(failed("read"))?,
            None => 0,
        };
        Ok(Self { file, place, changes: Changes(changes) })
    }

    /// What follows, if it has been written; empty if not. Blocking, but only on
    /// memory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_known(&mut self) -> Result<Vec<u8>, LogError> {
        let mut chunk = vec![0; CHUNK];
        let length = self
            .file
            .read_at(&mut chunk, self.place)
            .map_err(|source| LogError { verb: "read", source })?;
        chunk.truncate(length);
        self.place += length as u64;
        Ok(chunk)
    }

    /// Waits until something more may have been written.
    ///
    /// # Errors
    /// The kernel does not tell any more.
    pub async fn changed(&mut self) -> Result<(), LogError> {
        let failed = |source| LogError { verb: "watch", source };
        match self.changes.0.next().await {
            Some(Ok(_event)) => Ok(()),
            Some(Err(source)) => Err(failed(source)),
            None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

/// Where the last `lines` lines begin. What follows the last line break is a
/// line too.
fn last_lines(file: &File, length: u64, lines: usize) -> io::Result<u64> {
    let mut begins: VecDeque<u64> = VecDeque::from([0]);
    let mut chunk = vec![0; CHUNK];
    let mut place = 0;
    while place < length {
        let got = file.read_at(&mut chunk, place)?;
        if got == 0 {
            break;
        }
        for (at, _) in chunk[..got].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let next = place + at as u64 + 1;
            if next < length {
                begins.push_back(next);
                if begins.len() > lines {
                    begins.pop_front();
                }
            }
        }
        place += got as u64;
    }
    Ok(begins.front().copied().unwrap_or(length))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn all_or_the_last_lines_and_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(SessionLog::open(&path, None).is_err());
        let many: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, &many).unwrap();

        let mut all = SessionLog::open(&path, None).unwrap();
        let mut text = Vec::new();
        loop {
            let chunk = all.next_known().unwrap();
            if chunk.is_empty() {
                break;
            }
            text.extend(chunk);
        }
        assert_eq!(text, many.as_bytes());

        let mut last = SessionLog::open(&path, Some(2)).unwrap();
        assert_eq!(last.next_known().unwrap(), b"line 19998\nline 19999\n");
        assert!(last.next_known().unwrap().is_empty());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"more, and no end").unwrap();
        last.changed().await.unwrap();
        assert_eq!(last.next_known().unwrap(), b"more, and no end");
        let mut one = SessionLog::open(&path, Some(1)).unwrap();
        assert_eq!(one.next_known().unwrap(), b"more, and no end");
    }

    #[tokio::test]
    async fn fewer_lines_than_asked_for_are_all_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\n").unwrap();
        let mut log = SessionLog::open(&path, Some(9)).unwrap();
        assert_eq!(log.next_known().unwrap(), b"one\n");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(SessionLog::open(&link, None).is_err());
    }
}
