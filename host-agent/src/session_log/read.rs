//! Reading a session's log, from a place on.

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

use super::{kept_from, kept_until};

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
        let mut log = Self { file, place: 0, changes: Changes(changes) };
        if let Some(lines) = lines {
            log.place = log.last_lines(lines)?;
        }
        Ok(log)
    }

    /// What follows, if it has been written; empty if not. What has become a hole
    /// meanwhile is left out, up to a line's begin. Blocking, but only on memory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_known(&mut self) -> Result<Vec<u8>, LogError> {
        let chunk = self.read().map_err(|source| LogError { verb: "read", source })?;
        self.place += chunk.len() as u64;
        Ok(chunk)
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        if self.place > self.file.metadata()?.size() {
            // The session has begun it anew.
            self.place = 0;
        }
        let mut cut = false;
        loop {
            let Some(begin) = kept_from(&self.file, self.place)? else { return Ok(Vec::new()) };
            cut |= begin > self.place;
            self.place = begin;
            let Some(end) = kept_until(&self.file, begin)? else { continue };
            let mut chunk = vec![0; CHUNK.min(usize::try_from(end - begin).unwrap_or(CHUNK))];
            let length = self.file.read_at(&mut chunk, begin)?;
            chunk.truncate(length);
            // It may have become a hole under our eyes.
            if kept_from(&self.file, begin)? != Some(begin) {
                continue;
            }
            if cut && let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
                chunk.drain(..=end);
                self.place += end as u64 + 1;
                if chunk.is_empty() {
                    // All of it was one line's end.
                    cut = false;
                    continue;
                }
            }
            return Ok(chunk);
        }
    }

    /// Where the last `lines` lines begin, of what is there now. What follows the
    /// last line break is a line too.
    fn last_lines(&mut self, lines: usize) -> Result<u64, LogError> {
        let size = |file: &File| file.metadata().map(|facts| facts.size());
        let length = size(&self.file).map_err(|source| LogError { verb: "read", source })?;
        let mut begins = VecDeque::new();
        let mut at_begin = true;
        while self.place < length {
            let chunk = self.next_known()?;
            if chunk.is_empty() {
                break;
            }
            let begin = self.place - chunk.len() as u64;
            for (place, byte) in (begin..).zip(chunk) {
                if at_begin {
                    begins.push_back(place);
                    if begins.len() > lines {
                        begins.pop_front();
                    }
                }
                at_begin = byte == b'\n';
            }
        }
        Ok(begins.front().copied().unwrap_or(length))
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
