//! The way of one start, flown by a task of its own.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use prost::Message as _;
use rolltop_proto::v1::{
    self, Account, AssignHostDesktopRequest, HostDesktop, OverlaySpec, Phase,
    StartHostDesktopRequest, StartHostDesktopResponse, start_host_desktop_response::Message,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use tracing::Instrument as _;

use super::{
    DesktopError, Desktops, Flight, StartRequest,
    claim::Claim,
    reconcile::{failure_record, placed},
    unsettled::may_pass,
};
use crate::{
    names::DesktopId,
    state::{DesktopRecord, DesktopState, FailureRecord, Happening, HomeUse, UserRecord},
};

/// A host that is not heard of for so long during a start has failed it.
const OUT_OF_REACH: Duration = Duration::from_secs(15);
/// Between tries to join a start again whose line broke.
const PAUSE: Duration = Duration::from_millis(200);

/// How one try with the host ended.
enum Try {
    Up(Box<HostDesktop>),
    Failed(FailureRecord),
    /// The line broke; the start may well go on there.
    LineBroke(String),
}

impl Desktops {
    /// Gives the user a desktop of the pool: the one there is, the one that is
    /// being started, or a new one.
    pub fn start(&self, request: StartRequest) -> Arc<Flight> {
        let id = DesktopId { pool: request.pool.clone(), user: request.user.name.clone() };
        let (flight, pilot) = self.inner.flights.join(&id);
        if let Some(pilot) = pilot {
            let span = tracing::info_span!("start", desktop.id = %id);
            let desktops = self.clone();
            let fly = async move {
                let begun = Instant::now();
                let outcome = desktops.fly(pilot.flight(), &request, &id).await;
                desktops.inner.metrics.started(begun.elapsed(), &outcome);
                if let Err(error) = &outcome {
                    tracing::info!(
                        error = error as &dyn std::error::Error,
                        "a desktop was not started"
                    );
                }
                let failed = outcome.as_ref().err().is_some_and(may_pass);
                let up = outcome.as_ref().ok().cloned();
                pilot.land(outcome);
                // What was not noted is looked at again, now that nobody flies; and
                // whether what runs is there: it was left out of what the host told
                // meanwhile, and the answer may be from before that.
                if failed {
                    desktops.inner.unsettled.notify_one();
                }
                if let Some(DesktopRecord { host, number, epoch, .. }) = up {
                    desktops.inner.hosts.look_again_unless_there(&host, number, epoch).await;
                }
            };
            self.inner.tasks.spawn(fly.instrument(span));
        }
        flight
    }

    async fn fly(
        &self,
        flight: &Flight,
        request: &StartRequest,
        id: &DesktopId,
    ) -> Result<DesktopRecord, DesktopError> {
        flight.note(Phase::Placement, false);
        let begun = Instant::now();
        let record = loop {
            let record = match self.claim(request).await? {
                Claim::New(record) => break *record,
                Claim::Existing(record) => *record,
            };
            match record.state {
                DesktopState::Running => return Ok(record),
                // Another broker began it: join what the host does.
                DesktopState::Starting => break self.take_up(record).await?,
                DesktopState::Stopping if begun.elapsed() < self.inner.deadlines.stop_deadline => {
                    self.ended(&record, self.inner.deadlines.stop_deadline).await?;
                }
                state @ (DesktopState::Stopping | DesktopState::Gone | DesktopState::Failed) => {
                    return Err(DesktopError::WrongState {
                        desktop: id.clone(),
                        state,
                        wanted: DesktopState::Running,
                    });
                }
            }
        };
        flight.note(Phase::Placement, true);
        tokio::select! {
            biased;
            () = flight.stopped() => self.stop_start(&record).await,
            done = self.drive(flight, &request.user, &record) => done,
        }
    }

    /// Puts this broker's name to a start whose own is gone.
    async fn take_up(&self, record: DesktopRecord) -> Result<DesktopRecord, DesktopError> {
        let presence = &self.inner.presence;
        if record.pilot == presence.name() || presence.others().await?.contains(&record.pilot) {
            return Ok(record);
        }
        let take = |record: &mut DesktopRecord| presence.name().clone_into(&mut record.pilot);
        self.amend(&record.id, record.epoch, take).await
    }

    /// Until the host has it up, or has failed.
    async fn drive(
        &self,
        flight: &Flight,
        user: &UserRecord,
        record: &DesktopRecord,
    ) -> Result<DesktopRecord, DesktopError> {
        let deadline = Instant::now() + self.inner.deadlines.start_deadline;
        let mut heard = Instant::now();
        let failure = loop {
            let outcome =
                match timeout_at(deadline, self.try_host(flight, user, record, &mut heard)).await {
                    Ok(outcome) => outcome,
                    Err(_) => break self.too_slow(flight),
                };
            match outcome {
                Try::Up(desktop) => {
                    self.inner.setbacks.went_well(&record.host);
                    let phases = flight.phases();
                    let edit = |record: &mut DesktopRecord| {
                        record.placed = Some(placed(&desktop));
                        record.phases.clone_from(&phases);
                    };
                    return self.happen(&record.id, record.epoch, Happening::Up, edit).await;
                }
                Try::Failed(failure) => break failure,
                Try::LineBroke(problem) if heard.elapsed() >= OUT_OF_REACH => {
                    break failure_at(
                        flight.phase(),
                        "HOST_UNREACHABLE",
                        format!("The host does not answer: {problem}"),
                    );
                }
                Try::LineBroke(problem) => {
                    tracing::info!(
                        problem,
                        "the line to the host broke during a start; joining it again"
                    );
                    sleep(PAUSE).await;
                }
            }
        };
        self.inner.setbacks.failed(&record.host);
        match self.fail(record, &failure).await {
            // The host's own event may have come first.
            Err(DesktopError::Illegal { .. }) => {
                let stored = self
                    .find(&record.id)
                    .await?
                    .filter(|stored| stored.record.epoch == record.epoch);
                stored
                    .map(|stored| stored.record)
                    .ok_or_else(|| DesktopError::Unknown(record.id.clone()))
            }
            other => other,
        }
    }

    async fn try_host(
        &self,
        flight: &Flight,
        user: &UserRecord,
        record: &DesktopRecord,
        heard: &mut Instant,
    ) -> Try {
        // No error means no wait; the deadline of a silent host is the loop's.
        if self.inner.hosts.agent(&record.host).is_err() {
            let left = OUT_OF_REACH.saturating_sub(heard.elapsed());
            if timeout(left, self.inner.hosts.ready(&record.host)).await.is_err() {
                return Try::LineBroke("it is out of reach".to_owned());
            }
        }
        let mut agent = match self.inner.hosts.agent(&record.host) {
            Ok(agent) => agent,
            Err(error) => return Try::LineBroke(error.to_string()),
        };
        let begun = match record.warm_epoch {
            0 => agent.start_desktop(host_request(user, record)).await,
            _ => match agent.assign_desktop(assign_request(user, record)).await {
                // It has ended since: then it is made anew, in its place.
                Err(status) if is_not_warm(&status) => {
                    tracing::info!(problem = status.message(), "a warm desktop is no more");
                    let DesktopRecord { host, number, epoch, .. } = record;
                    if let Err(error) = self.ask_host_to_stop(host, *number, *epoch, None).await {
                        return Try::LineBroke(error.to_string());
                    }
                    agent.start_desktop(host_request(user, record)).await
                }
                begun => begun,
            },
        };
        match begun {
            Ok(response) => listen(flight, response.into_inner(), heard).await,
            Err(status) => refused(flight.phase(), &status),
        }
    }

    fn too_slow(&self, flight: &Flight) -> FailureRecord {
        let seconds = self.inner.deadlines.start_deadline.as_secs();
        let reason = format!("The desktop was not there after {seconds} seconds.");
        failure_at(flight.phase(), "START_TIMEOUT", reason)
    }
}

async fn listen(
    flight: &Flight,
    mut messages: Streaming<StartHostDesktopResponse>,
    heard: &mut Instant,
) -> Try {
    while let Some(message) = messages.next().await {
        *heard = Instant::now();
        match message.map(|response| response.message) {
            Ok(Some(Message::Progress(progress))) => flight.note(progress.phase(), progress.done),
            Ok(Some(Message::Desktop(desktop))) => match desktop.state() {
                v1::DesktopState::Running => return Try::Up(Box::new(desktop)),
                v1::DesktopState::Failed => {
                    return Try::Failed(failure_record(desktop.failure.as_ref()));
                }
                _ => {
                    return Try::Failed(failure_at(
                        flight.phase(),
                        "ENDED_EARLY",
                        "The desktop ended while it was being started.".to_owned(),
                    ));
                }
            },
            Ok(None) => {}
            Err(status) => return refused(flight.phase(), &status),
        }
    }
    Try::LineBroke("it ended the answer too early".to_owned())
}

/// Whether the host refused, or only the line broke.
fn refused(phase: Phase, status: &Status) -> Try {
    let broken = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => true,
        // What tonic makes of a broken transport; agents do not send it.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    };
    if broken {
        return Try::LineBroke(status.message().to_owned());
    }
    Try::Failed(failure_in(status).unwrap_or_else(|| {
        let code = status.get_details_error_info().map(|info| info.reason);
        let code =
            code.filter(|code| !code.is_empty()).unwrap_or_else(|| "HOST_REFUSED".to_owned());
        failure_at(phase, &code, status.message().to_owned())
    }))
}

/// The whole story, if the agent attached it to its error.
fn failure_in(status: &Status) -> Option<FailureRecord> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?;
    let any = details.details.iter().find(|any| any.type_url.ends_with("/rolltop.v1.Failure"))?;
    v1::Failure::decode(any.value.as_slice()).ok().map(|failure| failure_record(Some(&failure)))
}

