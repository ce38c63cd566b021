//! What is kept for users: whose call it is, what may be asked, and how the
//! answer looks. Users look after their own; what costs a host room, makes
//! data from elsewhere, or is others', is for operators.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt as _, future::join_all, stream};
use rolltop_proto::v1::{self, data_work::Message};
use tonic::{Status, Streaming};

use super::{Api, RpcError, attempt::Attempt};
use crate::{
    auth::{Act, Caller, Lack},
    data::{Adopted, DataError, DataId, Done, Kept, Step, Work},
    names::{BadField, HostName},
};

/// As the API promises of ids that callers choose.
const MAX_REQUEST_ID: usize = 128;
/// Of a snapshot's name; the host looks at the rest.
const MAX_SNAPSHOT_NAME: usize = 128;

/// Of a snapshot's description.
const MAX_DESCRIPTION: usize = 1024;

impl Api {
    pub(super) async fn list_data_call(
        &self,
        caller: &Caller,
        all: bool,
    ) -> Result<v1::ListDataResponse, RpcError> {
        let mut kept = self.data.all().await?;
        kept.retain(|kept| all || kept.id.user() == caller.name());
        kept.sort_by(|a, b| a.id.cmp(&b.id));
        let mut hosts: Vec<&HostName> = kept.iter().map(|kept| &kept.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let asked = hosts.into_iter().map(async |host| (host, self.data.measure_all(host).await));
        let told: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        let mut data = Vec::with_capacity(kept.len());
        for kept in &kept {
            let volume = match told.get(&kept.host) {
                Some(Ok(volumes)) => volumes
                    .iter()
                    .find(|volume| is_of(volume, kept))
                    .cloned()
                    .ok_or_else(|| "the host has not got it".to_owned()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the host was not asked".to_owned()),
            };
            data.push(self.show_data(kept, volume).await?);
        }
        Ok(v1::ListDataResponse { data })
    }

    pub(super) async fn get_data_call(
        &self,
        caller: &Caller,
        data: &str,
    ) -> Result<v1::Data, RpcError> {
        let id = data_of(Act::ReadData, caller, data)?;
        let kept = self.data.find(&id).await?;
        let volume = self.data.measure(&kept).await.map_err(|error| error.to_string());
        self.show_data(&kept, volume).await
    }

    pub(super) async fn adopt_data_call(
        &self,
        host: &str,
    ) -> Result<v1::AdoptDataResponse, RpcError> {
        let host = HostName::parse("host", host)?;
        let Adopted { data, left } = self.data.adopt(&host).await?;
        let mut adopted = Vec::with_capacity(data.len());
        for kept in &data {
            let volume = self.data.measure(kept).await.map_err(|error| error.to_string());
            adopted.push(self.show_data(kept, volume).await?);
        }
        let left = left.into_iter();
        let left = left.map(|(volume, reason)| v1::LeftVolume { volume: Some(volume), reason });
        Ok(v1::AdoptDataResponse { adopted, left: left.collect() })
    }

    /// Long work: its steps, or why it was refused.
    pub(super) fn work_call(
        &self,
        attempt: Attempt,
        act: Act,
        data: &str,
        work: Work,
        request_id: String,
    ) -> Result<impl Stream<Item = Result<v1::DataWork, Status>> + Send + use<>, Status> {
        let id = match data_of(act, attempt.caller(), data) {
            Ok(id) => id,
            Err(error) => return Err(attempt.refused(error)),
        };
        if request_id.len() > MAX_REQUEST_ID {
            let wanted = format!("{MAX_REQUEST_ID} bytes at most");
            return Err(attempt.refused(BadField::new("request_id", &request_id, wanted).into()));
        }
        let attempt = attempt.detail("work", format_args!("{work:?}"));
        attempt.begun();
        let api = self.clone();
        let steps = self.data.work(id, work, attempt.caller().name().clone(), request_id);
        let ending = self.shutdown.clone().cancelled_owned();
        // Without an outcome the caller left; the work may go on.
        let mut attempt = Some(attempt);
        Ok(steps.take_until(ending).then(move |step| {
            let api = api.clone();
            let over = !matches!(step, Ok(Step::Progress(_)));
            let attempt = if over { attempt.take() } else { None };
            async move {
                let answer = match step.map_err(RpcError::from) {
                    Ok(Step::Progress(progress)) => Ok(Message::Progress(progress)),
                    Ok(Step::Done(done)) => api.show_done(*done).await.map(Message::Result),
                    Err(error) => Err(error),
                };
                let message = match attempt {
                    Some(attempt) => attempt.done(answer)?,
                    None => answer?,
                };
                Ok(v1::DataWork { message: Some(message) })
            }
        }))
    }

    pub(super) async fn list_snapshots_call(
        &self,
        caller: &Caller,
        data: &str,
    ) -> Result<v1::ListDataSnapshotsResponse, RpcError> {
        let id = data_of(Act::ReadData, caller, data)?;
        Ok(v1::ListDataSnapshotsResponse { snapshots: self.data.snapshots(&id).await? })
    }

    pub(super) async fn delete_snapshot_call(
        &self,
        caller: &Caller,
        request: v1::DeleteDataSnapshotRequest,
    ) -> Result<v1::DeleteDataSnapshotResponse, RpcError> {
        let id = data_of(Act::DeleteSnapshot, caller, &request.data)?;
        let name = snapshot_name("name", request.name)?;
        self.data.delete_snapshot(&id, name, caller.name()).await?;
        Ok(v1::DeleteDataSnapshotResponse {})
    }

    pub(super) async fn delete_data_call(
        &self,
        caller: &Caller,
        data: &str,
    ) -> Result<v1::DeleteDataResponse, RpcError> {
        let id = data_of(Act::DeleteData, caller, data)?;
        self.data.delete(&id, caller.name()).await?;
        Ok(v1::DeleteDataResponse {})
    }

    pub(super) fn export_call(
        &self,
        attempt: Attempt,
        request: v1::ExportDataRequest,
    ) -> Result<impl Stream<Item = Result<v1::ExportChunk, Status>> + Send + use<>, Status> {
        let asked = data_of(Act::ExportData, attempt.caller(), &request.data)
            .and_then(|id| Ok((id, snapshot_name("snapshot", request.snapshot)?)));
        let (id, snapshot) = match asked {
            Ok(asked) => asked,
            Err(error) => return Err(attempt.refused(error)),
        };
        attempt.begun();
        let chunks = self.data.export(id, snapshot, attempt.caller().name().clone());
        // It has left the house when the last piece has.
        let state = (chunks.boxed(), Some(attempt));
        Ok(stream::unfold(state, |(mut chunks, mut attempt)| async move {
            match (chunks.next().await, attempt.take()) {
                (Some(Ok(chunk)), attempt) => Some((Ok(chunk), (chunks, attempt))),
                (Some(Err(error)), Some(attempt)) => {
                    Some((Err(attempt.refused(error.into())), (chunks, None)))
                }
                (Some(Err(error)), None) => {
                    Some((Err(RpcError::from(error).into()), (chunks, None)))
                }
                (None, Some(attempt)) => {
                    attempt.succeeded();
                    None
                }
                (None, None) => None,
            }
        }))
    }

    pub(super) async fn import_call(
        &self,
        attempt: Attempt,
        mut chunks: Streaming<v1::ImportDataChunk>,
    ) -> Result<v1::Data, Status> {
        use v1::import_data_chunk::Message;
        let first = match chunks.message().await {
            Ok(first) => first.and_then(|first| first.message),
            Err(status) => return Err(attempt.refused(RpcError::Relayed(status))),
        };
        let Some(Message::Start(start)) = first else {
            let wanted = "the first message, saying what to import";
            return Err(attempt.refused(BadField::new("start", "nothing", wanted).into()));
        };
        let attempt = attempt.on_own("data", &start.data);
        attempt.begun();
        let done = self.import_begun(attempt.caller(), start, chunks).await;
        attempt.done(done)
    }

    async fn import_begun(
        &self,
        caller: &Caller,
        start: v1::ImportDataStart,
        chunks: Streaming<v1::ImportDataChunk>,
    ) -> Result<v1::Data, RpcError> {
        let id = data_of(Act::ImportData, caller, &start.data)?;
        let host = match start.host.as_str() {
            "" => None,
            host => Some(HostName::parse("start.host", host)?),
        };
        let (kept, volume) = self.data.import(id, host, chunks, caller.name().clone()).await?;
        self.show_data(&kept, Ok(volume)).await
    }

    async fn show_done(&self, done: Done) -> Result<v1::DataResult, RpcError> {
        let Done { kept, result } = done;
        let volume = result.volume.ok_or_else(|| "the host did not say".to_owned());
        Ok(v1::DataResult {
            data: Some(self.show_data(&kept, volume).await?),
            snapshot: result.snapshot,
            check: result.check,
            trimmed_bytes: result.trimmed_bytes,
        })
    }

    async fn show_data(
        &self,
        kept: &Kept,
        volume: Result<v1::Volume, String>,
    ) -> Result<v1::Data, RpcError> {
        let user = self.data.user_of(kept).await?;
        let (volume, unknown) = match volume {
            Ok(volume) => (Some(volume), String::new()),
            Err(problem) => (None, problem),
        };
        let problem = match (kept.deleting, kept.making) {
            (true, _) => DataError::Deleting(kept.id.clone()).to_string(),
            (_, true) => DataError::Unfinished(kept.id.clone()).to_string(),
            (false, false) => unknown,
        };
        Ok(v1::Data {
            id: kept.id.to_string(),
            kind: kept.id.kind().into(),
            user: kept.id.user().to_string(),
            pool: match &kept.id {
                DataId::Desktop(desktop) => desktop.pool.to_string(),
                DataId::Home(_) => String::new(),
            },
            host: kept.host.to_string(),
            volume,
            problem,
            desktop: user.map(|user| user.to_string()).unwrap_or_default(),
        })
    }
}

/// Data the caller may do this with.
fn data_of(act: Act, caller: &Caller, data: &str) -> Result<DataId, RpcError> {
    let id = DataId::parse("data", data, caller.name())?;
    match caller.check(act, id.user() == caller.name()) {
        Ok(()) => Ok(id),
        Err(Lack::Role) if act.right().owned() => Err(RpcError::NotYourData),
        Err(lack) => Err(RpcError::lacking(act, lack)),
    }
}

/// The target of a clone.
pub(super) fn clone_target(caller: &Caller, to: &str) -> Result<DataId, RpcError> {
    Ok(DataId::parse("to", to, caller.name())?)
}

/// As far as it matters here: hosts have rules of their own.
pub(super) fn snapshot_name(field: &'static str, name: String) -> Result<String, BadField> {
    let fits = name.len() <= MAX_SNAPSHOT_NAME && !name.contains(['/', '\0']);
    let wanted = format!("letters, digits, '.', '_' and '-', {MAX_SNAPSHOT_NAME} bytes at most");
    if fits { Ok(name) } else { Err(BadField::new(field, &name, wanted)) }
}

/// For people; it goes to the host's disk.
pub(super) fn description(text: String) -> Result<String, BadField> {
    if text.len() <= MAX_DESCRIPTION && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let wanted = format!("{MAX_DESCRIPTION} bytes at most, without control characters");
    Err(BadField::new("description", &text, wanted))
}

fn is_of(volume: &v1::Volume, kept: &Kept) -> bool {
    volume.id.as_ref().is_some_and(|id| id.kind() == kept.id.kind() && id.name == kept.volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_a_path_goes_no_further() {
        for name in ["a/b", "../x", "a\0", &"a".repeat(129)] {
            assert!(snapshot_name("name", name.to_owned()).is_err(), "{name:?}");
        }
        assert!(snapshot_name("name", "before-upgrade".into()).is_ok());
    }
}
