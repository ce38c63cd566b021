//! Signing in and out, and accounts.

use rolltop_proto::v1;
use tonic::{Request, Response, metadata::AsciiMetadataValue};

use super::{Api, RpcError, caller, convert};
use crate::{
    auth::{AccountError, Caller, NewAccount, Password},
    names::{BadField, UserName},
    state::Role,
};

/// Longest password a call may present, bytes; longer ones are wrong anyway.
const MAX_PRESENTED: usize = 4096;

impl Api {
    pub(super) async fn sign_in_call(
        &self,
        request: Request<v1::SignInRequest>,
    ) -> Result<Response<v1::SignInResponse>, RpcError> {
        let from = caller::address_of(&request)?;
        let v1::SignInRequest { name, mut password } = request.into_inner();
        if password.len() > MAX_PRESENTED {
            password.clear();
        }
        let shown = BadField::new("name", &name, "").value;
        let user = match self.accounts.check(&name, password, from).await {
            Ok(user) => user,
            Err(error) => {
                // What the limit turns away can come without limit.
                if matches!(error, AccountError::Refused(_)) {
                    tracing::debug!(target: "audit", act = "sign-in", user = shown, %from,
                        outcome = "turned away", reason = %error);
                } else {
                    tracing::info!(target: "audit", act = "sign-in", user = shown, %from,
                        outcome = "refused", reason = %error);
                }
                return Err(error.into());
            }
        };
        let opened = self.sessions.open(&user).await?;
        tracing::info!(target: "audit", act = "sign-in", user = %user.name, %from, outcome = "ok");
        let cookie = caller::cookie(&opened.token, self.clock.now(), opened.expires_at);
        let mut response = Response::new(v1::SignInResponse {
            token: opened.token.expose().to_owned(),
            expires_at: convert::stamp(opened.expires_at),
            user: Some(convert::user(&user)),
        });
        set_cookie(&mut response, &cookie);
        Ok(response)
    }

    /// Signing out twice is no fault, and clears the cookie again.
    pub(super) async fn sign_out_call(
        &self,
        request: Request<v1::SignOutRequest>,
    ) -> Result<Response<v1::SignOutResponse>, RpcError> {
        match caller::identify(&self.sessions, &request).await {
            Ok(caller) => {
                self.sessions.end(&caller.session).await?;
                tracing::info!(target: "audit", act = "sign-out", user = %caller.name(), outcome = "ok");
            }
            Err(RpcError::NotSignedIn) => {}
            Err(other) => return Err(other),
        }
        let mut response = Response::new(v1::SignOutResponse {});
        set_cookie(&mut response, &caller::no_cookie());
        Ok(response)
    }

    pub(super) async fn change_password_call(
        &self,
        caller: &Caller,
        from: std::net::IpAddr,
        request: v1::ChangePasswordRequest,
    ) -> Result<v1::ChangePasswordResponse, RpcError> {
        let v1::ChangePasswordRequest { user, current_password, new_password } = request;
        let user =
            if user.is_empty() { caller.name().clone() } else { UserName::parse("user", &user)? };
        let own = user == *caller.name();
        if !own && !caller.is_operator() {
            return Err(RpcError::OperatorsOnly);
        }
        let new = Password::chosen("new_password", new_password)?;
        let current = own.then_some((current_password, from));
        self.accounts.set_password(&user, current, new).await?;
        // Whoever had the old password is out; the caller stays in.
        self.sessions.end_others(&user, own.then_some(caller.session.as_str())).await?;
        tracing::info!(target: "audit", act = "change-password", by = %caller.name(), %user, outcome = "ok");
        Ok(v1::ChangePasswordResponse {})
    }

    pub(super) async fn list_users_call(&self) -> Result<v1::ListUsersResponse, RpcError> {
        let users = self.accounts.list().await?;
        Ok(v1::ListUsersResponse { users: users.iter().map(convert::user).collect() })
    }

    pub(super) async fn create_user_call(
        &self,
        caller: &Caller,
        request: v1::CreateUserRequest,
    ) -> Result<v1::User, RpcError> {
        let role = match request.role() {
            v1::Role::Operator => Role::Operator,
            v1::Role::User | v1::Role::Unspecified => Role::User,
        };
        let v1::CreateUserRequest { name, full_name, password, .. } = request;
        let name = UserName::parse("name", &name)?;
        let password = Password::chosen("password", password)?;
        let user = self.accounts.create(NewAccount { name, full_name, role, password }).await?;
        tracing::info!(target: "audit", act = "create-user", by = %caller.name(), user = %user.name, uid = user.uid,
            outcome = "ok");
        Ok(convert::user(&user))
    }

    pub(super) async fn delete_user_call(
        &self,
        caller: &Caller,
        request: v1::DeleteUserRequest,
    ) -> Result<v1::DeleteUserResponse, RpcError> {
        let name = UserName::parse("name", &request.name)?;
        if name == *caller.name() {
            return Err(RpcError::OwnAccount);
        }
        self.accounts.delete(&name).await?;
        self.sessions.end_others(&name, None).await?;
        tracing::info!(target: "audit", act = "delete-user", by = %caller.name(), user = %name, outcome = "ok");
        Ok(v1::DeleteUserResponse {})
    }
}

fn set_cookie<T>(response: &mut Response<T>, cookie: &str) {
    // Tokens are base64url: always ASCII.
    if let Ok(value) = AsciiMetadataValue::try_from(cookie) {
        response.metadata_mut().insert("set-cookie", value);
    }
}