fn failure_at(phase: Phase, code: &str, reason: String) -> FailureRecord {
    FailureRecord { phase: phase.into(), reason, code: code.to_owned(), output_tail: Vec::new() }
}

/// Whether the host has no such warm desktop to give; an agent of an earlier
/// version does not know what that is.
fn is_not_warm(status: &Status) -> bool {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match status.code() {
        Code::NotFound | Code::Unimplemented => true,
        Code::FailedPrecondition => reason.is_some_and(|reason| reason == "NOT_WARM"),
        _ => false,
    }
}

fn account(user: &UserRecord) -> Account {
    Account { name: user.name.to_string(), uid: user.uid, full_name: user.full_name.clone() }
}

fn assign_request(user: &UserRecord, record: &DesktopRecord) -> AssignHostDesktopRequest {
    AssignHostDesktopRequest {
        request_id: record.request_id.clone(),
        number: record.number,
        epoch: record.epoch,
        warm_epoch: record.warm_epoch,
        label: record.id.to_string(),
        account: Some(account(user)),
        width: record.width,
        height: record.height,
        time_zone: record.time_zone.clone(),
        home: record.home.as_ref().map(home_spec),
    }
}

fn host_request(user: &UserRecord, record: &DesktopRecord) -> StartHostDesktopRequest {
    StartHostDesktopRequest {
        request_id: record.request_id.clone(),
        number: record.number,
        epoch: record.epoch,
        label: record.id.to_string(),
        account: Some(account(user)),
        image: record.image.to_string(),
        overlay: Some(OverlaySpec {
            persistent_name: record.overlay.clone(),
            size_mib: record.overlay_size_mib,
        }),
        limits: Some(record.limits.into()),
        runtime: record.runtime.clone(),
        width: record.width,
        height: record.height,
        time_zone: record.time_zone.clone(),
        home: record.home.as_ref().map(home_spec),
        network: Some(v1::NetworkPolicy { egress: record.egress.clone() }),
        warm: false,
    }
}

fn home_spec(home: &HomeUse) -> v1::HomeSpec {
    use v1::home_spec::Kind;
    let kind = match home.clone() {
        HomeUse::Volume { name, size_mib } => Kind::Volume(v1::HomeVolumeSpec { name, size_mib }),
        HomeUse::Directory { parent, name } => {
            Kind::Directory(v1::HomeDirectorySpec { parent, name })
        }
    };
    v1::HomeSpec { kind: Some(kind) }
}
