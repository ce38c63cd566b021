//! What hosts say about their desktops, against the records. The verdict is a
//! pure function; a broker that was away or restarted ends nothing that runs.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rolltop_proto::v1::{self, HostDesktop};

use super::{
    DesktopError, Desktops,
    group::{Claimed, Lodger},
    unsettled::may_pass,
    warm::WarmVerdict,
};
use crate::{
    hosts::{Health, Heard, Horizon, Observer, Seen, Verdicts},
    names::{DesktopId, HostName},
    state::{self, DesktopRecord, DesktopState, FailureRecord, Happening, Placed},
    store::StoreError,
};

/// Why a desktop ended that its host does not know any more.
const LOST: &str = "LOST";

/// What is to be done about a desktop a host tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// All is as it is noted.
    Nothing,
    /// The record is behind.
    Note(Happening),
    /// It should have ended: the host is asked to end it.
    EndIt,
    /// The store does not know it. It is reported and left alone.
    Stray,
}

/// The observer of all hosts.
pub struct Reconciler {
    pub(super) desktops: Desktops,
}

// === impl Reconciler ===

impl Reconciler {
    /// Notes what hosts say.
    pub fn new(desktops: Desktops) -> Self {
        Self { desktops }
    }

    /// Notes what can be noted. A desktop the host is to end goes to `to_end`
    /// if there is one, and is ended otherwise.
    async fn try_changed(
        &self,
        host: &HostName,
        told: &HostDesktop,
        to_end: Option<&mut Vec<(u32, u64)>>,
    ) -> Result<bool, DesktopError> {
        if told.warm {
            return self.warm_changed(host, told, to_end).await;
        }
        let Some(id) = DesktopId::from_key(&told.label) else { return Ok(false) };
        let record = self.desktops.find(&id).await?.map(|stored| stored.record);
        let flying = self.desktops.inner.flights.find(&id).is_some();
        let verdict = judge(record.as_ref(), host, told, flying);
        if is_over(told) && record.as_ref().is_none_or(|record| record.epoch != told.epoch) {
            self.desktops.release_held(host, told.number, told.epoch).await?;
        }
        let Some(record) = record else { return Ok(false) };
        match verdict {
            Verdict::Nothing => {
                let runs = record.state == DesktopState::Running && !is_over(told);
                if to_end.is_some() && runs && record.epoch == told.epoch {
                    self.desktops.heed_limits(&record, told).await?;
                }
                Ok(true)
            }
            Verdict::Stray => Ok(false),
            Verdict::Note(happening) => {
                let edit = |record: &mut DesktopRecord| match happening {
                    Happening::Up => record.placed = Some(placed(told)),
                    Happening::End => {
                        note_end(record, &told.end_reason);
                        let failure = told.failure.as_ref();
                        record.failure = failure.map(|told| failure_record(Some(told)));
                    }
                    Happening::Fail => record.failure = Some(failure_record(told.failure.as_ref())),
                    Happening::Stop => {}
                };
                self.desktops.happen(&record.id, record.epoch, happening, edit).await?;
                Ok(true)
            }
            Verdict::EndIt => {
                // As the host knows it: its own number and epoch.
                let there = DesktopRecord {
                    host: host.clone(),
                    number: told.number,
                    epoch: told.epoch,
                    ..record
                };
                tracing::info!(desktop.id = %id, desktop.epoch = told.epoch, host.name = %host,
                    "a host has a desktop that should have ended");
                match to_end {
                    Some(to_end) => to_end.push((told.number, told.epoch)),
                    None => self.desktops.stop_on_host(there),
                }
                Ok(true)
            }
        }
    }

    /// The same for one that was made ahead of its user, and has none yet.
    async fn warm_changed(
        &self,
        host: &HostName,
        told: &HostDesktop,
        to_end: Option<&mut Vec<(u32, u64)>>,
    ) -> Result<bool, DesktopError> {
        match (self.desktops.hear_of_warm(host, told).await?, to_end) {
            (WarmVerdict::Known, _) => {}
            (WarmVerdict::EndIt, Some(to_end)) => to_end.push((told.number, told.epoch)),
            (WarmVerdict::EndIt, None) => {
                self.desktops.stop_warm_on_host(host, told.number, told.epoch);
            }
        }
        Ok(true)
    }

    /// Fails the starts of brokers that are gone, of which their hosts know
    /// nothing. Those on hosts out of reach are judged when these are back.
    pub(super) async fn fail_orphans(&self) {
        if let Err(error) = self.try_fail_orphans().await {
            self.report(&error);
        }
    }

    fn report(&self, error: &DesktopError) {
        let error_source = error as &dyn std::error::Error;
        tracing::error!(error = error_source, "what a host said could not be noted");
        self.desktops.doubt_after(error);
    }

