//! Roles, groups and what follows from them.

use std::time::Duration;

use rolltop_proto::v1::{self, Role};
use tonic::{Code, Status};

use crate::support::{House, PASSWORD, User, loop_until, reason_of};

async fn set_role(by: &mut User, name: &str, role: Role) -> Result<v1::User, Status> {
    let request = v1::SetUserRoleRequest { name: name.into(), role: role.into() };
    Ok(by.people.set_user_role(by.ask(request)).await?.into_inner())
}

#[tokio::test]
async fn admins_give_roles_and_one_of_them_is_always_left() {
    let mut house = House::new().await;
    let mut anna = house.promoted("anna", "admin").await;
    let mut olga = house.sign_in("olga").await;
    assert_eq!(
        reason_of(&set_role(&mut olga, "ben", Role::Operator).await.unwrap_err()),
        "ADMINS_ONLY"
    );
    let last = set_role(&mut anna, "anna", Role::User).await.unwrap_err();
    assert_eq!(reason_of(&last), "LAST_ADMIN");
    assert_eq!(set_role(&mut anna, "nobody", Role::User).await.unwrap_err().code(), Code::NotFound);
    let none = set_role(&mut anna, "ben", Role::Unspecified).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);

    // Two admins who demote each other at once do not both succeed.
    set_role(&mut anna, "olga", Role::Admin).await.unwrap();
    let mut olga = house.sign_in("olga").await;
    let (one, other) = tokio::join!(
        set_role(&mut anna, "olga", Role::Operator),
        set_role(&mut olga, "anna", Role::Operator),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test]
async fn operators_care_for_users_and_admins_for_everybody() {
    let mut house = House::new().await;
    let mut anna = house.promoted("anna", "admin").await;
    let mut olga = house.sign_in("olga").await;
    let account = |name: &str, role: Role| v1::CreateUserRequest {
        name: name.into(),
        password: PASSWORD.into(),
        role: role.into(),
        ..Default::default()
    };
    for role in [Role::Operator, Role::Admin, Role::Auditor] {
        let refused = olga.client.create_user(olga.ask(account("carl", role))).await.unwrap_err();
        assert_eq!(reason_of(&refused), "ADMINS_ONLY", "who can make one is one");
    }
    olga.client.create_user(olga.ask(account("carl", Role::User))).await.unwrap();
    anna.client.create_user(anna.ask(account("otto", Role::Auditor))).await.unwrap();
    let password = |user: &str| v1::ChangePasswordRequest {
        user: user.into(),
        new_password: "another password".into(),
        ..Default::default()
    };
    let delete = |name: &str| v1::DeleteUserRequest { name: name.into() };
    for name in ["anna", "otto"] {
        let refused = olga.client.change_password(olga.ask(password(name))).await.unwrap_err();
        assert_eq!(reason_of(&refused), "ADMINS_ONLY");
        let refused = olga.client.delete_user(olga.ask(delete(name))).await.unwrap_err();
        assert_eq!(reason_of(&refused), "ADMINS_ONLY");
    }
    olga.client.change_password(olga.ask(password("carl"))).await.unwrap();
    anna.client.change_password(anna.ask(password("olga"))).await.unwrap();
    olga.client.who_am_i(olga.ask(v1::WhoAmIRequest {})).await.unwrap_err();
}

#[tokio::test]
async fn auditors_look_at_everything_and_change_nothing_and_lose_it_at_once() {
    let mut house = House::new().await;
    let mut anna = house.promoted("anna", "admin").await;
    let mut ben = house.sign_in("ben").await;
    let all = v1::ListDesktopsRequest { all: true };
    let watch = v1::WatchDesktopsRequest { all: true };
    ben.client.list_desktops(ben.ask(all)).await.unwrap_err();
    set_role(&mut anna, "ben", Role::Auditor).await.unwrap();
    ben.client.who_am_i(ben.ask(v1::WhoAmIRequest {})).await.unwrap_err();
    let mut ben = house.sign_in("ben").await;
    anna.start("demo").await.unwrap();
    assert_eq!(
        ben.client.list_desktops(ben.ask(all)).await.unwrap().into_inner().desktops.len(),
        1
    );
    ben.client.list_hosts(ben.ask(v1::ListHostsRequest {})).await.unwrap();
    ben.client.list_users(ben.ask(v1::ListUsersRequest {})).await.unwrap();
    ben.audit.list_audit(ben.ask(v1::ListAuditRequest::default())).await.unwrap();
    assert_eq!(reason_of(&ben.stop("demo/anna").await.unwrap_err()), "NOT_YOURS");
    let pool = v1::DeletePoolRequest { name: "demo".into() };
    let refused = ben.client.delete_pool(ben.ask(pool)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");
    let mut watch = ben.client.watch_desktops(ben.ask(watch)).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().user, "anna");
    set_role(&mut anna, "ben", Role::User).await.unwrap();
    assert_eq!(reason_of(&watch.message().await.unwrap_err()), "NOT_SIGNED_IN");
}

