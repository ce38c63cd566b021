//! More about accounts: roles, groups, tokens, second factors.

use std::{net::IpAddr, time::Duration};

use rolltop_proto::v1::{self, people_server::People};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Api, RpcError,
    accounts::parse_role,
    attempt::{Attempt, On},
    caller, convert,
};
use crate::{
    auth::{Act, Caller, Enrolment, NewToken, Scope, SecondFactors, TokenRecord, USUAL_LIFE},
    names::{BadField, GroupName, UserName},
    state::{GroupRecord, Source},
};

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl People for Api {
    async fn set_user_role(&self, request: Request<v1::SetUserRoleRequest>) -> Answer<v1::User> {
        let asked = request.get_ref();
        let attempt = self.attempt(&request, Act::SetRole, On::Named("user", &asked.name)).await?;
        let attempt = attempt.detail("role", asked.role().as_str_name());
        let done = self.set_user_role_call(asked).await;
        attempt.answer(done)
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Answer<v1::ListGroupsResponse> {
        self.may(&request, Act::ReadGroups).await?;
        let groups = self.groups.list().await.map_err(RpcError::from)?;
        Ok(Response::new(v1::ListGroupsResponse {
            groups: groups.into_iter().map(group).collect(),
        }))
    }

    async fn create_group(&self, request: Request<v1::CreateGroupRequest>) -> Answer<v1::Group> {
        let name = &request.get_ref().name;
        let attempt = self.attempt(&request, Act::CreateGroup, On::Named("group", name)).await?;
        let done = self.create_group_call(request.into_inner()).await;
        attempt.answer(done)
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Answer<v1::DeleteGroupResponse> {
        let name = &request.get_ref().name;
        let attempt = self.attempt(&request, Act::DeleteGroup, On::Named("group", name)).await?;
        let done = async {
            let name = GroupName::parse("name", name)?;
            self.groups.delete(&name).await?;
            Ok(v1::DeleteGroupResponse {})
        };
        attempt.answer(done.await)
    }

    async fn list_group_members(
        &self,
        request: Request<v1::ListGroupMembersRequest>,
    ) -> Answer<v1::ListGroupMembersResponse> {
        self.may(&request, Act::ReadGroups).await?;
        let name = GroupName::parse("name", &request.get_ref().name).map_err(RpcError::from)?;
        let members = self.groups.members(&name).await.map_err(RpcError::from)?;
        let members = members.into_iter().map(|member| v1::GroupMember {
            user: member.user.to_string(),
            since: convert::stamp(member.record.since),
            source: member.record.source.to_string(),
        });
        Ok(Response::new(v1::ListGroupMembersResponse { members: members.collect() }))
    }

    async fn add_group_member(
        &self,
        request: Request<v1::AddGroupMemberRequest>,
    ) -> Answer<v1::AddGroupMemberResponse> {
        let asked = request.get_ref();
        let on = On::Named("group", &asked.name);
        let attempt = self.attempt(&request, Act::AddMember, on).await?;
        let attempt = attempt.detail("user", &asked.user);
        let done = async {
            let (group, user) = member(&asked.name, &asked.user)?;
            self.groups.add(&group, &user, Source::Local).await?;
            Ok(v1::AddGroupMemberResponse {})
        };
        attempt.answer(done.await)
    }

    async fn remove_group_member(
        &self,
        request: Request<v1::RemoveGroupMemberRequest>,
    ) -> Answer<v1::RemoveGroupMemberResponse> {
        let asked = request.get_ref();
        let on = On::Named("group", &asked.name);
        let attempt = self.attempt(&request, Act::RemoveMember, on).await?;
        let attempt = attempt.detail("user", &asked.user);
        let done = async {
            let (group, user) = member(&asked.name, &asked.user)?;
            self.groups.remove(&group, &user).await?;
            Ok(v1::RemoveGroupMemberResponse {})
        };
        attempt.answer(done.await)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        let attempt = self.attempt(&request, Act::CreateToken, On::Nothing).await?;
        let asked = request.get_ref();
        let attempt = attempt.detail("name", &asked.name).detail("scopes", asked.scopes.join(", "));
        match self.create_token_call(attempt.caller(), request.into_inner()).await {
            Ok((text, token)) => {
                attempt.on("token", &token.id).succeeded();
                let token = Some(shown(token));
                Ok(Response::new(v1::CreateTokenResponse { text, token }))
            }
            Err(error) => Err(attempt.refused(error)),
        }
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Answer<v1::ListTokensResponse> {
        let asked = request.get_ref();
        let caller = self.may_all(&request, Act::ReadTokens, asked.all).await?;
        let tokens = self.list_tokens_call(&caller, asked).await?;
        Ok(Response::new(v1::ListTokensResponse {
            tokens: tokens.into_iter().map(shown).collect(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        let asked = request.get_ref();
        let on = On::Named("token", &asked.id);
        let attempt = self.attempt(&request, Act::RevokeToken, on).await?;
        let done = async {
            let user = self.whose(attempt.caller(), &asked.user, Act::RevokeToken)?;
            self.tokens.revoke(&user, &asked.id).await?;
            Ok(v1::RevokeTokenResponse {})
        };
        let done = done.await;
        attempt.detail("user", &asked.user).answer(done)
    }

    async fn begin_totp(
        &self,
        request: Request<v1::BeginTotpRequest>,
    ) -> Answer<v1::BeginTotpResponse> {
        let (attempt, from) = self.second_factor(&request, "begin").await?;
        let password = request.into_inner().current_password;
        let done = async {
            let caller = attempt.caller();
            SecondFactors::may_have(&caller.user)?;
            self.accounts.check_own(caller.name(), password, from).await?;
            let Enrolment { secret, uri } = self.seconds.begin(&caller.user).await?;
            Ok(v1::BeginTotpResponse { secret, uri })
        };
        let done = done.await;
        attempt.answer(done)
    }

    async fn confirm_totp(
        &self,
        request: Request<v1::ConfirmTotpRequest>,
    ) -> Answer<v1::ConfirmTotpResponse> {
        let (attempt, from) = self.second_factor(&request, "confirm").await?;
        let done = async {
            let user = &attempt.caller().user;
            let confirmed = self.seconds.confirm(user, &request.get_ref().code);
            let recovery_codes = self.accounts.guess(&user.name, from, confirmed).await?;
            Ok(v1::ConfirmTotpResponse { recovery_codes })
        };
        let done = done.await;
        attempt.answer(done)
    }

    async fn disable_totp(
        &self,
        request: Request<v1::DisableTotpRequest>,
    ) -> Answer<v1::DisableTotpResponse> {
        let (attempt, from) = self.second_factor(&request, "disable").await?;
        let v1::DisableTotpRequest { current_password, code } = request.into_inner();
        let done = async {
            let user = &attempt.caller().user;
            self.accounts.check_own(&user.name, current_password, from).await?;
            let taken = self.seconds.take(user, &code);
            self.accounts.guess(&user.name, from, taken).await?;
            self.seconds.remove(&user.name).await?;
            Ok(v1::DisableTotpResponse {})
        };
        let done = done.await;
        attempt.answer(done)
    }

    async fn reset_totp(
        &self,
        request: Request<v1::ResetTotpRequest>,
    ) -> Answer<v1::ResetTotpResponse> {
        let name = &request.get_ref().name;
        let attempt = self.attempt(&request, Act::ResetSecond, On::Named("user", name)).await?;
        let done = async {
            let name = UserName::parse("name", name)?;
            self.manageable(attempt.caller(), &name).await?;
            self.seconds.remove(&name).await?;
            self.sessions.end_others(&name, None).await?;
            Ok(v1::ResetTotpResponse {})
        };
        let done = done.await;
        attempt.answer(done)
    }

    async fn unlock_user(
        &self,
        request: Request<v1::UnlockUserRequest>,
    ) -> Answer<v1::UnlockUserResponse> {
        let name = &request.get_ref().name;
        let attempt = self.attempt(&request, Act::UnlockUser, On::Named("user", name)).await?;
        let done = async {
            let name = UserName::parse("name", name)?;
            self.manageable(attempt.caller(), &name).await?;
            Ok(v1::UnlockUserResponse { was_remembered: self.accounts.unlock(&name) })
        };
        let done = done.await;
        attempt.answer(done)
    }
}

impl Api {
    /// The caller's own second factor is to be changed.
    async fn second_factor<T>(
        &self,
        request: &Request<T>,
        what: &str,
    ) -> Result<(Attempt, IpAddr), Status> {
        let attempt = self.attempt(request, Act::SetUpSecond, On::Own("user", "")).await?;
        Ok((attempt.detail("what", what), caller::address_of(request)?))
    }

    async fn create_token_call(
        &self,
        caller: &Caller,
        request: v1::CreateTokenRequest,
    ) -> Result<(String, TokenRecord), RpcError> {
        let scopes: Result<Vec<Scope>, _> =
            request.scopes.iter().map(|scope| scope.parse()).collect();
        let life = match request.life {
            None => USUAL_LIFE,
            Some(life) => Duration::try_from(life).map_err(|_| {
                BadField::new("life", &format!("{life:?}"), "a positive length of time")
            })?,
        };
        let new = NewToken { name: request.name, scopes: scopes?, life };
        Ok(self.tokens.create(&caller.user, new).await?)
    }

    async fn list_tokens_call(
        &self,
        caller: &Caller,
        request: &v1::ListTokensRequest,
    ) -> Result<Vec<TokenRecord>, RpcError> {
        if request.all {
            return Ok(self.tokens.all().await?);
        }
        let user = self.whose(caller, &request.user, Act::ReadTokens)?;
        Ok(self.tokens.of(&user).await?)
    }

    /// Whose it is about, if the caller may.
    fn whose(&self, caller: &Caller, user: &str, act: Act) -> Result<UserName, RpcError> {
        let user = match user {
            "" => caller.name().clone(),
            user => UserName::parse("user", user)?,
        };
        let right = caller.check(act, user == *caller.name());
        right.map_err(|lack| RpcError::lacking(act, lack))?;
        Ok(user)
    }

    async fn create_group_call(
        &self,
        request: v1::CreateGroupRequest,
    ) -> Result<v1::Group, RpcError> {
        let name = GroupName::parse("name", &request.name)?;
        Ok(group(self.groups.create(name, request.description).await?))
    }

    async fn set_user_role_call(
        &self,
        request: &v1::SetUserRoleRequest,
    ) -> Result<v1::User, RpcError> {
        let name = UserName::parse("name", &request.name)?;
        let role = parse_role("role", request.role, None)?;
        let user = self.accounts.set_role(&name, role).await?;
        // Streams that were opened with more rights end.
        self.sessions.end_others(&name, None).await?;
        Ok(convert::user(&user))
    }
}

fn member(group: &str, user: &str) -> Result<(GroupName, UserName), BadField> {
    Ok((GroupName::parse("name", group)?, UserName::parse("user", user)?))
}

fn group(record: GroupRecord) -> v1::Group {
    v1::Group {
        name: record.name.to_string(),
        description: record.description,
        created_at: convert::stamp(record.created_at),
        members: record.members,
    }
}

fn shown(token: TokenRecord) -> v1::Token {
    v1::Token {
        id: token.id,
        name: token.name,
        user: token.user.to_string(),
        scopes: token.scopes.iter().map(ToString::to_string).collect(),
        created_at: convert::stamp(token.created_at),
        expires_at: convert::stamp(token.expires_at),
    }
}
