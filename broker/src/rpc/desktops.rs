//! Desktops, for those whose they are.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt as _};
use rolltop_proto::v1::{self, start_desktop_response::Message};
use tokio::time::timeout;
use tonic::Status;

use super::{
    Api, RpcError,
    attempt::Attempt,
    convert,
    error::shared_desktop_status,
    pools::{LEAST_CPU_MILLIS, LEAST_MEMORY_MIB, LEAST_PIDS, check_rates, limit},
};
use crate::{
    auth::{Act, Caller, Lack},
    desktops::{DesktopError, NewLimits, StartRequest, Step},
    names::{BadField, DesktopId, PoolName, UserName},
    state::{
        self, DesktopRecord, DesktopState, PoolRecord, Stored, UserRecord, ViewerRecord, keys,
    },
    versions::Next,
};

/// How long a host may take to say how much a desktop uses; without its word
/// the answer is what is known.
const USAGE_DEADLINE: Duration = Duration::from_secs(2);
/// Largest screen X servers take, pixels.
const MAX_SCREEN: u32 = 16_384;
/// Longest name in the time zone database is 32 bytes.
const MAX_TIME_ZONE: usize = 64;
/// As the API promises of ids that callers choose.
const MAX_REQUEST_ID: usize = 128;

impl Api {
    pub(super) async fn list_desktops_call(
        &self,
        caller: &Caller,
        all: bool,
    ) -> Result<Vec<v1::Desktop>, RpcError> {
        let (records, viewers) = if all {
            let all = state::list::<DesktopRecord>(self.store.as_ref(), keys::DESKTOPS).await?;
            (all, self.viewers.all().await?.into_iter().collect())
        } else {
            let own = self.desktops.of(caller.name()).await?;
            let mut viewers = BTreeMap::new();
            for Stored { record, .. } in &own {
                let viewer = self.viewers.of(&record.id).await?;
                viewers.extend(viewer.map(|viewer| (record.id.clone(), viewer)));
            }
            (own, viewers)
        };
        let shown = records.iter().map(|stored| &stored.record);
        let shown = shown.filter(|record| record.state != DesktopState::Gone);
        Ok(shown.map(|record| self.show(record, viewers.get(&record.id))).collect())
    }

    pub(super) async fn get_desktop_call(
        &self,
        caller: &Caller,
        request: &v1::GetDesktopRequest,
    ) -> Result<v1::Desktop, RpcError> {
        let id = own_or(Act::ReadDesktops, caller, &request.desktop)?;
        let record =
            self.desktops.find(&id).await?.ok_or_else(|| DesktopError::Unknown(id.clone()))?.record;
        let viewer = self.viewers.of(&id).await?;
        let told = self.ask_host(&record).await.or_else(|| self.told(&record));
        Ok(self.shown(&record, told.as_ref(), viewer.as_ref()))
    }

    /// Ends with the desktop, whether it runs or FAILED: then its `failure`
    /// says why, with the last lines of the session. An error status means
    /// that there is no desktop to speak of.
    pub(super) async fn start_desktop_call(
        &self,
        attempt: Attempt,
        request: v1::StartDesktopRequest,
    ) -> Result<impl Stream<Item = Result<v1::StartDesktopResponse, Status>> + Send + use<>, Status>
    {
        let attempt = match request.user.as_str() {
            "" => attempt.on_own("desktop", &request.pool),
            user => attempt.on("desktop", format_args!("{}/{user}", request.pool)),
        };
        let request = match self.start_request(attempt.caller(), request).await {
            Ok(request) => request,
            Err(error) => return Err(attempt.refused(error)),
        };
        // Without an outcome the caller left; the start goes on.
        let mut attempt = Some(attempt);
        let api = self.clone();
        let steps = self.desktops.start(request).follow();
        Ok(steps.map(move |step| match step {
            Step::Progress(progress) => Ok(answer(Message::Progress(progress))),
            Step::Done(outcome) => {
                let attempt = attempt.take();
                match outcome.as_ref() {
                    Ok(record) => {
                        if let Some(attempt) = attempt {
                            note_start(attempt, record);
                        }
                        Ok(answer(Message::Desktop(api.show(record, None))))
                    }
                    Err(error) => {
                        let status = shared_desktop_status(error);
                        Err(match attempt {
                            Some(attempt) => attempt.refused(RpcError::Relayed(status)),
                            None => status,
                        })
                    }
                }
            }
        }))
    }

