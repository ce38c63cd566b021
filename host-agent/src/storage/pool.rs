//! Processes that wait for NFS servers so that the agent does not.
//!
//! A thread that waits for a server on a hard mount waits until it answers, and
//! takes no signal but the end of its process. So everything that touches an
//! export is done by helpers: the agent's own program, run again. What a helper
//! does not answer in time is an error; the helper is killed, and counts as
//! long as the kernel does not let go of it.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    fault::StorageError,
    protocol::{Answer, Done, Task},
};

/// Helpers kept when there is nothing to do.
const MOST_IDLE: usize = 2;

/// How a helper is started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// The helpers for one server.
#[derive(Debug)]
pub(super) struct Pool {
    server: String,
    program: Program,
    most: usize,
    deadline: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Helper>,
    /// Not yet reaped: the idle, the busy and the stuck.
    alive: usize,
    /// Killed, but still there.
    stuck: usize,
    closed: bool,
}

#[derive(Debug)]
struct Helper {
    child: Child,
    stream: BufReader<UnixStream>,
}

// === impl Pool ===

impl Pool {
    /// At most `most` helpers at a time, each with `deadline` for a task.
    pub(super) fn new(server: String, program: Program, most: usize, deadline: Duration) -> Self {
        Self { server, program, most, deadline, shared: Arc::default() }
    }

    /// Has a helper do `task`, within the deadline and what it takes
    /// besides. Blocking, for no longer.
    ///
    /// # Errors
    /// What the helper says; [`StorageError::Silent`] and
    /// [`StorageError::Crowded`] when it does not answer.
    pub(super) fn call(&self, task: &Task) -> Result<Done, StorageError> {
        let limit = self.deadline + task.besides();
        let until = Instant::now() + limit;
        // One that was idle may have been killed meanwhile, by no fault of the
        // task: then a fresh one gets it.
        loop {
            let (mut helper, fresh) = self.take(until)?;
            match helper.exchange(task, until) {
                Ok(answer) => {
                    self.put_back(helper);
                    return answer.map_err(StorageError::Remote);
                }
                Err(error) => {
                    let timed_out =
                        matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                    self.end(helper);
                    if timed_out {
                        let server = self.server.clone();
                        return Err(StorageError::Silent { server, after: limit });
                    }
                    if fresh {
                        return Err(self.broken(error));
                    }
                }
            }
        }
    }

    /// Helpers that were killed and are still there.
    pub(super) fn stuck(&self) -> usize {
        self.lock().stuck
    }

    /// An idle helper, or a new one (`true`).
    fn take(&self, until: Instant) -> Result<(Helper, bool), StorageError> {
        let mut state = self.lock();
        loop {
            if let Some(helper) = state.idle.pop() {
                return Ok((helper, false));
            }
            if state.closed {
                return Err(self.broken(io::Error::other("the agent ends")));
            }
            if state.alive < self.most {
                state.alive += 1;
                drop(state);
                return match Helper::start(&self.program) {
                    Ok(helper) => Ok((helper, true)),
                    Err(error) => {
                        self.shared.gone(|_| {});
                        Err(self.broken(error))
                    }
                };
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let server = self.server.clone();
                return Err(StorageError::Crowded { server, waiting: state.alive });
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn put_back(&self, helper: Helper) {
        let mut state = self.lock();
        if state.closed || state.idle.len() >= MOST_IDLE {
            drop(state);
            self.end(helper);
            return;
        }
        state.idle.push(helper);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Kills a helper and has it reaped, whenever that may be.
    fn end(&self, helper: Helper) {
        let Helper { mut child, stream } = helper;
        drop(stream);
        self.lock().stuck += 1;
        let reaper = Arc::clone(&self.shared);
        let reap = move || {
            // Fails only if it has ended; and then nothing waits.
            drop(child.kill());
            drop(child.wait());
            reaper.gone(|state| state.stuck -= 1);
        };
        if let Err(error) = thread::Builder::new().name("storage-reaper".into()).spawn(reap) {
            // It ends by itself, its stream is closed; it is only not counted off.
            tracing::warn!(%error, "a helper cannot be reaped");
        }
    }

    /// Ends all helpers that do nothing, and lets no others begin.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for helper in idle {
            let Helper { mut child, stream } = helper;
            drop(stream);
            // They wait for nothing but their next task, so this takes no time.
            drop(child.kill());
            drop(child.wait());
            self.shared.gone(|_| {});
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, source: io::Error) -> StorageError {
        StorageError::Helper { server: self.server.clone(), source }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Shared ===

impl Shared {
    fn gone(&self, also: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.alive -= 1;
        also(&mut state);
        drop(state);
        self.changed.notify_one();
    }
}

// === impl Helper ===

impl Helper {
    fn start(program: &Program) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // What is typed at a terminal is for the agent.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, stream: BufReader::new(ours) })
    }

    fn exchange(&mut self, task: &Task, until: Instant) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(task)?;
        line.push(b'\n');
        self.stream.get_ref().set_write_timeout(Some(left(until)?))?;
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        loop {
            self.stream.get_ref().set_read_timeout(Some(left(until)?))?;
            let some = self.stream.fill_buf()?;
            if some.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = some.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(some.len(), |at| at + 1);
            line.extend_from_slice(&some[..length]);
            self.stream.consume(length);
            if end.is_some() {
                return Ok(serde_json::from_slice(&line)?);
            }
        }
    }
}

/// What is left until then; at least something, because 0 means no limit.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests;
