//! Signing in and out, and accounts.

use std::collections::BTreeSet;

use rolltop_proto::v1;
use tonic::{Request, Response, metadata::AsciiMetadataValue};

use super::{Api, RpcError, caller, convert};
use crate::{
    audit::{Entry, Outcome, Who},
    auth::{AccountError, Act, Caller, NewAccount, Password, Shown, SignedIn},
    cookie,
    names::{BadField, UserName},
    state::{Role, Source, UserRecord},
};

/// Longest password a call may present, bytes; longer ones are wrong anyway.
const MAX_PRESENTED: usize = 4096;

impl Api {
    pub(super) async fn sign_in_call(
        &self,
        request: Request<v1::SignInRequest>,
    ) -> Result<Response<v1::SignInResponse>, RpcError> {
        let from = caller::address_of(&request)?;
        let v1::SignInRequest { name, mut password, code } = request.into_inner();
        if password.len() > MAX_PRESENTED {
            password.clear();
        }
        let who = Who::stranger(from).named(&name);
        let note = |outcome| Entry::new(Act::SignIn, &who, outcome);
        let (user, shown) = match self.accounts.check_both(&name, password, &code, from).await {
            Ok(user) => user,
            // Half-way: the code comes with the next call.
            Err(error @ AccountError::CodeWanted) => return Err(error.into()),
            Err(error) => {
                let faulty = matches!(
                    error,
                    AccountError::Store(_)
                        | AccountError::Password(_)
                        | AccountError::Second(_)
                        | AccountError::Directory(_)
                );
                let outcome = if faulty { Outcome::Failed } else { Outcome::Refused };
                self.audit.note(note(outcome).because(&error));
                return Err(error.into());
            }
        };
        let opened = self.sessions.open(&user).await?;
        let entry = note(Outcome::Ok);
        self.audit.note(match shown {
            None => entry.detail("with", "password"),
            Some(Shown::Code) => entry.detail("with", "password and code"),
            Some(Shown::Recovery(left)) => {
                entry.detail("with", "password and recovery code").detail("left", left)
            }
        });
        let cookie = cookie::session(&opened.token, self.clock.now(), opened.expires_at);
        let mut response = Response::new(signed_in(&user, &opened));
        set_cookie(&mut response, &cookie);
        Ok(response)
    }

    /// Signing out twice is no fault, and clears the cookie again.
    pub(super) async fn sign_out_call(
        &self,
        request: Request<v1::SignOutRequest>,
    ) -> Result<Response<v1::SignOutResponse>, RpcError> {
        let from = caller::address_of(&request)?;
        let mut continue_at = None;
        match caller::identify(self, &request).await {
            Ok(caller) => {
                // A token is revoked, not signed out.
                let session = caller.session().ok_or(RpcError::SessionOnly)?;
                self.sessions.end(session).await?;
                let who = Who { via: caller.via(), ..Who::stranger(from) };
                let who = who.named(caller.name().as_str());
                self.audit.note(Entry::new(Act::SignOut, &who, Outcome::Ok));
                if let (Source::Oidc, Some(provider)) = (caller.user.source, &self.provider) {
                    continue_at = provider.farewell().await;
                }
            }
            Err(RpcError::NotSignedIn) => {}
            Err(other) => return Err(other),
        }
        let mut response =
            Response::new(v1::SignOutResponse { continue_at: continue_at.unwrap_or_default() });
        set_cookie(&mut response, &cookie::no_session());
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
        let right = caller.check(Act::ChangePassword, own);
        right.map_err(|lack| RpcError::lacking(Act::ChangePassword, lack))?;
        if !own {
            self.manageable(caller, &user).await?;
        }
        let new = Password::chosen("new_password", new_password)?;
        let current = own.then_some((current_password, from));
        self.accounts.set_password(&user, current, new).await?;
        // Whoever had the old password is out; the caller stays in.
        self.sessions.end_others(&user, caller.session().filter(|_| own)).await?;
        Ok(v1::ChangePasswordResponse {})
    }

