//! Hosts and brokers that go away and return.

use rolltop_proto::v1::{
    self, DesktopState, HostDesktop, HostState, host_agent_client::HostAgentClient,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Behaviour, House, loop_until, reason_of};

#[tokio::test]
async fn a_host_that_returns_has_its_desktops_still() {
    let mut house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let (_, kept) = anna.start("demo").await.unwrap();
    let (_, lost) = ben.start("demo").await.unwrap();
    let (_, broken) = anna.start("demo-keep").await.unwrap();
    house.agent.vanish();
    let host = house.host_is(HostState::Suspect).await;
    assert_ne!(host.problem, "");
    assert_eq!(anna.list().await[0].state(), DesktopState::Running, "out of sight is not gone");
    let refused = anna.stop("demo").await.unwrap_err();
    assert_eq!(reason_of(&refused), "HOST_UNREACHABLE");
    assert_eq!(anna.list().await[0].state(), DesktopState::Running);

    house.agent.script.remove(lost.number).unwrap();
    let failed = v1::Failure { reason: "out of memory".into(), ..Default::default() };
    let mut told = house.agent.script.remove(broken.number).unwrap();
    told.set_state(DesktopState::Failed);
    told.failure = Some(failed.clone());
    house.agent.script.put(told);
    house.agent.come_up();
    house.host_is(HostState::Ready).await;
    assert_eq!(anna.start("demo").await.unwrap().1.epoch, kept.epoch);
    assert_eq!(anna.get("demo-keep").await.unwrap().failure, Some(failed), "its last word counts");
    assert_eq!(ben.state_is("demo", DesktopState::Gone).await.end_reason, "LOST");
    assert!(ben.start("demo").await.unwrap().1.epoch > lost.epoch);
}

#[tokio::test]
async fn a_restarted_broker_knows_desktops_and_sessions() {
    let mut house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    let (_, before) = anna.start("demo").await.unwrap();
    house.stop_broker().await;
    house.start_broker().await;
    // The same token, without signing in again.
    anna.client = house.client().await;
    house.host_is(HostState::Ready).await;
    let (_, after) = anna.start("demo").await.unwrap();
    assert_eq!((after.number, after.epoch), (before.number, before.epoch));
    assert_eq!(house.agent.script.starts(), 1, "it was not started again");
    anna.stop("demo").await.unwrap();
}

#[tokio::test]
async fn a_broker_that_died_during_a_start_finds_out_how_it_ended() {
    let mut house = House::new().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    house.agent.script.behave(Behaviour::Hold(std::sync::Arc::clone(&gate)));
    let mut anna = house.sign_in("anna").await;
    let mut starter = anna.clone();
    let starting = tokio::spawn(async move { starter.start("demo").await });
    loop_until("the start", async || (house.agent.script.starts() == 1).then_some(())).await;
    starting.abort();
    // The store as a crash would leave it: the record says that it starts.
    let state = house.dir.path().join("state");
    let copy = house.dir.path().join("crashed.redb");
    std::fs::copy(state.join("store.redb"), &copy).unwrap();
    gate.add_permits(10);
    anna.state_is("demo", DesktopState::Running).await;
    house.stop_broker().await;
    std::fs::copy(&copy, state.join("store.redb")).unwrap();
    house.start_broker().await;
    anna.client = house.client().await;
    let found = anna.state_is("demo", DesktopState::Running).await;
    assert_eq!((found.number, found.epoch), (1, 1));
}

#[tokio::test]
async fn desktops_the_cluster_does_not_know_are_reported_and_left_alone() {
    let mut house = House::new().await;
    house.agent.vanish();
    house.host_is(HostState::Suspect).await;
    let stray = HostDesktop {
        number: 1,
        epoch: 9,
        label: "other/someone".into(),
        state: DesktopState::Running.into(),
        ..Default::default()
    };
    house.agent.script.put(stray);
    house.agent.come_up();
    let host = house.host_is(HostState::Ready).await;
    assert_eq!(host.problem, "it runs desktops this cluster does not know: number 1");
    let mut anna = house.sign_in("anna").await;
    assert_eq!(anna.start("demo").await.unwrap().1.number, 2, "the stray's address is taken");
    assert!(house.agent.script.has(1));
}

#[tokio::test]
async fn a_host_with_desktops_is_not_deleted_and_a_deleted_one_is_gone() {
    let house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    olga.start("demo").await.unwrap();
    let delete = olga.ask(v1::DeleteHostRequest { name: "h1".into(), force: false });
    assert_eq!(reason_of(&olga.client.delete_host(delete).await.unwrap_err()), "HOST_IN_USE");
    olga.stop("demo").await.unwrap();
    let delete = olga.ask(v1::DeleteHostRequest { name: "h1".into(), force: false });
    olga.client.delete_host(delete).await.unwrap();
    let refused = loop_until("no host", async || olga.start("demo").await.err()).await;
    assert_eq!(refused.message(), "there is no host yet");
}

#[tokio::test]
async fn a_hosts_certificate_commands_no_other_host() {
    let house = House::new().await;
    let connect = async |identity: Option<Identity>| {
        let ca = Certificate::from_pem(house.ca());
        let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("h1.host.rolltop");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint =
            Endpoint::from_shared(house.agent.endpoint()).unwrap().tls_config(tls).unwrap();
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let call = HostAgentClient::new(channel).get_host(v1::GetHostRequest {}).await;
        call.map(drop).map_err(|status| status.to_string())
    };
    let stolen = Identity::from_pem(
        house.agent.credential("host.pem"),
        house.agent.credential("host-key.pem"),
    );
    assert!(connect(Some(stolen)).await.is_err());
    assert!(connect(None).await.is_err());
}
