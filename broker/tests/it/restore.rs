//! A store that went back to its backup, under hosts that did not.

use rolltop_proto::v1::{self, DesktopState, HostState, VolumeKind};
use tonic::Status;

use crate::support::{House, User, offline, reason_of};

impl User {
    async fn adopt(&mut self, host: &str) -> Result<v1::AdoptDataResponse, Status> {
        let request = self.ask(v1::AdoptDataRequest { host: host.into() });
        Ok(self.storage.adopt_data(request).await?.into_inner())
    }
}

fn names(found: &v1::AdoptDataResponse) -> Vec<&str> {
    found.adopted.iter().map(|data| data.id.as_str()).collect()
}

#[tokio::test]
async fn a_restored_store_gives_nobody_an_old_epoch_or_an_empty_disk() {
    let mut house = House::new().await;
    let config = house.parsed_config();
    let backup = house.dir.path().join("backup.jsonl");
    let backup = backup.to_str().unwrap();
    let mut anna = house.sign_in("anna").await;
    anna.start("demo-keep").await.unwrap();
    house.stop_broker().await;
    offline(&config, &["rolltop-broker", "store", "export", backup], "").await;
    house.start_broker().await;
    house.host_is(HostState::Ready).await;

    // What the backup does not know: a new life of anna's, and ben's first.
    let mut anna = house.sign_in("anna").await;
    anna.stop("demo-keep").await.unwrap();
    let (_, forgotten) = anna.start("demo-keep").await.unwrap();
    let mut ben = house.sign_in("ben").await;
    let (_, unknown) = ben.start("demo-keep").await.unwrap();
    house.agent.script.end(unknown.number, "LOGOUT");
    ben.state_is("demo-keep", DesktopState::Gone).await;
    let kept: Vec<String> = house.agent.script.storage.names();
    let bens = kept.iter().find(|name| name.contains("ben")).unwrap().clone();
    assert!(house.agent.script.storage.write(&bens, b"precious"));

    house.stop_broker().await;
    std::fs::remove_file(house.dir.path().join("state/store.redb")).unwrap();
    offline(&config, &["rolltop-broker", "store", "import", backup], "").await;
    house.start_broker().await;
    house.host_is(HostState::Ready).await;
    assert!(house.agent.script.has(forgotten.number), "a restore ends nothing");

    // The operator has the host's data noted before people come.
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    assert_eq!(reason_of(&anna.adopt("h1").await.unwrap_err()), "OPERATORS_ONLY");
    assert_eq!(olga.adopt("nowhere").await.unwrap_err().code(), tonic::Code::NotFound);
    let found = olga.adopt("h1").await.unwrap();
    assert_eq!(names(&found), ["demo-keep/ben"], "{found:?}");
    assert!(found.left.is_empty(), "{found:?}");
    assert!(olga.adopt("h1").await.unwrap().adopted.is_empty(), "once");

    let (_, again) = ben.start("demo-keep").await.unwrap();
    assert_eq!(again.state(), DesktopState::Running);
    assert!(again.epoch > unknown.epoch, "the host has seen {}", unknown.epoch);
    let asked = house.agent.script.requests.lock().unwrap().last().cloned().unwrap();
    assert_eq!(asked.overlay.unwrap().persistent_name, bens);
    assert_eq!(house.agent.script.storage.read(&bens).unwrap(), b"precious");
    let (_, hers) = anna.start("demo-keep").await.unwrap();
    assert!(hers.epoch > forgotten.epoch);
}

#[tokio::test]
async fn what_is_nobodys_is_left_and_told() {
    let house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let overlay = |name: &str| v1::OverlaySpec { persistent_name: name.into(), size_mib: 64 };
    for name in ["demo-keep.nobody.7", "no-pool.anna.2000", "demo-keep.anna.1", "by-hand"] {
        let overlay = Some(overlay(name));
        let request = v1::StartHostDesktopRequest { overlay, ..Default::default() };
        house.agent.script.storage.mount(&request);
    }
    let found = olga.adopt("h1").await.unwrap();
    assert!(found.adopted.is_empty(), "{found:?}");
    let told: Vec<(&str, &str)> = found
        .left
        .iter()
        .map(|left| (left.volume.as_ref().unwrap().name.as_str(), left.reason.as_str()))
        .collect();
    assert_eq!(found.left[0].volume.as_ref().unwrap().kind(), VolumeKind::Overlay);
    assert_eq!(
        told,
        [
            ("by-hand", "its name is none that this cluster gives"),
            ("demo-keep.anna.1", "it belongs to an earlier anna"),
            ("demo-keep.nobody.7", "there is no user nobody"),
            ("no-pool.anna.2000", "there is no pool no-pool"),
        ]
    );
}
