//! What is kept for users: whose call it is, what may be asked, and how the
//! answer looks. Users look after their own; what costs a host room, makes
//! data from elsewhere, or is others', is for operators.

use std::collections::BTreeMap;

use futures_util::{Stream, StreamExt as _, future::join_all};
use rolltop_proto::v1::{self, data_work::Message};
use tonic::{Status, Streaming};

use super::{Api, RpcError};
use crate::{
    auth::Caller,
    data::{DataError, DataId, Done, Kept, Step, Work},
    names::{BadField, HostName, UserName},
};

/// As the API promises of ids that callers choose.
const MAX_REQUEST_ID: usize = 128;
/// Of a snapshot's name; the host looks at the rest.
const MAX_SNAPSHOT_NAME: usize = 128;

/// Of a snapshot's description.
const MAX_DESCRIPTION: usize = 1024;

/// Who may.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Whose it is, and operators.
    Owner,
    /// Operators.
    Operator,
}

impl Api {
    pub(super) async fn list_data_call(
        &self,
        caller: &Caller,
        all: bool,
    ) -> Result<v1::ListDataResponse, RpcError> {
        if all && !caller.is_operator() {
            return Err(RpcError::OperatorsOnly);
        }
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
        let id = data_of(caller, data, Right::Owner)?;
        let kept = self.data.find(&id).await?;
        let volume = self.data.measure(&kept).await.map_err(|error| error.to_string());
        self.show_data(&kept, volume).await
    }

    /// Long work: its steps, or why it was refused.
    pub(super) async fn work_call(
        &self,
        caller: &Caller,
        data: &str,
        right: Right,
        work: Work,
        request_id: String,
    ) -> Result<impl Stream<Item = Result<v1::DataWork, Status>> + Send + use<>, RpcError> {
        let id = data_of(caller, data, right)?;
        if request_id.len() > MAX_REQUEST_ID {
            let wanted = format!("{MAX_REQUEST_ID} bytes at most");
            return Err(BadField::new("request_id", &request_id, wanted).into());
        }
        tracing::info!(target: "audit", act = "data-work", by = %caller.name(), data.id = %id, ?work, outcome = "begun");
        let api = self.clone();
        let steps = self.data.work(id, work, caller.name().clone(), request_id);
        let ending = self.shutdown.clone().cancelled_owned();
        Ok(steps.take_until(ending).then(move |step| {
            let api = api.clone();
            async move {
                let message = match step.map_err(RpcError::from)? {
                    Step::Progress(progress) => Message::Progress(progress),
                    Step::Done(done) => Message::Result(api.show_done(*done).await?),
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
        let id = data_of(caller, data, Right::Owner)?;
        Ok(v1::ListDataSnapshotsResponse { snapshots: self.data.snapshots(&id).await? })
    }

    pub(super) async fn delete_snapshot_call(
        &self,
        caller: &Caller,
        request: v1::DeleteDataSnapshotRequest,
    ) -> Result<v1::DeleteDataSnapshotResponse, RpcError> {
        let id = data_of(caller, &request.data, Right::Owner)?;
        let name = snapshot_name("name", request.name)?;
        let done = self.data.delete_snapshot(&id, name, caller.name()).await;
        audit("delete-snapshot", caller, &id, &done);
        done?;
        Ok(v1::DeleteDataSnapshotResponse {})
    }

    pub(super) async fn delete_data_call(
        &self,
        caller: &Caller,
        data: &str,
    ) -> Result<v1::DeleteDataResponse, RpcError> {
        let id = data_of(caller, data, Right::Owner)?;
        let done = self.data.delete(&id, caller.name()).await;
        audit("delete-data", caller, &id, &done);
        done?;
        Ok(v1::DeleteDataResponse {})
    }

    pub(super) fn export_call(
        &self,
        caller: &Caller,
        request: v1::ExportDataRequest,
    ) -> Result<impl Stream<Item = Result<v1::ExportChunk, Status>> + Send + use<>, RpcError> {
        let id = data_of(caller, &request.data, Right::Owner)?;
        let snapshot = snapshot_name("snapshot", request.snapshot)?;
        tracing::info!(target: "audit", act = "export-data", by = %caller.name(), data.id = %id, outcome = "begun");
        let chunks = self.data.export(id, snapshot, caller.name().clone());
        Ok(chunks.map(|chunk| chunk.map_err(|error| RpcError::from(error).into())))
    }

    pub(super) async fn import_call(
        &self,
        caller: &Caller,
        mut chunks: Streaming<v1::ImportDataChunk>,
    ) -> Result<v1::Data, RpcError> {
        use v1::import_data_chunk::Message;
        let first = chunks.message().await.map_err(RpcError::Relayed)?;
        let Some(Message::Start(start)) = first.and_then(|first| first.message) else {
            let wanted = "the first message, saying what to import";
            return Err(BadField::new("start", "nothing", wanted).into());
        };
        let id = data_of(caller, &start.data, Right::Operator)?;
        let host = match start.host.as_str() {
            "" => None,
            host => Some(HostName::parse("start.host", host)?),
        };
        tracing::info!(target: "audit", act = "import-data", by = %caller.name(), data.id = %id, outcome = "begun");
        let done = self.data.import(id.clone(), host, chunks, caller.name().clone()).await;
        audit("import-data", caller, &id, &done);
        let (kept, volume) = done?;
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

/// Data the caller may deal with in this way.
fn data_of(caller: &Caller, data: &str, right: Right) -> Result<DataId, RpcError> {
    let id = DataId::parse("data", data, caller.name())?;
    may(caller.is_operator(), caller.name(), id.user(), right)?;
    Ok(id)
}

fn may(operator: bool, caller: &UserName, owner: &UserName, right: Right) -> Result<(), RpcError> {
    match right {
        _ if operator => Ok(()),
        Right::Owner if caller == owner => Ok(()),
        Right::Owner => Err(RpcError::NotYourData),
        Right::Operator => Err(RpcError::OperatorsOnly),
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

fn audit<T>(act: &str, caller: &Caller, id: &DataId, done: &Result<T, DataError>) {
    let outcome = if done.is_ok() { "ok" } else { "refused" };
    tracing::info!(target: "audit", act, by = %caller.name(), data.id = %id, outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_look_after_their_own_and_operators_after_all() {
        let (anna, ben): (UserName, UserName) = ("anna".parse().unwrap(), "ben".parse().unwrap());
        let allowed = |operator, owner, right| may(operator, &anna, owner, right).is_ok();
        assert!(allowed(false, &anna, Right::Owner));
        assert!(!allowed(false, &ben, Right::Owner));
        assert!(!allowed(false, &anna, Right::Operator));
        assert!(allowed(true, &ben, Right::Owner) && allowed(true, &ben, Right::Operator));
    }

    #[test]
    fn a_name_that_could_be_a_path_goes_no_further() {
        for name in ["a/b", "../x", "a\0", &"a".repeat(129)] {
            assert!(snapshot_name("name", name.to_owned()).is_err(), "{name:?}");
        }
        assert!(snapshot_name("name", "before-upgrade".into()).is_ok());
    }
}