#[tokio::test]
async fn a_pool_is_open_to_groups_and_a_change_counts_at_once() {
    let house = House::new().await;
    let (mut olga, mut anna) = (house.sign_in("olga").await, house.sign_in("anna").await);
    let pool = v1::Pool {
        name: "staff".into(),
        image: "demo:stable".into(),
        overlay_size_mib: 128,
        groups: vec!["staff".into()],
        ..Default::default()
    };
    let put = v1::PutPoolRequest { pool: Some(pool) };
    let unknown = olga.client.put_pool(olga.ask(put.clone())).await.unwrap_err();
    assert_eq!(reason_of(&unknown), "UNKNOWN_GROUP");
    let group = v1::CreateGroupRequest { name: "staff".into(), description: "x".into() };
    anna.people.create_group(anna.ask(group.clone())).await.unwrap_err();
    olga.people.create_group(olga.ask(group.clone())).await.unwrap();
    let again = olga.people.create_group(olga.ask(group.clone())).await.unwrap_err();
    assert_eq!(reason_of(&again), "GROUP_EXISTS");
    olga.client.put_pool(olga.ask(put)).await.unwrap();

    let refused = anna.start("staff").await.unwrap_err();
    assert_eq!(reason_of(&refused), "NOT_ENTITLED");
    let member = |user: &str| v1::AddGroupMemberRequest { name: "staff".into(), user: user.into() };
    let nobody = olga.people.add_group_member(olga.ask(member("nobody"))).await.unwrap_err();
    assert_eq!(reason_of(&nobody), "UNKNOWN_USER");
    for user in ["anna", "ben", "anna"] {
        olga.people.add_group_member(olga.ask(member(user))).await.unwrap();
    }
    anna.start("staff").await.unwrap();
    let me = anna.client.who_am_i(anna.ask(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert_eq!(me.groups, ["staff"]);
    let list = v1::ListGroupMembersRequest { name: "staff".into() };
    let members =
        olga.people.list_group_members(olga.ask(list.clone())).await.unwrap().into_inner();
    let members: Vec<_> = members.members.iter().map(|member| member.user.as_str()).collect();
    assert_eq!(members, ["anna", "ben"]);

    anna.stop("staff").await.unwrap();
    let remove = v1::RemoveGroupMemberRequest { name: "staff".into(), user: "anna".into() };
    olga.people.remove_group_member(olga.ask(remove)).await.unwrap();
    assert_eq!(reason_of(&anna.start("staff").await.unwrap_err()), "NOT_ENTITLED");
    let pools = anna.client.list_pools(anna.ask(v1::ListPoolsRequest { all: false })).await;
    assert!(pools.unwrap().into_inner().pools.iter().all(|pool| pool.name != "staff"));

    // An account made anew under the name is somebody else.
    let delete = v1::DeleteUserRequest { name: "ben".into() };
    olga.client.delete_user(olga.ask(delete)).await.unwrap();
    let members = olga.people.list_group_members(olga.ask(list)).await.unwrap().into_inner();
    assert_eq!(members.members, []);
    let groups = olga.people.list_groups(olga.ask(v1::ListGroupsRequest {})).await.unwrap();
    assert_eq!(groups.into_inner().groups[0].members, 0);

    let delete = v1::DeleteGroupRequest { name: "staff".into() };
    let used = olga.people.delete_group(olga.ask(delete.clone())).await.unwrap_err();
    assert_eq!(reason_of(&used), "GROUP_IN_USE");
    let pool = v1::DeletePoolRequest { name: "staff".into() };
    olga.client.delete_pool(olga.ask(pool)).await.unwrap();
    olga.people.add_group_member(olga.ask(member("anna"))).await.unwrap();
    olga.people.delete_group(olga.ask(delete)).await.unwrap();
    olga.people.create_group(olga.ask(group)).await.unwrap();
    let me = anna.client.who_am_i(anna.ask(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert!(me.groups.is_empty(), "a group made anew has nobody in it");
}

async fn token(
    user: &mut User,
    scopes: &[&str],
    life_s: i64,
) -> Result<v1::CreateTokenResponse, Status> {
    let request = v1::CreateTokenRequest {
        name: "a program".into(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        life: Some(prost_types::Duration { seconds: life_s, nanos: 0 }),
    };
    Ok(user.people.create_token(user.ask(request)).await?.into_inner())
}

fn with(user: &User, made: &v1::CreateTokenResponse) -> User {
    User { token: made.text.clone(), ..user.clone() }
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_no_more_than_its_user() {
    let house = House::new().await;
    let (mut anna, mut olga) = (house.sign_in("anna").await, house.sign_in("olga").await);
    let read = token(&mut olga, &["read"], 3600).await.unwrap();
    let mut reader = with(&olga, &read);
    reader.client.list_hosts(reader.ask(v1::ListHostsRequest {})).await.unwrap();
    assert_eq!(reason_of(&reader.start("demo").await.unwrap_err()), "TOKEN_SCOPE");
    let label = v1::SetHostLabelsRequest { name: "h1".into(), ..Default::default() };
    let refused = reader.hosts.set_host_labels(reader.ask(label.clone())).await.unwrap_err();
    assert_eq!(reason_of(&refused), "TOKEN_SCOPE");

    let desktops = token(&mut olga, &["read", "desktops"], 3600).await.unwrap();
    let mut starter = with(&olga, &desktops);
    starter.start("demo").await.unwrap();
    starter.ticket("demo").await.unwrap();
    starter.stop("demo").await.unwrap();
    anna.start("demo").await.unwrap();
    assert_eq!(reason_of(&starter.stop("demo/anna").await.unwrap_err()), "TOKEN_SCOPE");

    let operate = token(&mut olga, &["operate"], 3600).await.unwrap();
    let mut operator = with(&olga, &operate);
    operator.hosts.set_host_labels(operator.ask(label.clone())).await.unwrap();
    operator.stop("demo/anna").await.unwrap();
    let user = v1::CreateUserRequest {
        name: "carl".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let refused = operator.client.create_user(operator.ask(user)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "TOKEN_SCOPE");

    // Whatever a token says, its user may not.
    let all = token(&mut anna, &["read", "desktops", "operate", "admin"], 3600).await.unwrap();
    let mut program = with(&anna, &all);
    let refused = program.hosts.set_host_labels(program.ask(label)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");
    // And it makes no others and locks nobody out.
    assert_eq!(reason_of(&token(&mut program, &["read"], 60).await.unwrap_err()), "SESSION_ONLY");
    let password = v1::ChangePasswordRequest {
        current_password: PASSWORD.into(),
        new_password: "another password".into(),
        ..Default::default()
    };
    let refused = program.client.change_password(program.ask(password)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "SESSION_ONLY");
}

#[tokio::test]
async fn tokens_end_in_time_or_when_they_are_revoked_and_are_kept_as_digests() {
    let mut house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    for (scopes, life) in
        [(&["read"][..], 0), (&["read"], -1), (&["read"], 367 * 86_400), (&[], 60), (&["all"], 60)]
    {
        let refused = token(&mut anna, scopes, life).await.unwrap_err();
        assert_eq!(reason_of(&refused), "BAD_FIELD", "{scopes:?} {life}");
    }
    let made = token(&mut anna, &["read"], 3600).await.unwrap();
    let mut program = with(&anna, &made);
    let watch = v1::WatchDesktopsRequest { all: false };
    let mut watch = program.client.watch_desktops(program.ask(watch)).await.unwrap().into_inner();
    let list = v1::ListTokensRequest::default();
    let tokens = anna.people.list_tokens(anna.ask(list.clone())).await.unwrap().into_inner().tokens;
    assert_eq!(tokens, [made.token.clone().unwrap()]);

    let (mut ben, id) = (house.sign_in("ben").await, tokens[0].id.clone());
    let revoke = v1::RevokeTokenRequest { id: id.clone(), user: "anna".into() };
    let refused = ben.people.revoke_token(ben.ask(revoke)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let revoke = v1::RevokeTokenRequest { id: id.clone(), user: String::new() };
    let unknown = ben.people.revoke_token(ben.ask(revoke.clone())).await.unwrap_err();
    assert_eq!(reason_of(&unknown), "UNKNOWN_TOKEN");
    anna.people.revoke_token(anna.ask(revoke)).await.unwrap();
    assert_eq!(reason_of(&watch.message().await.unwrap_err()), "NOT_SIGNED_IN");
    program.client.who_am_i(program.ask(v1::WhoAmIRequest {})).await.unwrap_err();

    let short = token(&mut anna, &["read"], 60).await.unwrap();
    let mut program = with(&anna, &short);
    program.client.who_am_i(program.ask(v1::WhoAmIRequest {})).await.unwrap();
    house.clock.advance(Duration::from_secs(61));
    program.client.who_am_i(program.ask(v1::WhoAmIRequest {})).await.unwrap_err();

    let noted = v1::ListAuditRequest {
        filter: Some(v1::AuditFilter { object: format!("token:{id}"), ..Default::default() }),
        ..Default::default()
    };
    let mut olga = house.sign_in("olga").await;
    let noted = loop_until("what was noted", async || {
        let page = olga.audit.list_audit(olga.ask(noted.clone())).await.unwrap().into_inner();
        (page.entries.len() == 4).then_some(page.entries)
    })
    .await;
    assert!(!format!("{noted:?}").contains(&made.text));
    house.stop_broker().await;
    let store = std::fs::read(house.dir.path().join("state/store.redb")).unwrap();
    let secret = made.text.trim_start_matches("rtk_").as_bytes();
    assert!(!store.windows(secret.len()).any(|bytes| bytes == secret));
}
