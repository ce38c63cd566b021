//! Signing in, guessing, cookies, roles.

use rolltop_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Request};

use crate::support::{House, PASSWORD, connect_tls, reason_of};

fn credentials(name: &str, password: &str) -> v1::SignInRequest {
    v1::SignInRequest { name: name.into(), password: password.into(), ..Default::default() }
}

#[tokio::test]
async fn guessing_is_slowed_then_refused_also_for_the_right_password() {
    let house = House::with("[sign_in]\naccount_attempts = 3").await;
    let mut client = house.client().await;
    for name in ["nobody", "anna", "../etc", ""] {
        let wrong = client.sign_in(credentials(name, "wrong password")).await.unwrap_err();
        assert_eq!(
            (wrong.code(), reason_of(&wrong).as_str()),
            (Code::Unauthenticated, "WRONG_CREDENTIALS"),
            "{name}"
        );
        assert_eq!(wrong.message(), "the name or the password is wrong", "who exists is not told");
    }
    client.sign_in(credentials("anna", "wrong again")).await.unwrap_err();
    client.sign_in(credentials("anna", "and again")).await.unwrap_err();
    let locked = client.sign_in(credentials("anna", PASSWORD)).await.unwrap_err();
    assert_eq!(
        (locked.code(), reason_of(&locked).as_str()),
        (Code::ResourceExhausted, "LOCKED_OUT")
    );
    use tonic_types::StatusExt as _;
    assert!(locked.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs() > 60);
    client.sign_in(credentials("ben", PASSWORD)).await.expect("others are not hit");
}

#[tokio::test]
async fn without_a_session_nothing_is_told() {
    let house = House::new().await;
    let mut client = house.client().await;
    let refused = client.who_am_i(v1::WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::Unauthenticated, "NOT_SIGNED_IN")
    );
    let mut anna = house.sign_in("anna").await;
    anna.client.sign_out(anna.ask(v1::SignOutRequest {})).await.unwrap();
    assert_eq!(
        anna.client.who_am_i(anna.ask(v1::WhoAmIRequest {})).await.unwrap_err().code(),
        Code::Unauthenticated
    );

    let mut ben = house.sign_in("ben").await;
    house.clock.advance(std::time::Duration::from_secs(13 * 3600));
    let over = ben.client.who_am_i(ben.ask(v1::WhoAmIRequest {})).await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated, "sessions run out");
}

#[tokio::test]
async fn a_cookie_counts_in_grpc_web_only() {
    let house = House::new().await;
    let mut client = house.client().await;
    let response = client.sign_in(credentials("anna", PASSWORD)).await.unwrap();
    let cookie = response.metadata().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    for part in ["rolltop_session=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let mut request = Request::new(v1::WhoAmIRequest {});
    request.metadata_mut().insert("cookie", pair.parse().unwrap());
    assert_eq!(reason_of(&client.who_am_i(request).await.unwrap_err()), "COOKIE_OUTSIDE_WEB");

    let mut page = connect_tls(&house).await;
    let head = format!(
        "POST /rolltop.v1.Broker/WhoAmI HTTP/1.1\r\nHost: localhost\r\nCookie: {pair}\r\nConnection: close\r\n\
         Content-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n\r\n"
    );
    page.write_all(head.as_bytes()).await.unwrap();
    page.write_all(&[0; 5]).await.unwrap();
    let mut answer = Vec::new();
    page.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("anna") && answer.contains("grpc-status:0"), "{answer}");
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    let house = House::new().await;
    let mut here = house.sign_in("anna").await;
    let mut there = house.sign_in("anna").await;
    let change = |current: &str, new: &str| v1::ChangePasswordRequest {
        user: String::new(),
        current_password: current.into(),
        new_password: new.into(),
    };
    let wrong = here
        .client
        .change_password(here.ask(change("not this", "new password")))
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let short = here.client.change_password(here.ask(change(PASSWORD, "short"))).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    here.client.change_password(here.ask(change(PASSWORD, "new password"))).await.unwrap();
    assert!(here.client.who_am_i(here.ask(v1::WhoAmIRequest {})).await.is_ok());
    assert!(there.client.who_am_i(there.ask(v1::WhoAmIRequest {})).await.is_err());
    here.client.sign_in(credentials("anna", "new password")).await.unwrap();
}

#[tokio::test]
async fn operators_make_users_and_pools_and_others_do_not() {
    let house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let mut anna = house.sign_in("anna").await;
    let user = |name: &str| v1::CreateUserRequest {
        name: name.into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    assert_eq!(
        reason_of(&anna.client.create_user(anna.ask(user("carl"))).await.unwrap_err()),
        "OPERATORS_ONLY"
    );
    let carl = olga.client.create_user(olga.ask(user("carl"))).await.unwrap().into_inner();
    assert_eq!((carl.uid, carl.role()), (2003, v1::Role::User));
    assert_eq!(
        reason_of(&olga.client.create_user(olga.ask(user("carl"))).await.unwrap_err()),
        "USER_EXISTS"
    );
    for name in ["a/b", "..", "a b", "a\0", &"a".repeat(300)] {
        assert_eq!(
            reason_of(&olga.client.create_user(olga.ask(user(name))).await.unwrap_err()),
            "BAD_FIELD"
        );
    }
    let delete = |name: &str| v1::DeleteUserRequest { name: name.into() };
    olga.client.delete_user(olga.ask(delete("carl"))).await.unwrap();
    let again = olga.client.create_user(olga.ask(user("carl"))).await.unwrap().into_inner();
    assert_eq!(again.uid, 2004, "a uid is never given twice");
    assert_eq!(
        reason_of(&olga.client.delete_user(olga.ask(delete("olga"))).await.unwrap_err()),
        "OWN_ACCOUNT"
    );

    let pool = v1::Pool {
        name: "staff".into(),
        image: "demo:stable".into(),
        overlay_size_mib: 128,
        users: vec!["ben".into()],
        ..Default::default()
    };
    olga.client.put_pool(olga.ask(v1::PutPoolRequest { pool: Some(pool) })).await.unwrap();
    let open = anna
        .client
        .list_pools(anna.ask(v1::ListPoolsRequest { all: false }))
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = open.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["demo", "demo-keep"]);
    let refused = anna.start("staff").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::PermissionDenied, "NOT_ENTITLED")
    );
    let mut ben = house.sign_in("ben").await;
    ben.start("staff").await.unwrap();
    let delete = v1::DeletePoolRequest { name: "staff".into() };
    assert_eq!(
        reason_of(&olga.client.delete_pool(olga.ask(delete.clone())).await.unwrap_err()),
        "POOL_IN_USE"
    );
    ben.stop("staff").await.unwrap();
    olga.client.delete_pool(olga.ask(delete)).await.unwrap();
}

#[tokio::test]
async fn a_deleted_default_pool_does_not_come_back() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let delete = v1::DeletePoolRequest { name: "demo".into() };
    olga.client.delete_pool(olga.ask(delete)).await.unwrap();
    house.stop_broker().await;
    house.start_broker().await;
    olga.client = house.client().await;
    let pools = olga
        .client
        .list_pools(olga.ask(v1::ListPoolsRequest { all: true }))
        .await
        .unwrap()
        .into_inner()
        .pools;
    assert_eq!(pools.len(), 1);
}
