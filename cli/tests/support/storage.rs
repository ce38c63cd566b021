//! The storage half of the scripted broker: what it answers depends on the
//! names used.

use std::pin::Pin;

use rolltop_proto::v1::{
    self as api, data_work, export_chunk, import_data_chunk, storage_server::Storage,
};
use sha2::{Digest as _, Sha256};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::broker::{Answer, Scripted, refusal, signed_in};

pub const ARCHIVE: &[u8] = b"all that ada kept";

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Steps = Out<api::DataWork>;

fn sum(bytes: &[u8]) -> api::ExportEnd {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    api::ExportEnd { sha256, bytes: bytes.len() as i64 }
}

fn data(id: &str) -> api::Data {
    api::Data { id: id.into(), user: "ada".into(), host: "host-1".into(), ..Default::default() }
}

/// Progress, then the result.
fn steps(result: api::DataResult) -> Answer<Steps> {
    use data_work::Message;
    let messages = [Message::Progress(api::WorkProgress::default()), Message::Result(result)];
    let steps = messages.map(|message| Ok(api::DataWork { message: Some(message) }));
    Ok(Response::new(Box::pin(tokio_stream::iter(steps))))
}

#[tonic::async_trait]
impl Storage for Scripted {
    type GrowDataStream = Steps;
    type TrimDataStream = Steps;
    type CheckDataStream = Steps;
    type CreateSnapshotStream = Steps;
    type RollBackDataStream = Steps;
    type CloneDataStream = Steps;
    type ExportDataStream = Out<api::ExportChunk>;

    async fn list_data(
        &self,
        request: Request<api::ListDataRequest>,
    ) -> Answer<api::ListDataResponse> {
        signed_in(&request)?;
        Ok(Response::new(api::ListDataResponse { data: vec![data("demo/ada")] }))
    }

    async fn get_data(&self, request: Request<api::GetDataRequest>) -> Answer<api::Data> {
        signed_in(&request)?;
        Ok(Response::new(data(&request.into_inner().data)))
    }

    async fn adopt_data(
        &self,
        request: Request<api::AdoptDataRequest>,
    ) -> Answer<api::AdoptDataResponse> {
        signed_in(&request)?;
        match request.into_inner().host.as_str() {
            "host-1" => {
                let adopted = vec![data("demo-keep/ada")];
                Ok(Response::new(api::AdoptDataResponse { adopted, left: Vec::new() }))
            }
            host => {
                Err(refusal(Code::NotFound, "UNKNOWN_HOST", &format!("there is no host {host}")))
            }
        }
    }

    async fn grow_data(&self, request: Request<api::GrowDataRequest>) -> Answer<Steps> {
        signed_in(&request)?;
        Err(refusal(Code::PermissionDenied, "OPERATORS_ONLY", "this is for operators"))
    }

    async fn trim_data(&self, request: Request<api::TrimDataRequest>) -> Answer<Steps> {
        signed_in(&request)?;
        steps(api::DataResult { trimmed_bytes: 4096, ..Default::default() })
    }

    async fn check_data(&self, request: Request<api::CheckDataRequest>) -> Answer<Steps> {
        signed_in(&request)?;
        let check = api::CheckResult {
            condition: api::VolumeCondition::Damaged.into(),
            output: vec!["bad magic \x1b[31mnumber".into()],
        };
        steps(api::DataResult { check: Some(check), ..Default::default() })
    }

    async fn delete_data(
        &self,
        request: Request<api::DeleteDataRequest>,
    ) -> Answer<api::DeleteDataResponse> {
        signed_in(&request)?;
        let data = request.into_inner().data;
        let message = format!("{data} is in use by desktop {data}; stop that first");
        Err(refusal(Code::FailedPrecondition, "DATA_IN_USE", &message))
    }

    async fn create_snapshot(
        &self,
        request: Request<api::CreateDataSnapshotRequest>,
    ) -> Answer<Steps> {
        signed_in(&request)?;
        let request = request.into_inner();
        assert!(!request.request_id.is_empty(), "a repeated call could not be told");
        let (name, description) = (request.name, request.description);
        let snapshot = api::Snapshot { name, description, ..Default::default() };
        steps(api::DataResult { snapshot: Some(snapshot), ..Default::default() })
    }

    async fn list_snapshots(
        &self,
        request: Request<api::ListDataSnapshotsRequest>,
    ) -> Answer<api::ListDataSnapshotsResponse> {
        signed_in(&request)?;
        Ok(Response::new(api::ListDataSnapshotsResponse::default()))
    }

    async fn delete_snapshot(
        &self,
        request: Request<api::DeleteDataSnapshotRequest>,
    ) -> Answer<api::DeleteDataSnapshotResponse> {
        signed_in(&request)?;
        Ok(Response::new(api::DeleteDataSnapshotResponse {}))
    }

    async fn roll_back_data(&self, request: Request<api::RollBackDataRequest>) -> Answer<Steps> {
        signed_in(&request)?;
        let snapshot = api::Snapshot { name: "auto-1".into(), ..Default::default() };
        steps(api::DataResult { snapshot: Some(snapshot), ..Default::default() })
    }

    async fn clone_data(&self, request: Request<api::CloneDataRequest>) -> Answer<Steps> {
        signed_in(&request)?;
        let to = data(&request.into_inner().to);
        steps(api::DataResult { data: Some(to), ..Default::default() })
    }

    /// "cut/ada" ends in the middle, "torn/ada" has another checksum.
    async fn export_data(
        &self,
        request: Request<api::ExportDataRequest>,
    ) -> Answer<Self::ExportDataStream> {
        use export_chunk::Message;
        signed_in(&request)?;
        let mut messages = vec![Message::Head(api::ExportHead::default())];
        messages.extend(ARCHIVE.chunks(5).map(|chunk| Message::Data(chunk.to_vec())));
        match request.into_inner().data.as_str() {
            "cut/ada" => {}
            "torn/ada" => messages.push(Message::End(sum(b"something else"))),
            _ => messages.push(Message::End(sum(ARCHIVE))),
        }
        let chunks =
            messages.into_iter().map(|message| Ok(api::ExportChunk { message: Some(message) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn import_data(
        &self,
        request: Request<Streaming<api::ImportDataChunk>>,
    ) -> Answer<api::Data> {
        use import_data_chunk::Message;
        signed_in(&request)?;
        let mut chunks = request.into_inner();
        let (mut named, mut bytes) = (String::new(), Vec::new());
        while let Some(chunk) = chunks.message().await? {
            match chunk.message {
                Some(Message::Start(start)) if start.data == "taken/ada" => {
                    let message = "taken/ada is there already; delete it first";
                    return Err(refusal(Code::AlreadyExists, "DATA_EXISTS", message));
                }
                Some(Message::Start(start)) => named = start.data,
                Some(Message::Data(more)) => bytes.extend(more),
                Some(Message::End(end)) => {
                    assert_eq!((&end, bytes.as_slice()), (&sum(&bytes), ARCHIVE));
                    return Ok(Response::new(data(&named)));
                }
                None => {}
            }
        }
        Err(refusal(Code::InvalidArgument, "BAD_STREAM", "the stream is not whole"))
    }
}
