//! The desktops of a host: who may begin, join, be given or be ended. The same
//! rules as a real agent's registry, in `host-agent/src/registry.rs`.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use rolltop_proto::v1::{DesktopState, HostDesktop};
use tokio::{sync::watch, time::Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    deed::{Deed, What},
    events::Log,
};

/// Ended desktops remembered, so that a repeated request gets the same answer.
const REMEMBERED: usize = 256;

/// Steps of a start that were taken, and the desktop as it was last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) steps: usize,
    pub(crate) desktop: HostDesktop,
}

/// A life of a desktop.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) request_id: String,
    pub(crate) told: Arc<watch::Sender<Told>>,
}

#[derive(Debug)]
pub(crate) enum Admission {
    /// A place, taken.
    New(Life),
    /// That of an earlier request with the same id.
    Joined(Life),
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    living: BTreeMap<u32, Life>,
    ended: VecDeque<Life>,
    pub(crate) log: Log,
    /// How many changes there have been, for those who wait for one.
    pub(crate) count: watch::Sender<u64>,
    deeds: Vec<Deed>,
}

/// An error with a stable reason, as real agents give them.
pub(crate) fn refuse(code: Code, reason: &str, text: impl std::fmt::Display) -> Status {
    let details = ErrorDetails::with_error_info(reason, "rolltop", HashMap::new());
    Status::with_error_details(code, text.to_string(), details)
}

fn stale(number: u32, asked: u64, known: u64) -> Status {
    let text = format!("epoch {asked} of desktop {number} is over: this host has epoch {known}");
    refuse(Code::FailedPrecondition, "STALE_EPOCH", text)
}

fn unknown(number: u32) -> Status {
    let text = format!("there is no desktop {number} on this host");
    refuse(Code::NotFound, "DESKTOP_UNKNOWN", text)
}

// === impl Life ===

impl Life {
    fn new(request_id: &str, desktop: HostDesktop) -> Self {
        let told = Arc::new(watch::Sender::new(Told { steps: 0, desktop }));
        Self { request_id: request_id.to_owned(), told }
    }

    pub(crate) fn desktop(&self) -> HostDesktop {
        self.told.borrow().desktop.clone()
    }