    async fn try_fail_orphans(&self) -> Result<(), DesktopError> {
        let inner = &self.desktops.inner;
        let mut alive = inner.presence.others().await?;
        alive.insert(inner.presence.name().to_owned());
        let claimed = self.desktops.claimed_till_now().await?;
        for start in self.desktops.lodgers_starting(claimed).await? {
            let orphan = |record: &DesktopRecord| {
                record.state == DesktopState::Starting
                    && !alive.contains(&record.pilot)
                    && inner.flights.find(&record.id).is_none()
            };
            if start.pilot.is_none_or(|pilot| alive.contains(&pilot)) {
                continue;
            }
            let Some(stored) = self.desktops.find(&start.id).await? else { continue };
            let record = stored.record;
            let unknown = |seen: &Seen| {
                let told = seen.desktops.get(&record.number);
                seen.health == Health::Ready && told.is_none_or(|told| told.epoch != record.epoch)
            };
            if orphan(&record) && inner.hosts.look(&record.host, unknown).unwrap_or(false) {
                self.fail_interrupted(&record).await?;
            }
        }
        Ok(())
    }

    /// A start that nobody sees to, and of which its host knows nothing. What was
    /// made ahead for it the host may have still, by its own epoch: if it was given
    /// after all, that epoch is over, and the host refuses.
    async fn fail_interrupted(&self, record: &DesktopRecord) -> Result<(), DesktopError> {
        tolerate(self.desktops.fail(record, &interrupted()).await)?;
        if record.warm_epoch > 0 {
            let DesktopRecord { host, number, warm_epoch, .. } = record;
            self.desktops.stop_warm_on_host(host, *number, *warm_epoch);
        }
        Ok(())
    }

    async fn try_horizon(&self, host: &HostName) -> Result<Horizon, StoreError> {
        let inner = &self.desktops.inner;
        // The epoch first: what is claimed after it is not judged. Then the
        // starts: one that ends before the host is asked is still among them.
        let claimed = self.desktops.claimed_till_now().await?;
        let mut starting = inner.flights.all();
        let others = inner.presence.others().await?;
        if !others.is_empty() {
            let lodgers = self.desktops.lodgers_on(host, claimed).await?;
            let by_others =
                |lodger: &Lodger| lodger.pilot.as_ref().is_some_and(|by| others.contains(by));
            starting.extend(lodgers.into_iter().filter(by_others).map(|lodger| lodger.id));
        }
        Ok(Horizon { epoch: claimed.epoch, revision: claimed.revision, starting })
    }

    async fn end_missing(
        &self,
        host: &HostName,
        horizon: &Horizon,
        there: &BTreeMap<u32, HostDesktop>,
    ) -> Result<(), DesktopError> {
        let others = self.desktops.inner.presence.others().await?;
        let is_there =
            |number: u32, epoch: u64| there.get(&number).is_some_and(|told| told.epoch == epoch);
        let claimed = Claimed { epoch: horizon.epoch, revision: horizon.revision };
        for lodger in self.desktops.lodgers_on(host, claimed).await? {
            if is_there(lodger.number, lodger.epoch) || lodger.epoch > horizon.epoch {
                continue;
            }
            let Some(stored) = self.desktops.find(&lodger.id).await? else { continue };
            let record = stored.record;
            let judged = record.host == *host && record.epoch <= horizon.epoch;
            if is_there(record.number, record.epoch)
                || !judged
                || !record.state.holds_capacity()
                || horizon.starting.contains(&record.id)
                // Someone has taken an interrupted start up again since.
                || self.desktops.inner.flights.find(&record.id).is_some()
                || is_started_by(&record, &others)
            {
                continue;
            }
            match record.state {
                DesktopState::Starting => self.fail_interrupted(&record).await?,
                DesktopState::Running
                | DesktopState::Stopping
                | DesktopState::Gone
                | DesktopState::Failed => tolerate(self.desktops.end(&record, LOST).await)?,
            }
        }
        self.desktops.forget_missing_warm(host, horizon, there).await
    }
}

#[async_trait]
impl Observer for Reconciler {
    async fn horizon(&self, host: &HostName) -> Horizon {
        self.try_horizon(host).await.unwrap_or_else(|error| {
            self.report(&error.into());
            // Judges nothing.
            Horizon::default()
        })
    }

    async fn all(
        &self,
        host: &HostName,
        horizon: &Horizon,
        desktops: &BTreeMap<u32, HostDesktop>,
    ) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for (number, desktop) in desktops {
            match self.look(host, desktop, Some(&mut verdicts.to_end)).await {
                Heard::Known => {}
                Heard::Stray => drop(verdicts.strays.insert(*number)),
                Heard::Missed => verdicts.missed = true,
            }
        }
        if let Err(error) = self.end_missing(host, horizon, desktops).await {
            self.report(&error);
        }
        let there = |number, epoch| {
            desktops.get(&number).is_some_and(|told| told.epoch == epoch && !is_over(told))
        };
        if let Err(error) = self.desktops.release_all_held(host, there).await {
            self.report(&error.into());
        }
        verdicts
    }

    async fn changed(&self, host: &HostName, desktop: &HostDesktop) -> Heard {
        self.look(host, desktop, None).await
    }
}

