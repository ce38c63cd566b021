//! Who watches a host that is real, beside the brokers: over the agent's own
//! socket, which no fault cuts, through all lives of the agent.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rolltop_proto::v1::{
    DesktopState, HostDesktop, WatchHostDesktopsRequest, host_desktop_event::Event,
};
use rolltop_sim::{Deed, What};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::client;

/// Between tries to reach an agent that is not there.
const PAUSE: Duration = Duration::from_millis(20);
/// As simulated hosts say it: nobody wanted this end.
const STRUCK: &str = "without a word";

/// What a host was seen to do.
#[derive(Debug)]
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    deeds: Vec<Deed>,
    open: BTreeMap<u32, Open>,
    /// When the last agent was heard last.
    heard: Option<Instant>,
}

/// A life that has not ended.
#[derive(Clone, Debug)]
struct Open {
    epoch: u64,
    label: String,
    up: bool,
    stopping: bool,
}

// === impl Witness ===

impl Witness {
    /// Of the agent at `socket`, whenever there is one.
    pub fn new(socket: PathBuf) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let its = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut after = String::new();
            loop {
                // However it ends, the next agent is waited for.
                watch(&socket, &its, &mut after).await.unwrap_or_default();
                sleep(PAUSE).await;
            }
        });
        Self { seen, task }
    }

    /// All it has seen, in order.
    pub fn deeds(&self) -> Vec<Deed> {
        lock(&self.seen).deeds.clone()
    }

    /// The host has lost its power.
    pub fn power_failed(&self) {
        let mut seen = lock(&self.seen);
        let numbers: Vec<u32> = seen.open.keys().copied().collect();
        for number in numbers {
            seen.end(number, Instant::now(), STRUCK.to_owned());
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(socket: &Path, seen: &Mutex<Seen>, after: &mut String) -> anyhow::Result<()> {
    let mut api = client::connect(socket).await?;
    let request = WatchHostDesktopsRequest { after: after.clone() };
    let mut events = api.watch_desktops(request).await?.into_inner();
    // All that is there, of an agent that is new; none: nothing was missed.
    let mut there = Some(Vec::new());
    while let Some(event) = events.message().await? {
        if !event.position.is_empty() {
            *after = event.position;
        }
        match event.event {
            Some(Event::Resumed(_)) => there = None,
            Some(Event::Synced(_)) => {
                if let Some(numbers) = there.take() {
                    lock(seen).retain(&numbers);
                }
            }
            Some(Event::Desktop(desktop)) => {
                if let Some(there) = &mut there {
                    there.push(desktop.number);
                }
                lock(seen).note(&desktop);
            }
            None => {}
        }
        if there.is_none() {
            lock(seen).heard = Some(Instant::now());
        }
    }
    Ok(())
}

// === impl Seen ===

impl Seen {
    fn note(&mut self, desktop: &HostDesktop) {
        let HostDesktop { number, epoch, label, .. } = desktop;
        let state = desktop.state();
        let known = self.open.get(number).filter(|open| open.epoch == *epoch);
        if matches!(state, DesktopState::Gone | DesktopState::Failed) {
            if known.is_some() {
                let why = desktop.failure.as_ref().map(|failure| failure.code.clone());
                let why = why.unwrap_or_else(|| desktop.end_reason.clone());
                self.end(*number, Instant::now(), why);
            }
            return;
        }
        if known.is_none() {
            let open = Open { epoch: *epoch, label: label.clone(), up: false, stopping: false };
            self.deed(*number, &open, What::Begun, Instant::now());
            self.open.insert(*number, open);
        }
        let Some(mut open) = self.open.get(number).cloned() else { return };
        let is_up =
            matches!(state, DesktopState::Running | DesktopState::Warm | DesktopState::Frozen);
        if is_up && !open.up {
            open.up = true;
            self.deed(*number, &open, What::Up, Instant::now());
        }
        open.stopping = state == DesktopState::Stopping;
        self.open.insert(*number, open);
    }

    /// A new agent has these, and no others.
    fn retain(&mut self, there: &[u32]) {
        let missing: Vec<(u32, Open)> = self
            .open
            .iter()
            .filter(|(number, _)| !there.contains(number))
            .map(|(number, open)| (*number, open.clone()))
            .collect();
        for (number, open) in missing {
            let now = Instant::now();
            let (at, why) = match open {
                // It takes away what is half made.
                Open { up: false, .. } => (now, STRUCK),
                // The last one may have said so to a broker just before it died.
                Open { stopping: true, .. } => (self.heard.unwrap_or(now), "STOPPED"),
                Open { .. } => (now, "gone when the next agent came"),
            };
            self.end(number, at, why.to_owned());
        }
    }

    fn end(&mut self, number: u32, at: Instant, why: String) {
        if let Some(open) = self.open.remove(&number) {
            self.deed(number, &open, What::Ended(why), at);
        }
    }

    fn deed(&mut self, number: u32, open: &Open, what: What, at: Instant) {
        let Open { epoch, label, .. } = open.clone();
        let request_id = String::new();
        self.deeds.push(Deed { at, number, epoch, label, request_id, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desktop(number: u32, epoch: u64, state: DesktopState) -> HostDesktop {
        HostDesktop { number, epoch, state: state.into(), ..Default::default() }
    }

    fn told(seen: &Seen) -> Vec<(u32, u64, What)> {
        seen.deeds.iter().map(|deed| (deed.number, deed.epoch, deed.what.clone())).collect()
    }

    #[test]
    fn a_life_is_noted_once() {
        use DesktopState::{Gone, Preparing, Running, Starting, Stopping, Warm};
        let mut seen = Seen::default();
        for state in [Preparing, Starting, Warm] {
            seen.note(&desktop(1, 1, state));
        }
        // Given to somebody; then told of once more, by another agent.
        for state in [Starting, Running, Running, Stopping, Gone, Gone] {
            seen.note(&desktop(1, 2, state));
        }
        let ended = What::Ended(String::new());
        let life = [(1, 1, What::Begun), (1, 1, What::Up), (1, 2, What::Begun), (1, 2, What::Up)];
        assert_eq!(told(&seen), [&life[..], &[(1, 2, ended)]].concat());
    }

    #[test]
    fn what_the_next_agent_has_not_is_over() {
        use DesktopState::{Running, Starting, Stopping};
        let mut seen = Seen::default();
        for (number, state) in [(1, Starting), (2, Running), (3, Running), (4, Running)] {
            seen.note(&desktop(number, 1, state));
        }
        seen.note(&desktop(3, 1, Stopping));
        seen.retain(&[4]);
        let ended = |why: &str| What::Ended(why.to_owned());
        let lost = ended("gone when the next agent came");
        assert_eq!(
            told(&seen)[7..],
            [(1, 1, ended(STRUCK)), (2, 1, lost), (3, 1, ended("STOPPED"))]
        );
        assert_eq!(seen.open.keys().copied().collect::<Vec<_>>(), [4]);
    }
}