    fn deed(&self, what: What) -> Deed {
        let HostDesktop { number, epoch, label, .. } = self.desktop();
        let request_id = self.request_id.clone();
        Deed { at: Instant::now(), number, epoch, label, request_id, what }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn admit(
        &mut self,
        request_id: &str,
        desktop: HostDesktop,
        most: i64,
    ) -> Result<Admission, Status> {
        let (number, epoch) = (desktop.number, desktop.epoch);
        if let Some(life) = self.joined(&desktop, request_id) {
            return Ok(Admission::Joined(life));
        }
        if let Some(known) = self.get(number) {
            if epoch < known.epoch {
                return Err(stale(number, epoch, known.epoch));
            }
            let text = format!("number {number} is taken by {}", known.label);
            return Err(refuse(Code::FailedPrecondition, "NUMBER_TAKEN", text));
        }
        if self.living.len() as i64 >= most {
            let text = format!("this host takes {most} desktops at most and has them");
            return Err(refuse(Code::ResourceExhausted, "HOST_FULL", text));
        }
        let life = Life::new(request_id, desktop.clone());
        self.deeds.push(life.deed(What::Begun));
        self.living.insert(number, life.clone());
        self.note(desktop);
        Ok(Admission::New(life))
    }

    /// Gives a warm one to a user.
    pub(crate) fn assign(
        &mut self,
        request_id: &str,
        warm_epoch: u64,
        to: &HostDesktop,
    ) -> Result<HostDesktop, Status> {
        let (number, epoch) = (to.number, to.epoch);
        let Some(life) = self.living.get_mut(&number) else {
            let ended = self.ended_of(number, request_id);
            return ended.map(|life| life.desktop()).ok_or_else(|| unknown(number));
        };
        let known = life.desktop();
        if epoch == known.epoch && life.request_id == request_id && !known.warm {
            return Ok(known);
        }
        if epoch <= known.epoch {
            return Err(stale(number, epoch, known.epoch));
        }
        if known.epoch != warm_epoch || known.state() != DesktopState::Warm {
            let text = format!("desktop {number} is {}, which is not warm", known.label);
            return Err(refuse(Code::FailedPrecondition, "NOT_WARM", text));
        }
        let given = HostDesktop {
            epoch,
            label: to.label.clone(),
            account: to.account.clone(),
            warm: false,
            state: DesktopState::Running.into(),
            ..known
        };
        request_id.clone_into(&mut life.request_id);
        life.told.send_modify(|told| told.desktop.clone_from(&given));
        let life = life.clone();
        self.deeds.push(life.deed(What::Begun));
        self.deeds.push(life.deed(What::Up));
        self.note(given.clone());
        Ok(given)
    }

    /// The living one of this number, for a caller that knows `epoch`.
    pub(crate) fn fenced(&self, number: u32, epoch: u64) -> Result<HostDesktop, Status> {
        let there = self.get(number).ok_or_else(|| unknown(number))?;
        match epoch < there.epoch {
            true => Err(stale(number, epoch, there.epoch)),
            false => Ok(there),
        }
    }

    /// That of an earlier request, if this one repeats it.
    pub(crate) fn joined(&self, desktop: &HostDesktop, request_id: &str) -> Option<Life> {
        let Some(life) = self.living.get(&desktop.number) else {
            return self.ended_of(desktop.number, request_id);
        };
        let known = life.desktop();
        let same = known.epoch == desktop.epoch
            && life.request_id == request_id
            && known.state() != DesktopState::Stopping;
        same.then(|| life.clone())
    }

    pub(crate) fn life(&self, number: u32) -> Option<Life> {
        self.living.get(&number).cloned()
    }

    pub(crate) fn get(&self, number: u32) -> Option<HostDesktop> {
        self.living.get(&number).map(Life::desktop)
    }

    pub(crate) fn all(&self) -> Vec<HostDesktop> {
        self.living.values().map(Life::desktop).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.living.len()
    }

    pub(crate) fn deeds(&self) -> Vec<Deed> {
        self.deeds.clone()
    }

    /// Puts one there, whatever was there.
    pub(crate) fn put(&mut self, desktop: HostDesktop) {
        self.living.insert(desktop.number, Life::new("", desktop));
    }

    /// Takes one away without a word.
    pub(crate) fn take(&mut self, number: u32) -> Option<HostDesktop> {
        let life = self.living.remove(&number)?;
        self.deeds.push(life.deed(What::Ended("without a word".to_owned())));
        // Whoever looks at it sees nothing any more; nobody else is told.
        life.told.send_modify(|told| told.desktop.set_state(DesktopState::Gone));
        Some(life.desktop())
    }

    /// Changes one, unless that life of it is over; false: it is.
    pub(crate) fn change(
        &mut self,
        number: u32,
        epoch: u64,
        change: impl FnOnce(&mut Told),
    ) -> bool {
        let Some(life) = self.living.get(&number) else { return false };
        let before = life.desktop();
        if before.epoch != epoch {
            return false;
        }
        life.told.send_modify(change);
        let after = life.desktop();
        if after == before {
            return true;
        }
        if after.state() == DesktopState::Running && before.state() != DesktopState::Running {
            let deed = life.deed(What::Up);
            self.deeds.push(deed);
        }
        self.note(after);
        true
    }

    /// Its last word; none: that life of it is over already.
    pub(crate) fn end(
        &mut self,
        number: u32,
        epoch: u64,
        last: impl FnOnce(&mut HostDesktop),
    ) -> Option<HostDesktop> {
        let there = self.living.get(&number)?.desktop();
        if there.epoch != epoch {
            return None;
        }
        let life = self.living.remove(&number)?;
        life.told.send_modify(|told| last(&mut told.desktop));
        let desktop = life.desktop();
        self.deeds.push(life.deed(What::Ended(desktop.end_reason.clone())));
        self.ended.push_back(life);
        let surplus = self.ended.len().saturating_sub(REMEMBERED);
        self.ended.drain(..surplus);
        self.note(desktop.clone());
        Some(desktop)
    }

    /// Another agent: it adopts what runs, cleans up what was half made, and
    /// remembers nothing.
    pub(crate) fn begin_anew(&mut self) {
        use DesktopState::{Planned, Preparing, Starting, Stopping};
        for desktop in self.all() {
            // What was ending has ended by now.
            if matches!(desktop.state(), Planned | Preparing | Starting | Stopping) {
                self.take(desktop.number);
            }
        }
        self.ended.clear();
        self.log = Log::default();
        self.count.send_replace(0);
    }

    fn ended_of(&self, number: u32, request_id: &str) -> Option<Life> {
        let is_it = |life: &&Life| life.request_id == request_id && life.desktop().number == number;
        self.ended.iter().find(is_it).filter(|_| !request_id.is_empty()).cloned()
    }

    fn note(&mut self, desktop: HostDesktop) {
        self.log.note(desktop);
        self.count.send_replace(self.log.count());
    }
}

#[cfg(test)]
mod tests;