impl Reconciler {
    async fn look(
        &self,
        host: &HostName,
        desktop: &HostDesktop,
        to_end: Option<&mut Vec<(u32, u64)>>,
    ) -> Heard {
        match self.try_changed(host, desktop, to_end).await {
            Ok(true) => Heard::Known,
            Ok(false) => Heard::Stray,
            // Others were faster, and know it.
            Err(
                DesktopError::Illegal { .. }
                | DesktopError::Superseded { .. }
                | DesktopError::Unknown(_),
            ) => Heard::Known,
            Err(error) => {
                self.report(&error);
                if may_pass(&error) { Heard::Missed } else { Heard::Known }
            }
        }
    }
}

/// Whether one of the brokers that are alive is starting it.
fn is_started_by(record: &DesktopRecord, brokers: &BTreeSet<String>) -> bool {
    record.state == DesktopState::Starting && brokers.contains(&record.pilot)
}

pub(super) fn is_over(told: &HostDesktop) -> bool {
    matches!(told.state(), v1::DesktopState::Gone | v1::DesktopState::Failed)
}

/// Why it ended: whoever had it ended knows better than its host.
pub(super) fn note_end(record: &mut DesktopRecord, reason: &str) {
    if record.end_reason.is_empty() {
        reason.clone_into(&mut record.end_reason);
    }
}

/// Others may have been faster.
fn tolerate(done: Result<DesktopRecord, DesktopError>) -> Result<(), DesktopError> {
    match done {
        Ok(_)
        | Err(
            DesktopError::Illegal { .. }
            | DesktopError::Superseded { .. }
            | DesktopError::Unknown(_),
        ) => Ok(()),
        Err(error) => Err(error),
    }
}

fn interrupted() -> FailureRecord {
    FailureRecord {
        phase: v1::Phase::Placement.into(),
        reason: "The start was interrupted, and the host knows nothing of it.".to_owned(),
        code: "START_INTERRUPTED".to_owned(),
        output_tail: Vec::new(),
    }
}

fn judge(
    record: Option<&DesktopRecord>,
    host: &HostName,
    told: &HostDesktop,
    flying: bool,
) -> Verdict {
    use DesktopState::{Failed, Gone, Running, Starting, Stopping};
    use v1::DesktopState as There;
    let over = matches!(told.state(), There::Gone | There::Failed);
    let Some(record) = record else { return if over { Verdict::Nothing } else { Verdict::Stray } };
    if record.epoch > told.epoch {
        return if over { Verdict::Nothing } else { Verdict::EndIt };
    }
    if record.epoch < told.epoch || record.host != *host || record.number != told.number {
        return if over { Verdict::Nothing } else { Verdict::Stray };
    }
    match (record.state, told.state()) {
        // The start itself notes how it ends.
        (Starting, There::Running | There::Frozen | There::Failed | There::Gone) if flying => {
            Verdict::Nothing
        }
        (Starting, There::Running | There::Frozen) => Verdict::Note(Happening::Up),
        (Starting | Running | Stopping, There::Failed) => Verdict::Note(Happening::Fail),
        (Starting | Running | Stopping, There::Gone) => Verdict::Note(Happening::End),
        (Starting | Running, There::Stopping) => Verdict::Note(Happening::Stop),
        (
            Starting | Running,
            There::Planned | There::Preparing | There::Starting | There::Warm | There::Unspecified,
        )
        | (Running, There::Running | There::Frozen)
        | (Stopping, There::Stopping)
        | (Failed | Gone, There::Gone | There::Failed) => Verdict::Nothing,
        (
            Stopping | Failed | Gone,
            There::Planned
            | There::Preparing
            | There::Starting
            | There::Warm
            | There::Running
            | There::Frozen
            | There::Unspecified,
        )
        | (Failed | Gone, There::Stopping) => Verdict::EndIt,
    }
}

/// What a host says about a desktop that runs.
pub(super) fn placed(told: &HostDesktop) -> Placed {
    let overlay = told.overlay.as_ref();
    Placed {
        version: told.version.clone(),
        mac: told.mac.clone(),
        ip: told.ip.clone(),
        display: state::Display::Vnc,
        started_at: told.started_at.map(Into::into),
        overlay_size_bytes: overlay.map_or(0, |overlay| overlay.size_bytes),
        overlay_allocated_bytes: overlay.map_or(0, |overlay| overlay.allocated_bytes),
    }
}

/// A host's failure, within bounds.
pub(super) fn failure_record(told: Option<&v1::Failure>) -> FailureRecord {
    const LINES: usize = 50;
    const LINE_CHARS: usize = 500;
    let Some(told) = told else {
        return FailureRecord {
            phase: 0,
            reason: "The host did not say why.".to_owned(),
            code: "UNKNOWN".to_owned(),
            output_tail: Vec::new(),
        };
    };
    let skip = told.output_tail.len().saturating_sub(LINES);
    let short = |text: &String| text.chars().take(LINE_CHARS).collect();
    FailureRecord {
        phase: told.phase,
        reason: short(&told.reason),
        code: short(&told.code),
        output_tail: told.output_tail.iter().skip(skip).map(short).collect(),
    }
}