    pub(super) async fn list_users_call(&self) -> Result<v1::ListUsersResponse, RpcError> {
        let users = self.accounts.list().await?;
        let groups = self.groups.of_all().await?;
        let seconds = self.seconds.of_all().await?;
        let none = BTreeSet::new();
        let shown = |user: &UserRecord| v1::User {
            second_factor: seconds.get(&user.name) == Some(&user.uid),
            ..convert::user_in(user, groups.get(&user.name).unwrap_or(&none))
        };
        Ok(v1::ListUsersResponse { users: users.iter().map(shown).collect() })
    }

    pub(super) async fn who_am_i_call(&self, caller: &Caller) -> Result<v1::User, RpcError> {
        let user = convert::user_in(&caller.user, &self.groups.of(&caller.user).await?);
        Ok(v1::User { second_factor: self.seconds.is_required(&caller.user).await?, ..user })
    }

    pub(super) async fn create_user_call(
        &self,
        caller: &Caller,
        request: v1::CreateUserRequest,
    ) -> Result<v1::User, RpcError> {
        let role = parse_role("role", request.role, Some(Role::User))?;
        may_manage(caller, role)?;
        let v1::CreateUserRequest { name, full_name, password, .. } = request;
        let name = UserName::parse("name", &name)?;
        let password = Password::chosen("password", password)?;
        let user = self.accounts.create(NewAccount { name, full_name, role, password }).await?;
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
        self.manageable(caller, &name).await?;
        self.accounts.delete(&name).await?;
        self.seconds.remove(&name).await?;
        self.groups.forget(&name).await?;
        self.tokens.forget(&name).await?;
        self.sessions.end_others(&name, None).await?;
        Ok(v1::DeleteUserResponse {})
    }
}

impl Api {
    /// The account of another, if the caller may change it.
    pub(super) async fn manageable(
        &self,
        caller: &Caller,
        name: &UserName,
    ) -> Result<UserRecord, RpcError> {
        let user = self.accounts.find(name).await?;
        let user = user.ok_or_else(|| AccountError::Unknown(name.clone()))?.record;
        may_manage(caller, user.role)?;
        Ok(user)
    }
}

/// Accounts of users are the operators' care; who could make an operator would
/// be one.
fn may_manage(caller: &Caller, role: Role) -> Result<(), RpcError> {
    match role {
        Role::User => Ok(()),
        Role::Auditor | Role::Operator | Role::Admin => {
            let right = caller.check(Act::SetRole, false);
            right.map_err(|lack| RpcError::lacking(Act::SetRole, lack))
        }
    }
}

/// `usual`: if none is given.
pub(super) fn parse_role(
    field: &'static str,
    number: i32,
    usual: Option<Role>,
) -> Result<Role, BadField> {
    let wanted = "ROLE_USER, ROLE_AUDITOR, ROLE_OPERATOR or ROLE_ADMIN";
    match v1::Role::try_from(number) {
        Ok(v1::Role::User) => Ok(Role::User),
        Ok(v1::Role::Auditor) => Ok(Role::Auditor),
        Ok(v1::Role::Operator) => Ok(Role::Operator),
        Ok(v1::Role::Admin) => Ok(Role::Admin),
        Ok(v1::Role::Unspecified) => usual.ok_or_else(|| BadField::new(field, "no role", wanted)),
        Err(_) => Err(BadField::new(field, &number.to_string(), wanted)),
    }
}

/// What somebody gets who has signed in.
pub(super) fn signed_in(user: &UserRecord, opened: &SignedIn) -> v1::SignInResponse {
    v1::SignInResponse {
        token: opened.token.expose().to_owned(),
        expires_at: convert::stamp(opened.expires_at),
        user: Some(convert::user(user)),
    }
}

fn set_cookie<T>(response: &mut Response<T>, cookie: &str) {
    // Tokens are base64url: always ASCII.
    if let Ok(value) = AsciiMetadataValue::try_from(cookie) {
        response.metadata_mut().insert("set-cookie", value);
    }
}
