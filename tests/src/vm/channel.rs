//! Commands to a guest over a serial port, and what they write.
//!
//! A command goes as one line: a mark nobody can guess, and the command in
//! base64. Its output comes back as it is, then a line of the mark and the exit
//! status (see `tests/vm/guest/root/usr/local/sbin/rig-serve`).

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use uuid::Uuid;

const READY: &[u8] = b"rig is ready\n";

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status as a shell tells it: 128 and more for signals.
    pub status: i32,
    /// What it wrote, to either stream.
    pub bytes: Vec<u8>,
}

impl Output {
    /// What it wrote, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The controller's end of the port.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

impl Channel {
    pub(super) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).context("cannot reach the guest's serial port")?;
        Ok(Self { stream })
    }

    /// Waits for the word that the guest serves. Only a guest that boots says
    /// it; a restored one has already.
    pub(super) fn wait_ready(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let mut tail = Tail::new(READY);
        self.receive(deadline, |bytes| Ok(tail.feed(bytes).is_some()))
    }

    /// Runs a command of `bash`; `sink` gets its output as it comes.
    pub(super) fn run(
        &mut self,
        command: &str,
        deadline: Instant,
        sink: &mut dyn Write,
    ) -> anyhow::Result<Output> {
        let mark = Uuid::new_v4().simple().to_string();
        let line = base64::engine::general_purpose::STANDARD.encode(command);
        writeln!(self.stream, "{mark} {line}").context("the guest takes no commands")?;
        let mut answer = Answer::new(&mark);
        let mut shown = 0;
        let mut status = None;
        self.receive(deadline, |bytes| {
            status = answer.feed(bytes)?;
            let certain = answer.certain();
            sink.write_all(&certain[shown..])?;
            shown = certain.len();
            Ok(status.is_some())
        })?;
        let status = status.context("the guest's answer has no status")?;
        Ok(Output { status, bytes: answer.into_output() })
    }

    /// Reads until `done` says so.
    fn receive(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer from the guest in time");
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the guest has ended"),
                Ok(length) if done(&buffer[..length])? => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error).context("the guest's serial port failed"),
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock | Interrupted)
}

/// Output up to the mark, and the status behind it.
struct Answer {
    mark: Tail,
    /// Where the mark begins, once it is there.
    end: Option<usize>,
}

impl Answer {
    fn new(mark: &str) -> Self {
        Self { mark: Tail::new(format!("{mark} ").as_bytes()), end: None }
    }

    fn feed(&mut self, bytes: &[u8]) -> anyhow::Result<Option<i32>> {
        self.end = self.mark.feed(bytes);
        let Some(end) = self.end else { return Ok(None) };
        let status = &self.mark.seen[end + self.mark.wanted.len()..];
        let Some(newline) = status.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let status = std::str::from_utf8(&status[..newline])?;
        Ok(Some(status.parse().with_context(|| format!("`{status}` is no exit status"))?))
    }

    /// What cannot be the beginning of the mark any more.
    fn certain(&self) -> &[u8] {
        let length = self.mark.seen.len();
        &self.mark.seen[..self.end.unwrap_or(length.saturating_sub(self.mark.wanted.len()))]
    }

    fn into_output(self) -> Vec<u8> {
        let mut seen = self.mark.seen;
        seen.truncate(self.end.unwrap_or(seen.len()));
        seen
    }
}

/// Looks for bytes in what comes piece by piece.
struct Tail {
    wanted: Vec<u8>,
    seen: Vec<u8>,
    found: Option<usize>,
}

impl Tail {
    fn new(wanted: &[u8]) -> Self {
        Self { wanted: wanted.into(), seen: Vec::new(), found: None }
    }

    /// Where they begin, once they are there.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = self.seen.len().saturating_sub(self.wanted.len());
        self.seen.extend(bytes);
        if self.found.is_none() {
            let mut windows = self.seen[from..].windows(self.wanted.len());
            self.found = windows.position(|window| window == self.wanted).map(|at| from + at);
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_come_in_any_pieces() {
        let whole = b"first\nno newline at the end5f5f 124\n";
        for cut in 0..whole.len() {
            let mut answer = Answer::new("5f5f");
            assert_eq!(answer.feed(&whole[..cut]).unwrap(), None, "cut at {cut}");
            assert!(b"first\nno newline at the end".starts_with(answer.certain()), "cut at {cut}");
            assert_eq!(answer.feed(&whole[cut..]).unwrap(), Some(124), "cut at {cut}");
            assert_eq!(answer.into_output(), b"first\nno newline at the end");
        }
    }

    #[test]
    fn output_may_be_anything_but_the_mark() {
        let mut answer = Answer::new("5f5f");
        assert_eq!(answer.feed(b"\x00\xff5f5 5f5f\n").unwrap(), None);
        assert_eq!(answer.feed(b"5f5f 0\n").unwrap(), Some(0));
        assert_eq!(answer.into_output(), b"\x00\xff5f5 5f5f\n");
    }

    #[test]
    fn a_status_must_be_a_number() {
        let error = Answer::new("5f5f").feed(b"5f5f many\n").unwrap_err();
        assert_eq!(error.to_string(), "`many` is no exit status");
    }

    #[test]
    fn a_guest_that_ends_is_told_from_one_that_is_late() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut channel = Channel { stream: ours };
        let error = channel.wait_ready(Instant::now()).unwrap_err();
        assert_eq!(error.to_string(), "no answer from the guest in time");
        drop(theirs);
        let error = channel.wait_ready(Instant::now() + Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "the guest has ended");
    }
}
