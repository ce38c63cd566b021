//! The storage service's calls: who calls, what it takes, then the call.

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, storage_server::Storage};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    Api,
    attempt::On,
    storage::{clone_target, description, snapshot_name},
};
use crate::{auth::Act, data::Work};

type Answer<T> = Result<Response<T>, Status>;
type Steps = BoxStream<'static, Result<v1::DataWork, Status>>;

impl Api {
    async fn steps<T>(
        &self,
        request: &Request<T>,
        data: &str,
        act: Act,
        work: Work,
        request_id: &str,
    ) -> Answer<Steps> {
        let attempt = self.attempt(request, act, On::Own("data", data)).await?;
        let steps = self.work_call(attempt, act, data, work, request_id.to_owned())?;
        Ok(Response::new(steps.boxed()))
    }
}

#[async_trait]
impl Storage for Api {
    type GrowDataStream = Steps;
    type TrimDataStream = Steps;
    type CheckDataStream = Steps;
    type CreateSnapshotStream = Steps;
    type RollBackDataStream = Steps;
    type CloneDataStream = Steps;
    type ExportDataStream = BoxStream<'static, Result<v1::ExportChunk, Status>>;

    async fn list_data(
        &self,
        request: Request<v1::ListDataRequest>,
    ) -> Answer<v1::ListDataResponse> {
        let caller = self.may_all(&request, Act::ReadData, request.get_ref().all).await?;
        Ok(Response::new(self.list_data_call(&caller, request.get_ref().all).await?))
    }

    async fn get_data(&self, request: Request<v1::GetDataRequest>) -> Answer<v1::Data> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.get_data_call(&caller, &request.get_ref().data).await?))
    }

    async fn grow_data(&self, request: Request<v1::GrowDataRequest>) -> Answer<Steps> {
        let asked = request.get_ref();
        let work = Work::Grow { size_mib: asked.size_mib };
        self.steps(&request, &asked.data, Act::GrowData, work, "").await
    }

    async fn trim_data(&self, request: Request<v1::TrimDataRequest>) -> Answer<Steps> {
        self.steps(&request, &request.get_ref().data, Act::TrimData, Work::Trim, "").await
    }

    async fn check_data(&self, request: Request<v1::CheckDataRequest>) -> Answer<Steps> {
        self.steps(&request, &request.get_ref().data, Act::CheckData, Work::Check, "").await
    }

    async fn delete_data(
        &self,
        request: Request<v1::DeleteDataRequest>,
    ) -> Answer<v1::DeleteDataResponse> {
        let data = &request.get_ref().data;
        let attempt = self.attempt(&request, Act::DeleteData, On::Own("data", data)).await?;
        let done = self.delete_data_call(attempt.caller(), data).await;
        attempt.answer(done)
    }

    async fn create_snapshot(
        &self,
        request: Request<v1::CreateDataSnapshotRequest>,
    ) -> Answer<Steps> {
        let asked = request.get_ref();
        let name = snapshot_name("name", asked.name.clone()).map_err(super::RpcError::from)?;
        let about = description(asked.description.clone()).map_err(super::RpcError::from)?;
        let work = Work::Snapshot { name, description: about };
        self.steps(&request, &asked.data, Act::SnapshotData, work, &asked.request_id).await
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListDataSnapshotsRequest>,
    ) -> Answer<v1::ListDataSnapshotsResponse> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.list_snapshots_call(&caller, &request.get_ref().data).await?))
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteDataSnapshotRequest>,
    ) -> Answer<v1::DeleteDataSnapshotResponse> {
        let asked = request.get_ref();
        let attempt =
            self.attempt(&request, Act::DeleteSnapshot, On::Own("data", &asked.data)).await?;
        let attempt = attempt.detail("snapshot", &asked.name);
        let done = self.delete_snapshot_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn roll_back_data(&self, request: Request<v1::RollBackDataRequest>) -> Answer<Steps> {
        let asked = request.get_ref();
        let snapshot =
            snapshot_name("snapshot", asked.snapshot.clone()).map_err(super::RpcError::from)?;
        let work = Work::RollBack { snapshot };
        self.steps(&request, &asked.data, Act::RollBackData, work, &asked.request_id).await
    }

    async fn clone_data(&self, request: Request<v1::CloneDataRequest>) -> Answer<Steps> {
        let caller = self.caller(&request).await?;
        let asked = request.get_ref();
        let snapshot =
            snapshot_name("snapshot", asked.snapshot.clone()).map_err(super::RpcError::from)?;
        let work = Work::Clone { snapshot, to: clone_target(&caller, &asked.to)? };
        self.steps(&request, &asked.data, Act::CloneData, work, &asked.request_id).await
    }

    async fn adopt_data(
        &self,
        request: Request<v1::AdoptDataRequest>,
    ) -> Answer<v1::AdoptDataResponse> {
        let host = &request.get_ref().host;
        let attempt = self.attempt(&request, Act::AdoptData, On::Named("host", host)).await?;
        let done = self.adopt_data_call(host).await;
        attempt.answer(done)
    }

    async fn export_data(
        &self,
        request: Request<v1::ExportDataRequest>,
    ) -> Answer<Self::ExportDataStream> {
        let attempt = self
            .attempt(&request, Act::ExportData, On::Own("data", &request.get_ref().data))
            .await?;
        Ok(Response::new(self.export_call(attempt, request.into_inner())?.boxed()))
    }

    async fn import_data(
        &self,
        request: Request<Streaming<v1::ImportDataChunk>>,
    ) -> Answer<v1::Data> {
        let attempt = self.attempt(&request, Act::ImportData, On::Nothing).await?;
        Ok(Response::new(self.import_call(attempt, request.into_inner()).await?))
    }
}
