//! The service's calls, each a line or two: who calls, then the call.

use futures_util::{StreamExt as _, stream::BoxStream};
use rolltop_proto::v1::{self, broker_server::Broker};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Api, attempt::On, caller};
use crate::auth::Act;

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
        Ok(Response::new(self.who_am_i_call(&caller).await?))
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Answer<v1::ListPoolsResponse> {
        let caller = self.may_all(&request, Act::ReadPools, request.get_ref().all).await?;
        Ok(Response::new(self.list_pools_call(&caller, request.get_ref()).await?))
    }

    async fn list_desktops(
        &self,
        request: Request<v1::ListDesktopsRequest>,
    ) -> Answer<v1::ListDesktopsResponse> {
        let caller = self.may_all(&request, Act::ReadDesktops, request.get_ref().all).await?;
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
        let caller = self.may_all(&request, Act::ReadDesktops, request.get_ref().all).await?;
        Ok(Response::new(self.watch_desktops_call(caller, request.get_ref().all).boxed()))
    }

    async fn start_desktop(
        &self,
        request: Request<v1::StartDesktopRequest>,
    ) -> Answer<Self::StartDesktopStream> {
        let attempt = self.attempt(&request, Act::StartDesktop, On::Nothing).await?;
        Ok(Response::new(self.start_desktop_call(attempt, request.into_inner()).await?.boxed()))
    }

    async fn stop_desktop(
        &self,
        request: Request<v1::StopDesktopRequest>,
    ) -> Answer<v1::StopDesktopResponse> {
        let asked = request.get_ref();
        let attempt =
            self.attempt(&request, Act::StopDesktop, On::Own("desktop", &asked.desktop)).await?;
        let done = self.stop_desktop_call(attempt.caller(), asked).await;
        attempt.answer(done)
    }

    async fn freeze_desktop(
        &self,
        request: Request<v1::FreezeDesktopRequest>,
    ) -> Answer<v1::Desktop> {
        let desktop = &request.get_ref().desktop;
        let attempt =
            self.attempt(&request, Act::FreezeDesktop, On::Own("desktop", desktop)).await?;
        let done = self.set_frozen_call(attempt.caller(), desktop, true).await;
        attempt.answer(done)
    }

    async fn thaw_desktop(&self, request: Request<v1::ThawDesktopRequest>) -> Answer<v1::Desktop> {
        let desktop = &request.get_ref().desktop;
        let attempt = self.attempt(&request, Act::ThawDesktop, On::Own("desktop", desktop)).await?;
        let done = self.set_frozen_call(attempt.caller(), desktop, false).await;
        attempt.answer(done)
    }

    async fn set_desktop_limits(
        &self,
        request: Request<v1::SetDesktopLimitsRequest>,
    ) -> Answer<v1::Desktop> {
        let asked = request.get_ref();
        let on = On::Own("desktop", &asked.desktop);
        let mut attempt = self.attempt(&request, Act::SetDesktopLimits, on).await?;
        let limits = [
            ("memory_mib", asked.memory_mib),
            ("cpu_millis", asked.cpu_millis),
            ("pids", asked.pids),
        ];
        for (name, value) in limits {
            if let Some(value) = value {
                attempt = attempt.detail(name, value);
            }
        }
        let done = self.set_desktop_limits_call(attempt.caller(), asked).await;
        attempt.answer(done)
    }

    async fn open_connection(
        &self,
        request: Request<v1::OpenConnectionRequest>,
    ) -> Answer<v1::OpenConnectionResponse> {
        let asked = request.get_ref();
        let attempt =
            self.attempt(&request, Act::OpenConnection, On::Own("desktop", &asked.desktop)).await?;
        // The connection itself is noted by the gateway.
        match self.open_connection_call(attempt.caller(), asked).await {
            Ok(answer) => {
                attempt.unnoted();
                Ok(Response::new(answer))
            }
            Err(error) => Err(attempt.refused(error)),
        }
    }

    async fn exec(&self, request: Request<Streaming<v1::ExecRequest>>) -> Answer<Self::ExecStream> {
        let attempt = self.attempt(&request, Act::Exec, On::Nothing).await?;
        Ok(Response::new(self.exec_call(attempt, request.into_inner()).await?.boxed()))
    }

    async fn change_password(
        &self,
        request: Request<v1::ChangePasswordRequest>,
    ) -> Answer<v1::ChangePasswordResponse> {
        let attempt = self
            .attempt(&request, Act::ChangePassword, On::Own("user", &request.get_ref().user))
            .await?;
        let from = caller::address_of(&request)?;
        let asked = request.into_inner();
        let done = self.change_password_call(attempt.caller(), from, asked).await;
        attempt.answer(done)
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Answer<v1::ListHostsResponse> {
        self.may(&request, Act::ReadHosts).await?;
        Ok(Response::new(self.list_hosts_call().await?))
    }

    async fn put_host(&self, request: Request<v1::PutHostRequest>) -> Answer<v1::Host> {
        let asked = request.get_ref();
        let attempt = self.attempt(&request, Act::PutHost, On::Named("host", &asked.name)).await?;
        let attempt = attempt.detail("endpoint", &asked.endpoint);
        let done = self.put_host_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn delete_host(
        &self,
        request: Request<v1::DeleteHostRequest>,
    ) -> Answer<v1::DeleteHostResponse> {
        let asked = request.get_ref();
        let act = if asked.force { Act::ForgetHost } else { Act::DeleteHost };
        let attempt = self.attempt(&request, act, On::Named("host", &asked.name)).await?;
        let done = self.delete_host_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn list_images(
        &self,
        request: Request<v1::ListClusterImagesRequest>,
    ) -> Answer<v1::ListClusterImagesResponse> {
        self.may(&request, Act::ReadImages).await?;
        Ok(Response::new(self.list_images_call()))
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Answer<v1::ListUsersResponse> {
        self.may(&request, Act::ReadUsers).await?;
        Ok(Response::new(self.list_users_call().await?))
    }

    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Answer<v1::User> {
        let asked = request.get_ref();
        let attempt =
            self.attempt(&request, Act::CreateUser, On::Named("user", &asked.name)).await?;
        let attempt = attempt.detail("role", asked.role().as_str_name());
        let done = self.create_user_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Answer<v1::DeleteUserResponse> {
        let attempt = self
            .attempt(&request, Act::DeleteUser, On::Named("user", &request.get_ref().name))
            .await?;
        let done = self.delete_user_call(attempt.caller(), request.into_inner()).await;
        attempt.answer(done)
    }

    async fn put_pool(&self, request: Request<v1::PutPoolRequest>) -> Answer<v1::Pool> {
        let name = request.get_ref().pool.as_ref().map_or("", |pool| pool.name.as_str());
        let attempt = self.attempt(&request, Act::PutPool, On::Named("pool", name)).await?;
        let done = self.put_pool_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn delete_pool(
        &self,
        request: Request<v1::DeletePoolRequest>,
    ) -> Answer<v1::DeletePoolResponse> {
        let attempt = self
            .attempt(&request, Act::DeletePool, On::Named("pool", &request.get_ref().name))
            .await?;
        let done = self.delete_pool_call(request.into_inner()).await;
        attempt.answer(done)
    }
}
