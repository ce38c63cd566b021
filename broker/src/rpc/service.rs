//! The service's calls, each a line or two: who calls, then the call.

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, broker_server::Broker};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Api, caller};

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Broker for Api {
    type WatchDesktopsStream = BoxStream<'static, Result<v1::Desktop, Status>>;
    type StartDesktopStream = BoxStream<'static, Result<v1::StartDesktopResponse, Status>>;
    type ExecStream = BoxStream<'static, Result<v1::ExecResponse, Status>>;

    async fn sign_in(&self, request: Request<v1::SignInRequest>) -> Answer<v1::SignInResponse> {
        Ok(self.sign_in_call(request).await?)
    }

    async fn sign_out(&self, request: Request<v1::SignOutRequest>) -> Answer<v1::SignOutResponse> {
        Ok(self.sign_out_call(request).await?)
    }

    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::User> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(super::convert::user(&caller.user)))
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Answer<v1::ListPoolsResponse> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.list_pools_call(&caller, request.get_ref()).await?))
    }

    async fn list_desktops(
        &self,
        request: Request<v1::ListDesktopsRequest>,
    ) -> Answer<v1::ListDesktopsResponse> {
        let caller = self.caller(&request).await?;
        let desktops = self.list_desktops_call(&caller, request.get_ref().all).await?;
        Ok(Response::new(v1::ListDesktopsResponse { desktops }))
    }

    async fn get_desktop(&self, request: Request<v1::GetDesktopRequest>) -> Answer<v1::Desktop> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.get_desktop_call(&caller, request.get_ref()).await?))
    }

    async fn watch_desktops(
        &self,
        request: Request<v1::WatchDesktopsRequest>,
    ) -> Answer<Self::WatchDesktopsStream> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.watch_desktops_call(caller, request.get_ref().all)?.boxed()))
    }

    async fn start_desktop(
        &self,
        request: Request<v1::StartDesktopRequest>,
    ) -> Answer<Self::StartDesktopStream> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.start_desktop_call(&caller, request.into_inner()).await?.boxed()))
    }

    async fn stop_desktop(
        &self,
        request: Request<v1::StopDesktopRequest>,
    ) -> Answer<v1::StopDesktopResponse> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.stop_desktop_call(&caller, request.get_ref()).await?))
    }

    async fn open_connection(
        &self,
        request: Request<v1::OpenConnectionRequest>,
    ) -> Answer<v1::OpenConnectionResponse> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.open_connection_call(&caller, request.get_ref()).await?))
    }

    async fn exec(&self, request: Request<Streaming<v1::ExecRequest>>) -> Answer<Self::ExecStream> {
        let caller = self.caller(&request).await?;
        Ok(Response::new(self.exec_call(&caller, request.into_inner()).await?.boxed()))
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Answer<v1::ChangePasswordResponse> {
        let caller = self.caller(&request).await?;
        let from = caller::address_of(&request)?;
        Ok(Response::new(self.change_password_call(&caller, from, request.into_inner()).await?))
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Answer<v1::ListHostsResponse> {
        self.operator(&request).await?;
        Ok(Response::new(self.list_hosts_call().await?))
    }

    async fn put_host(&self, request: Request<v1::PutHostRequest>) -> Answer<v1::Host> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.put_host_call(&caller, request.into_inner()).await?))
    }

    async fn delete_host(
        &self,
        request: Request<v1::DeleteHostRequest>,
    ) -> Answer<v1::DeleteHostResponse> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.delete_host_call(&caller, request.into_inner()).await?))
    }

    async fn list_images(
        &self,
        request: Request<v1::ListClusterImagesRequest>,
    ) -> Answer<v1::ListClusterImagesResponse> {
        self.operator(&request).await?;
        Ok(Response::new(self.list_images_call()))
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Answer<v1::ListUsersResponse> {
        self.operator(&request).await?;
        Ok(Response::new(self.list_users_call().await?))
    }

    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Answer<v1::User> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.create_user_call(&caller, request.into_inner()).await?))
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Answer<v1::DeleteUserResponse> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.delete_user_call(&caller, request.into_inner()).await?))
    }

    async fn put_pool(&self, request: Request<v1::PutPoolRequest>) -> Answer<v1::Pool> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.put_pool_call(&caller, request.into_inner()).await?))
    }

    async fn delete_pool(
        &self,
        request: Request<v1::DeletePoolRequest>,
    ) -> Answer<v1::DeletePoolResponse> {
        let caller = self.operator(&request).await?;
        Ok(Response::new(self.delete_pool_call(&caller, request.into_inner()).await?))
    }
}
