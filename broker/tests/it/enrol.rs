//! Machines become hosts, get new certificates, and lose them.

use std::time::Duration;

use rcgen::KeyPair;
use rolltop_proto::v1::{self, HostState, enrolment_client::EnrolmentClient};
use tonic::Status;

use crate::support::{House, User, loop_until, new_key, reason_of};

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn token(olga: &mut User, name: &str) -> String {
    let request = v1::MakeEnrolTokenRequest { name: name.into(), life: None };
    let request = olga.ask(request);
    olga.hosts.make_enrol_token(request).await.unwrap().into_inner().token
}

async fn enrol(
    house: &House,
    token: &str,
    name: &str,
    request_pem: String,
) -> Result<v1::EnrolResponse, Status> {
    let request = v1::EnrolRequest {
        token: token.into(),
        name: name.into(),
        request_pem,
        endpoint: house.agent.endpoint(),
        port: 0,
    };
    let mut machine = EnrolmentClient::new(house.channel().await);
    Ok(machine.enrol(request).await?.into_inner())
}

/// The agent of "h1" with another certificate.
async fn reborn(house: &mut House, certificate_pem: &str, key: &KeyPair) {
    house.agent.vanish();
    house.agent.keys().put(certificate_pem, key).unwrap();
    house.agent.come_up();
}

#[tokio::test]
async fn a_token_enrols_one_host_once() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let token = token(&mut olga, "h1").await;
    assert!(
        token.ends_with(&rolltop_broker::pki::sha256(&pem_contents(&house.ca()))),
        "it pins the authority: {token}"
    );

    // What is wrong with the rest of it does not cost the token.
    let (key, request) = new_key().unwrap();
    let refused = enrol(&house, &token, "h2", request.clone()).await.unwrap_err();
    assert_eq!(reason_of(&refused), "ENROL_TOKEN_INVALID", "{refused:?}");
    let refused = enrol(&house, &token, "h1", "rubbish".into()).await.unwrap_err();
    assert_eq!(reason_of(&refused), "BAD_FIELD", "{refused:?}");

    let before = house.agent.keys().installed_sha256().unwrap();
    let enrolled = enrol(&house, &token, "h1", request.clone()).await.unwrap();
    assert_eq!(enrolled.ca_pem, house.ca());
    assert_eq!(enrolled.endpoint, house.agent.endpoint());
    let refused = enrol(&house, &token, "h1", request).await.unwrap_err();
    assert_eq!(reason_of(&refused), "ENROL_TOKEN_INVALID", "used");

    // The certificate it had until now counts no more, the new one does.
    house.agent.vanish();
    house.agent.come_up();
    let host = loop_until("the old certificate is refused", async || {
        let host = house.host(&mut olga, "h1").await;
        host.problem.contains("does not count any more").then_some(host)
    })
    .await;
    assert_ne!(host.state(), HostState::Ready);
    assert_eq!(house.agent.keys().installed_sha256().unwrap(), before);
    reborn(&mut house, &enrolled.certificate_pem, &key).await;
    house.host_is(HostState::Ready).await;
    olga.start("demo").await.unwrap();
}

#[tokio::test]
async fn tokens_are_for_operators_and_run_out_and_replace_one_another() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let request = anna.ask(v1::MakeEnrolTokenRequest { name: "h2".into(), life: None });
    let refused = anna.hosts.make_enrol_token(request).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");

    let mut olga = house.sign_in("olga").await;
    let month = Some(prost_types::Duration { seconds: 30 * 24 * 3600, nanos: 0 });
    let request = olga.ask(v1::MakeEnrolTokenRequest { name: "h2".into(), life: month });
    assert_eq!(reason_of(&olga.hosts.make_enrol_token(request).await.unwrap_err()), "BAD_FIELD");

    let first = token(&mut olga, "h2").await;
    let second = token(&mut olga, "h2").await;
    let refused = enrol(&house, &first, "h2", new_key().unwrap().1).await.unwrap_err();
    assert_eq!(reason_of(&refused), "ENROL_TOKEN_INVALID", "replaced");
    house.clock.advance(2 * HOUR);
    let refused = enrol(&house, &second, "h2", new_key().unwrap().1).await.unwrap_err();
    assert_eq!(reason_of(&refused), "ENROL_TOKEN_INVALID", "run out");
    // The third wrong one from there: slowed.
    let refused = loop_until("guessing is slowed", async || {
        let refused = enrol(&house, "rte1.guess.0", "h2", new_key().unwrap().1).await.unwrap_err();
        (reason_of(&refused) != "ENROL_TOKEN_INVALID").then_some(refused)
    })
    .await;
    assert_eq!(reason_of(&refused), "TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn a_revoked_host_is_out_until_it_is_enrolled_anew() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let (_, desktop) = olga.start("demo").await.unwrap();
    let spare = token(&mut olga, "h1").await;
    let request = olga.ask(v1::RevokeHostRequest { name: "h1".into() });
    assert!(olga.hosts.revoke_host(request).await.unwrap().into_inner().revoked);
    let host = loop_until("the line is cut", async || {
        let host = house.host(&mut olga, "h1").await;
        (host.state() != HostState::Ready).then_some(host)
    })
    .await;
    assert!(host.problem.contains("revoked"), "{}", host.problem);
    assert_eq!(reason_of(&olga.stop("demo").await.unwrap_err()), "HOST_UNREACHABLE");
    let refused = enrol(&house, &spare, "h1", new_key().unwrap().1).await.unwrap_err();
    assert_eq!(reason_of(&refused), "ENROL_TOKEN_INVALID", "a token from before is void, too");

    let token = token(&mut olga, "h1").await;
    let (key, request) = new_key().unwrap();
    let enrolled = enrol(&house, &token, "h1", request).await.unwrap();
    reborn(&mut house, &enrolled.certificate_pem, &key).await;
    house.host_is(HostState::Ready).await;
    let (_, found) = olga.start("demo").await.unwrap();
    assert_eq!(found.epoch, desktop.epoch, "its desktops went on");
}

#[tokio::test]
async fn certificates_are_renewed_by_themselves() {
    let mut house = House::with("[hosts]\ncertificate_days = 1\nsuspect_s = 2\n").await;
    let mut olga = house.sign_in("olga").await;
    let before = house.host(&mut olga, "h1").await.certificate_expires_at.unwrap();
    let (sha256, keys) = (house.agent.keys().installed_sha256().unwrap(), house.agent.keys());
    house.clock.advance(20 * HOUR);
    let mut olga = house.sign_in("olga").await;
    let after = loop_until("a new certificate", async || {
        let after = house.host(&mut olga, "h1").await.certificate_expires_at.unwrap();
        (after.seconds > before.seconds).then_some(after)
    })
    .await;
    assert!(after.seconds >= before.seconds + 19 * 3600, "{after:?} after {before:?}");
    assert_ne!(keys.installed_sha256().unwrap(), sha256);
    // It is good for a new line.
    house.agent.vanish();
    house.host_is(HostState::Suspect).await;
    house.agent.come_up();
    house.host_is(HostState::Ready).await;
}

fn pem_contents(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