    pub(super) async fn stop_desktop_call(
        &self,
        caller: &Caller,
        request: &v1::StopDesktopRequest,
    ) -> Result<v1::StopDesktopResponse, RpcError> {
        let id = own_or(Act::StopDesktop, caller, &request.desktop)?;
        let record = self.desktops.stop(&id).await?;
        Ok(v1::StopDesktopResponse { desktop: Some(self.show(&record, None)) })
    }

    pub(super) async fn set_frozen_call(
        &self,
        caller: &Caller,
        desktop: &str,
        frozen: bool,
    ) -> Result<v1::Desktop, RpcError> {
        let id = DesktopId::parse(desktop, caller.name())?;
        let (record, told) = self.desktops.set_frozen(&id, frozen).await?;
        Ok(self.shown(&record, Some(&told), self.viewers.of(&id).await?.as_ref()))
    }

    pub(super) async fn set_desktop_limits_call(
        &self,
        caller: &Caller,
        request: &v1::SetDesktopLimitsRequest,
    ) -> Result<v1::Desktop, RpcError> {
        let id = DesktopId::parse(&request.desktop, caller.name())?;
        let checked = |field, value: Option<i64>, least| {
            value.map(|value| limit(field, value, least)).transpose()
        };
        let rates = v1::Limits {
            network_down_bits: request.network_down_bits.unwrap_or_default(),
            network_up_bits: request.network_up_bits.unwrap_or_default(),
            disk_read_bytes: request.disk_read_bytes.unwrap_or_default(),
            disk_write_bytes: request.disk_write_bytes.unwrap_or_default(),
            disk_ops: request.disk_ops.unwrap_or_default(),
            ..v1::Limits::default()
        };
        check_rates(&rates, |field| field.strip_prefix("pool.limits.").unwrap_or(field))?;
        let new = NewLimits {
            memory_mib: checked("memory_mib", request.memory_mib, LEAST_MEMORY_MIB)?,
            cpu_millis: checked("cpu_millis", request.cpu_millis, LEAST_CPU_MILLIS)?,
            pids: checked("pids", request.pids, LEAST_PIDS)?,
            network_down_bits: request.network_down_bits,
            network_up_bits: request.network_up_bits,
            disk_read_bytes: request.disk_read_bytes,
            disk_write_bytes: request.disk_write_bytes,
            disk_ops: request.disk_ops,
        };
        if new == NewLimits::default() {
            let wanted = "memory_mib, cpu_millis, pids or a rate with it";
            return Err(BadField::new("desktop", &request.desktop, wanted).into());
        }
        let (record, told) = self.desktops.set_limits(&id, new).await?;
        Ok(self.shown(&record, Some(&told), self.viewers.of(&id).await?.as_ref()))
    }

    /// Only one's own: what is on a screen is its user's, operator or not.
    pub(super) async fn open_connection_call(
        &self,
        caller: &Caller,
        request: &v1::OpenConnectionRequest,
    ) -> Result<v1::OpenConnectionResponse, RpcError> {
        let id = DesktopId::parse(&request.desktop, caller.name())?;
        if id.user != *caller.name() {
            return Err(RpcError::NotYours);
        }
        let record = self.desktops.running(&id).await?;
        let ticket = self.tickets.issue(&id, record.epoch, caller.name()).await?;
        Ok(v1::OpenConnectionResponse {
            ticket: ticket.secret.expose().to_owned(),
            expires_at: convert::stamp(ticket.expires_at),
            path: format!("/gateway?ticket={}", ticket.secret.expose()),
            protocol: convert::display(record.placed.unwrap_or_default().display).into(),
        })
    }

    /// As it is known here, without asking its host.
    pub(super) fn show(
        &self,
        record: &DesktopRecord,
        viewer: Option<&ViewerRecord>,
    ) -> v1::Desktop {
        self.shown(record, self.told(record).as_ref(), viewer)
    }

    fn shown(
        &self,
        record: &DesktopRecord,
        told: Option<&v1::HostDesktop>,
        viewer: Option<&ViewerRecord>,
    ) -> v1::Desktop {
        let Next { behind, version: next_version } = self.versions.next_of(record);
        v1::Desktop { behind, next_version, ..convert::desktop(record, told, viewer) }
    }

    fn told(&self, record: &DesktopRecord) -> Option<v1::HostDesktop> {
        self.hosts.seen_desktop(&record.host, record.number)
    }

