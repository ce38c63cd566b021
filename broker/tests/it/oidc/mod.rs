//! People of a provider: the flow through a broker, and everything a provider, or
//! somebody in its place, may say that is not so.

mod provider;

use provider::{Provider, Signed, Spoil, Token, query_of};
use rolltop_proto::v1::{self, Role, sign_in_ways_client::SignInWaysClient};
use serde_json::{Value, json};

use crate::{
    store::cluster::{EtcdCluster, within_namespaces},
    support::{Answer, Browser, House, PASSWORD, User, reason_of, request},
};

const DESKS: &str = "desks.test";

fn fine(_: &mut Token) {}

/// Sends a browser off, and says where to.
async fn begin(house: &House, browser: &mut Browser) -> String {
    let answer = browser.get(house, DESKS, "/oidc/sign-in?view=/desktop/demo").await;
    assert_eq!(answer.status, 303, "{}", answer.location);
    answer.location
}

async fn come_back(house: &House, browser: &mut Browser, state: &str, code: &str) -> Answer {
    let path = format!("/oidc/callback?state={state}&code={code}");
    browser.get(house, DESKS, &path).await
}

/// The whole way; where it ends, and in which browser.
async fn sign_in(
    house: &House,
    provider: &Provider,
    claims: Value,
    more: Value,
    spoil: Spoil,
) -> (String, Browser) {
    let mut browser = Browser::default();
    let address = begin(house, &mut browser).await;
    let code = provider.grant(&address, claims, more, spoil);
    let state = query_of(&address)["state"].clone();
    let answer = come_back(house, &mut browser, &state, &code).await;
    (answer.location, browser)
}

async fn user(house: &House, browser: &Browser) -> User {
    User { token: browser.cookies["rolltop_session"].clone(), ..house.sign_in("olga").await }
}

async fn me(user: &mut User) -> v1::User {
    user.client.who_am_i(user.ask(v1::WhoAmIRequest {})).await.unwrap().into_inner()
}

async fn house_of(provider: &Provider) -> House {
    let house = House::with(&provider.config()).await;
    let mut olga = house.sign_in("olga").await;
    let group = v1::CreateGroupRequest { name: "teachers".into(), ..Default::default() };
    olga.people.create_group(olga.ask(group)).await.unwrap();
    house
}

