//! Codes as a second factor, from the first to the lost device.

use std::time::Duration;

use rolltop_broker::clock::Clock as _;
use rolltop_proto::v1::{self, AuditOutcome};
use tonic::Status;
use totp_rs::{Builder, Secret, Totp};

use crate::support::{House, PASSWORD, User, loop_until, reason_of};

/// Somebody's authenticator app.
struct App(Totp);

impl App {
    fn shows(&self, house: &House) -> String {
        self.0.generate(house.clock.now().0 / 1000).to_string()
    }
}

async fn enrol(house: &House, user: &mut User) -> (App, Vec<String>) {
    let begin = v1::BeginTotpRequest { current_password: PASSWORD.into() };
    let begun = user.people.begin_totp(user.ask(begin)).await.unwrap().into_inner();
    assert!(begun.uri.starts_with("otpauth://totp/Rolltop:anna?"), "{}", begun.uri);
    assert!(begun.uri.contains(&begun.secret));
    let secret = Secret::try_from_base32(&begun.secret).unwrap();
    let app = App(Builder::new().with_secret(secret).build().unwrap());
    sign_in(house, "").await.unwrap();
    let wrong = v1::ConfirmTotpRequest { code: "12345".into() };
    let refused = user.people.confirm_totp(user.ask(wrong)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "WRONG_CODE");
    let confirm = v1::ConfirmTotpRequest { code: app.shows(house) };
    let codes = user.people.confirm_totp(user.ask(confirm)).await.unwrap().into_inner();
    assert_eq!(codes.recovery_codes.len(), 10);
    (app, codes.recovery_codes)
}

async fn sign_in(house: &House, code: &str) -> Result<v1::SignInResponse, Status> {
    let request =
        v1::SignInRequest { name: "anna".into(), password: PASSWORD.into(), code: code.into() };
    Ok(house.client().await.sign_in(request).await?.into_inner())
}

#[tokio::test]
async fn a_code_is_asked_for_taken_once_and_replaced_by_a_recovery_code() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let wrong = v1::BeginTotpRequest { current_password: "not this one".into() };
    anna.people.begin_totp(anna.ask(wrong)).await.unwrap_err();
    let (app, recovery) = enrol(&house, &mut anna).await;
    let me = anna.client.who_am_i(anna.ask(v1::WhoAmIRequest {})).await.unwrap().into_inner();
    assert!(me.second_factor);
    assert_eq!(me.source, "local");
    let mut operator = house.sign_in("olga").await;
    let listed = operator.client.list_users(operator.ask(v1::ListUsersRequest {})).await.unwrap();
    let with: Vec<_> = listed.into_inner().users.into_iter().filter(|u| u.second_factor).collect();
    assert_eq!(with, [me]);

    assert_eq!(reason_of(&sign_in(&house, "").await.unwrap_err()), "SECOND_FACTOR_REQUIRED");
    let used = app.shows(&house);
    assert_eq!(reason_of(&sign_in(&house, &used).await.unwrap_err()), "WRONG_CODE", "it confirmed");
    house.clock.advance(Duration::from_secs(30));
    let code = app.shows(&house);
    // Of two at once, one is in.
    let (one, other) = tokio::join!(sign_in(&house, &code), sign_in(&house, &code));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    house.clock.advance(Duration::from_secs(30));
    let spaced = format!("{} {}", &app.shows(&house)[..3], &app.shows(&house)[3..]);
    sign_in(&house, &spaced).await.unwrap();

    let typed = recovery[3].to_uppercase();
    sign_in(&house, &typed).await.unwrap();
    assert_eq!(reason_of(&sign_in(&house, &typed).await.unwrap_err()), "WRONG_CODE");
    let mut olga = house.sign_in("olga").await;
    let filter =
        v1::AuditFilter { user: "anna".into(), act: "sign-in".into(), ..Default::default() };
    let request = v1::ListAuditRequest { filter: Some(filter), ..Default::default() };
    loop_until("the recovery code in the audit log", async || {
        let page = olga.audit.list_audit(olga.ask(request.clone())).await.unwrap().into_inner();
        let entry = page.entries.into_iter().find(|entry| entry.details.contains_key("left"))?;
        assert_eq!((entry.details["left"].as_str(), entry.outcome()), ("9", AuditOutcome::Ok));
        Some(())
    })
    .await;

    house.clock.advance(Duration::from_secs(30));
    let disable = |code: &str| v1::DisableTotpRequest {
        current_password: PASSWORD.into(),
        code: code.into(),
    };
    anna.people.disable_totp(anna.ask(disable("000000x"))).await.unwrap_err();
    anna.people.disable_totp(anna.ask(disable(&app.shows(&house)))).await.unwrap();
    sign_in(&house, "").await.unwrap();
}

#[tokio::test]
async fn codes_cannot_be_guessed_and_an_operator_helps() {
    let house = House::with("[sign_in]\naccount_attempts = 3\n").await;
    let (mut anna, mut olga) = (house.sign_in("anna").await, house.sign_in("olga").await);
    let (app, _) = enrol(&house, &mut anna).await;
    house.clock.advance(Duration::from_secs(60));
    let mut refused = Vec::new();
    for guess in ["000001", "000002", "000003", "000004"] {
        // The right password in between wins no further tries.
        sign_in(&house, "").await.unwrap_err();
        refused.push(reason_of(&sign_in(&house, guess).await.unwrap_err()));
    }
    assert_eq!(refused, ["WRONG_CODE", "WRONG_CODE", "WRONG_CODE", "LOCKED_OUT"]);
    assert_eq!(reason_of(&sign_in(&house, &app.shows(&house)).await.unwrap_err()), "LOCKED_OUT");

    let unlock = v1::UnlockUserRequest { name: "anna".into() };
    anna.people.unlock_user(anna.ask(unlock.clone())).await.unwrap_err();
    let unlocked = olga.people.unlock_user(olga.ask(unlock.clone())).await.unwrap().into_inner();
    assert!(unlocked.was_remembered);
    assert!(!olga.people.unlock_user(olga.ask(unlock)).await.unwrap().into_inner().was_remembered);
    sign_in(&house, &app.shows(&house)).await.unwrap();

    let reset = v1::ResetTotpRequest { name: "anna".into() };
    olga.people.reset_totp(olga.ask(reset)).await.unwrap();
    anna.client.who_am_i(anna.ask(v1::WhoAmIRequest {})).await.unwrap_err();
    sign_in(&house, "").await.unwrap();
}