    async fn ask_host(&self, record: &DesktopRecord) -> Option<v1::HostDesktop> {
        let mut agent =
            self.hosts.agent(&record.host).ok().filter(|_| record.state.holds_capacity())?;
        let call = agent.get_desktop(v1::GetHostDesktopRequest { number: record.number });
        timeout(USAGE_DEADLINE, call).await.ok()?.ok().map(tonic::Response::into_inner)
    }

    async fn start_request(
        &self,
        caller: &Caller,
        request: v1::StartDesktopRequest,
    ) -> Result<StartRequest, RpcError> {
        let pool = PoolName::parse("pool", &request.pool)?;
        if request.request_id.len() > MAX_REQUEST_ID {
            return Err(BadField::new(
                "request_id",
                &request.request_id,
                format!("{MAX_REQUEST_ID} bytes at most"),
            )
            .into());
        }
        let user = self.user_of(caller, &request.user).await?;
        let key = keys::pool(&pool);
        let record = state::read::<PoolRecord>(self.store.as_ref(), &key).await?;
        let record = record.ok_or_else(|| DesktopError::UnknownPool(pool.clone()))?.record;
        if !record.admits(&user.name, &self.groups.of(&user).await?) {
            return Err(DesktopError::NotEntitled { pool, user: user.name }.into());
        }
        Ok(StartRequest {
            user,
            pool,
            width: screen("width", request.width)?,
            height: screen("height", request.height)?,
            time_zone: time_zone(request.time_zone)?,
        })
    }

    async fn user_of(&self, caller: &Caller, name: &str) -> Result<UserRecord, RpcError> {
        if name.is_empty() || name == caller.name().as_str() {
            let own = caller.check(Act::StartDesktop, true);
            own.map_err(|lack| RpcError::lacking(Act::StartDesktop, lack))?;
            return Ok(caller.user.clone());
        }
        let name = UserName::parse("user", name)?;
        let others = caller.check(Act::StartDesktop, false);
        others.map_err(|lack| RpcError::lacking(Act::StartDesktop, lack))?;
        let found = self.accounts.find(&name).await?;
        Ok(found.ok_or(DesktopError::UnknownUser(name))?.record)
    }
}

/// A desktop the caller may do this with.
pub(super) fn own_or(act: Act, caller: &Caller, desktop: &str) -> Result<DesktopId, RpcError> {
    let id = DesktopId::parse(desktop, caller.name())?;
    match caller.check(act, id.user == *caller.name()) {
        Ok(()) => Ok(id),
        Err(Lack::Role) if act.right().owned() => Err(RpcError::NotYours),
        Err(lack) => Err(RpcError::lacking(act, lack)),
    }
}

/// A desktop that did not come up is a start that failed.
fn note_start(attempt: Attempt, record: &DesktopRecord) {
    let attempt = attempt.detail("host", &record.host).detail("number", record.number);
    match &record.failure {
        None => attempt.succeeded(),
        Some(failure) => attempt.failed(&failure.code, &failure.reason),
    }
}

fn answer(message: Message) -> v1::StartDesktopResponse {
    v1::StartDesktopResponse { message: Some(message) }
}

fn screen(field: &'static str, pixels: u32) -> Result<u32, BadField> {
    match pixels {
        0 | 200..=MAX_SCREEN => Ok(pixels),
        _ => Err(BadField::new(
            field,
            &pixels.to_string(),
            format!("0 for the default, or 200 to {MAX_SCREEN}"),
        )),
    }
}

/// It becomes an environment variable, and part of a path in the desktop.
fn time_zone(text: String) -> Result<String, BadField> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    if text.len() <= MAX_TIME_ZONE && text.bytes().all(allowed) && !text.starts_with('/') {
        return Ok(text);
    }
    Err(BadField::new("time_zone", &text, "a name such as \"Europe/Madrid\", or nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_time_zones_and_screens_are_refused() {
        for text in ["/etc/passwd", "a b", "../x", "a\0", &"a".repeat(65)] {
            assert!(time_zone(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(time_zone("America/Argentina/Buenos_Aires".into()).is_ok());
        for (pixels, fits) in
            [(0, true), (1, false), (200, true), (16_384, true), (16_385, false), (u32::MAX, false)]
        {
            assert_eq!(screen("width", pixels).is_ok(), fits, "{pixels}");
        }
    }
}