#[tokio::test]
async fn people_of_a_provider_get_an_account_that_stays_theirs() {
    let provider = Provider::new().await;
    let house = house_of(&provider).await;
    let ada =
        || json!({"sub": "1", "preferred_username": "Ada", "name": "Ada L", "groups": ["staff"]});
    let (landed, browser) = sign_in(&house, &provider, ada(), Value::Null, fine).await;
    assert_eq!(landed, "/#/desktop/demo");
    let mut first = user(&house, &browser).await;
    let account = me(&mut first).await;
    assert_eq!((account.name.as_str(), account.full_name.as_str()), ("ada", "Ada L"));
    assert_eq!(
        (account.role(), account.groups.as_slice()),
        (Role::Auditor, &["teachers".to_owned()][..])
    );

    // By another name it is the same account; groups and role are what is said now. What
    // the token lacks is asked for, and what it has counts.
    provider.change_key();
    let token = json!({"sub": "1", "preferred_username": "countess"});
    let more = json!({"sub": "1", "preferred_username": "ben", "name": "Ada L", "groups": []});
    let (landed, browser) = sign_in(&house, &provider, token, more, fine).await;
    assert_eq!(landed, "/#/desktop/demo");
    let again = me(&mut user(&house, &browser).await).await;
    assert_eq!((again.uid, again.name.as_str(), again.role()), (account.uid, "ada", Role::User));
    assert!(again.groups.is_empty());

    // Names of others: at the provider, here, and such as cannot be an account's.
    for (subject, name, why) in
        [("2", "ada", "NAME_TAKEN"), ("3", "anna", "NAME_TAKEN"), ("4", "A B", "NAME_NOT_USABLE")]
    {
        let other = json!({"sub": subject, "preferred_username": name, "name": "x", "groups": []});
        let (landed, browser) = sign_in(&house, &provider, other, Value::Null, fine).await;
        assert_eq!(landed, format!("/#/not-signed-in/{why}"), "{name}");
        assert!(!browser.cookies.contains_key("rolltop_session"));
    }

    // Passwords are the provider's, and so is a part of signing out.
    let wrong =
        v1::SignInRequest { name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
    let refused = house.client().await.sign_in(wrong).await.unwrap_err();
    assert_eq!(reason_of(&refused), "WRONG_CREDENTIALS");
    let begun = first.people.begin_totp(first.ask(v1::BeginTotpRequest::default())).await;
    assert_eq!(reason_of(&begun.unwrap_err()), "PROVIDER_SECOND_FACTOR");
    let change =
        v1::ChangePasswordRequest { new_password: "a new password".into(), ..Default::default() };
    let changed = first.client.change_password(first.ask(change)).await;
    assert_eq!(reason_of(&changed.unwrap_err()), "DIRECTORY_PASSWORD");
    let out = first.client.sign_out(first.ask(v1::SignOutRequest {})).await.unwrap().into_inner();
    let asked = query_of(&out.continue_at);
    assert!(
        out.continue_at.starts_with(&format!("{}/end?", provider.issuer())),
        "{}",
        out.continue_at
    );
    assert_eq!(asked["post_logout_redirect_uri"], "https://desks.test/");
    let mut anna = house.sign_in("anna").await;
    let out = anna.client.sign_out(anna.ask(v1::SignOutRequest {})).await.unwrap().into_inner();
    assert_eq!(out.continue_at, "", "anna's password is ours");
}

#[tokio::test]
async fn what_is_not_so_is_not_believed() {
    let provider = Provider::new().await;
    let house = house_of(&provider).await;
    let cases: [(&str, Spoil); 15] = [
        ("for another", |token| token.claims["aud"] = "others".into()),
        ("for another too", |token| token.claims["aud"] = json!(["desks", "others"])),
        ("by way of another", |token| token.claims["azp"] = "others".into()),
        ("from another", |token| token.claims["iss"] = "https://evil.test".into()),
        ("too old", |token| token.claims["exp"] = 1_000_000_000.into()),
        ("of another sign-in", |token| token.claims["nonce"] = "other".into()),
        ("of no sign-in", |token| drop(token.claims.as_object_mut().unwrap().remove("nonce"))),
        ("of another access", |token| token.claims["at_hash"] = "x".repeat(43).into()),
        ("nobody's", |token| token.claims["sub"] = "".into()),
        ("signed by another", |token| token.signed = Signed::BySomebodyElse),
        ("with a key nobody knows", |token| token.header["kid"] = "third".into()),
        ("with our own secret", |token| {
            token.header = json!({"alg": "HS256"});
            token.signed = Signed::WithTheSecret;
        }),
        ("not signed", |token| {
            token.header = json!({"alg": "none"});
            token.signed = Signed::Not;
        }),
        ("signed by nothing", |token| token.signed = Signed::Not),
        ("absent", |token| token.claims = Value::Null),
    ];
    let ada = || json!({"sub": "1", "preferred_username": "ada", "name": "x", "groups": []});
    for (what, spoil) in cases {
        let (landed, browser) = sign_in(&house, &provider, ada(), Value::Null, spoil).await;
        assert_eq!(landed, "/#/not-signed-in/PROVIDER_NOT_BELIEVED", "{what}");
        assert!(!browser.cookies.contains_key("rolltop_session"), "{what}");
    }
    // What is told beside the token has to be of the same person.
    let (landed, _) = sign_in(
        &house,
        &provider,
        json!({"sub": "1"}),
        json!({"sub": "2", "preferred_username": "ada"}),
        fine,
    )
    .await;
    assert_eq!(landed, "/#/not-signed-in/PROVIDER_NOT_BELIEVED");
    // All of them were noted, and none made an account; an honest one does.
    let mut olga = house.sign_in("olga").await;
    let users =
        olga.client.list_users(olga.ask(v1::ListUsersRequest {})).await.unwrap().into_inner();
    assert!(users.users.iter().all(|user| user.name != "ada"));
    assert_eq!(sign_in(&house, &provider, ada(), Value::Null, fine).await.0, "/#/desktop/demo");
}

#[tokio::test]
async fn a_sign_in_is_its_browsers_and_good_once() {
    let provider = Provider::new().await;
    let house = house_of(&provider).await;
    let ada = || json!({"sub": "1", "preferred_username": "ada", "name": "x", "groups": []});
    let over = "/#/not-signed-in/SIGN_IN_OVER";

    let mut mine = Browser::default();
    let answer = mine.get(&house, DESKS, "/oidc/sign-in").await;
    let cookie = &answer.set_cookies[0];
    for part in ["__Host-rolltop_oidc=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/;"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    // A second window does not spoil the first.
    let (one, two) = (answer.location, begin(&house, &mut mine).await);
    let state = query_of(&two)["state"].clone();
    assert_eq!(query_of(&two)["redirect_uri"], "https://desks.test/oidc/callback");

    let code = provider.grant(&two, ada(), Value::Null, fine);
    let answer = come_back(&house, &mut mine, &state, &code).await;
    assert_eq!(answer.location, "/#/desktop/demo");
    let session = answer.set_cookies.iter().find(|cookie| cookie.starts_with("rolltop_session="));
    assert!(session.unwrap().contains("SameSite=Strict"), "{session:?}");
    assert_eq!(come_back(&house, &mut mine, &state, &code).await.location, over, "once");

    // A state that was made up, and one that is another browser's.
    assert_eq!(come_back(&house, &mut mine, "made-up", &code).await.location, over);
    let state = query_of(&one)["state"].clone();
    let code = provider.grant(&one, ada(), Value::Null, fine);
    let mut other = Browser::default();
    begin(&house, &mut other).await;
    assert_eq!(come_back(&house, &mut other, &state, &code).await.location, over);
    assert!(!other.cookies.contains_key("rolltop_session"));

    // A person who says no, and an answer of another provider.
    for (more, why) in [
        ("error=access_denied", "DECLINED"),
        ("code=x&iss=https://evil.test", "PROVIDER_NOT_BELIEVED"),
    ] {
        let state = query_of(&begin(&house, &mut mine).await)["state"].clone();
        let path = format!("/oidc/callback?state={state}&{more}");
        let landed = mine.get(&house, DESKS, &path).await.location;
        assert_eq!(landed, format!("/#/not-signed-in/{why}"));
    }
    // A code the provider does not know.
    let state = query_of(&begin(&house, &mut mine).await)["state"].clone();
    let landed = come_back(&house, &mut mine, &state, "made-up").await.location;
    assert_eq!(landed, "/#/not-signed-in/PROVIDER_REFUSED");
    // Too late.
    let state = query_of(&begin(&house, &mut mine).await)["state"].clone();
    house.clock.advance(std::time::Duration::from_secs(601));
    assert_eq!(come_back(&house, &mut mine, &state, "any").await.location, over);

    // By other names of the portal: one the provider knows, and one it does not.
    let answer = mine.get(&house, "other.test", "/oidc/sign-in").await;
    assert_eq!(query_of(&answer.location)["redirect_uri"], "https://other.test/oidc/callback");
    let answer = mine.get(&house, "10.0.0.1:8443", "/oidc/sign-in?view=/desktop/demo").await;
    assert_eq!(answer.location, "https://desks.test/oidc/sign-in?moved=1&view=/desktop/demo");
    let answer = mine.get(&house, DESKS, "/oidc/sign-in?view=//evil.test/").await;
    assert!(answer.location.starts_with(provider.issuer()), "{}", answer.location);
}

#[test]
fn what_one_broker_begins_another_finishes() {
    within_namespaces("oidc::what_one_broker_begins_another_finishes", async {
        let cluster = EtcdCluster::start().await;
        let provider = Provider::new().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let on_etcd = format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n");
        let mut house = House::with(&format!("{on_etcd}{}", provider.config())).await;
        // The other has never spoken with the provider.
        let (second, other) = house.second_broker().await;
        let first = house.port;
        let ada = || json!({"sub": "1", "preferred_username": "ada", "name": "x", "groups": []});

        let mut browser = Browser::default();
        let address = begin(&house, &mut browser).await;
        let code = provider.grant(&address, ada(), Value::Null, fine);
        let state = query_of(&address)["state"].clone();
        house.port = other;
        let answer = come_back(&house, &mut browser, &state, &code).await;
        assert_eq!(answer.location, "/#/desktop/demo");
        // Used at all brokers, and signed in at all.
        house.port = first;
        let answer = come_back(&house, &mut browser, &state, &code).await;
        assert_eq!(answer.location, "/#/not-signed-in/SIGN_IN_OVER");
        let account = me(&mut user(&house, &browser).await).await;
        assert_eq!(account.name, "ada");

        // Back again the other way, where the key the provider signs with is a new one.
        provider.change_key();
        house.port = other;
        let address = begin(&house, &mut browser).await;
        let code = provider.grant(&address, ada(), Value::Null, fine);
        let state = query_of(&address)["state"].clone();
        house.port = first;
        let answer = come_back(&house, &mut browser, &state, &code).await;
        assert_eq!(answer.location, "/#/desktop/demo");
        assert_eq!(me(&mut user(&house, &browser).await).await.uid, account.uid);
        second.stop().await;
        house.stop_daemon().await;
    });
}

#[tokio::test]
async fn without_the_provider_accounts_of_the_cluster_go_on() {
    let provider = Provider::new().await;
    provider.stop();
    let house = House::with(&provider.config()).await;
    let mut ways = SignInWaysClient::new(house.channel().await);
    let offered = ways.list_sign_in_ways(v1::ListSignInWaysRequest {}).await.unwrap().into_inner();
    let offered = offered.provider.unwrap();
    assert_eq!((offered.title.as_str(), offered.path.as_str()), ("the school", "/oidc/sign-in"));
    for _ in 0..2 {
        let answer = Browser::default().get(&house, DESKS, &offered.path).await;
        assert_eq!(answer.location, "/#/not-signed-in/PROVIDER_UNAVAILABLE");
    }
    house.sign_in("anna").await;

    // None at all: there is nothing to offer, and the address is the portal's.
    let plain = House::new().await;
    let mut ways = SignInWaysClient::new(plain.channel().await);
    let offered = ways.list_sign_in_ways(v1::ListSignInWaysRequest {}).await.unwrap().into_inner();
    assert_eq!(offered.provider, None);
    assert_eq!(Browser::default().get(&plain, DESKS, "/oidc/sign-in").await.status, 200);
}

#[tokio::test]
async fn a_program_signs_in_with_a_code_of_its_own_once() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use sha2::{Digest as _, Sha256};
    let house = House::new().await;
    let anna = house.sign_in("anna").await;
    let mut ways = SignInWaysClient::new(house.channel().await);
    let verifier = "v".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let allow = v1::AllowProgramRequest { challenge: challenge.clone() };
    let refused = ways.allow_program(allow.clone()).await.unwrap_err();
    assert_eq!(reason_of(&refused), "NOT_SIGNED_IN");
    let short = v1::AllowProgramRequest { challenge: "abc".into() };
    let refused = ways.allow_program(request(&anna.token, short)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "BAD_FIELD");

    let mut redeem = async |verifier: &str, wait: u64| {
        let allowed = ways.allow_program(request(&anna.token, allow.clone())).await.unwrap();
        let code = allowed.into_inner().code;
        house.clock.advance(std::time::Duration::from_secs(wait));
        let asked = v1::SignInProgramRequest { code, verifier: verifier.into() };
        let first = ways.sign_in_program(asked.clone()).await.map(tonic::Response::into_inner);
        let again = ways.sign_in_program(asked).await.unwrap_err();
        assert_eq!(reason_of(&again), "WRONG_CODE", "used, whatever came of it");
        first
    };
    for (verifier, wait) in [("another program's", 0), (verifier.as_str(), 121)] {
        assert_eq!(reason_of(&redeem(verifier, wait).await.unwrap_err()), "WRONG_CODE");
    }
    let signed_in = redeem(&verifier, 0).await.unwrap();
    assert_eq!(signed_in.user.unwrap().name, "anna");
    let mut program = User { token: signed_in.token, ..anna };
    assert_eq!(me(&mut program).await.name, "anna");
}
