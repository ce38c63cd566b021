//! Several brokers over one store.

use std::{collections::BTreeSet, sync::Arc};

use rolltop_broker::{
    names::DesktopId,
    presence::Presence,
    state::{self, CounterRecord, DesktopRecord, NumberRecord, TransactionExt as _, keys},
    store::{Commit, Store, Transaction},
};
use rolltop_proto::v1::{DesktopState, HostDesktop, HostState};
use tokio::sync::Semaphore;

use crate::{
    store::cluster::{EtcdCluster, within_namespaces},
    support::{Behaviour, House, eventually, loop_until},
};

#[test]
fn a_start_is_its_broker_s_until_that_is_gone() {
    within_namespaces("brokers::a_start_is_its_broker_s_until_that_is_gone", async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let on_etcd = format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n");
        let mut house = House::with(&on_etcd).await;
        let gate = Arc::new(Semaphore::new(0));
        house.agent.script.behave(Behaviour::Hold(Arc::clone(&gate)));
        let mut anna = house.sign_in("anna").await;
        let mut starter = anna.clone();
        let starting = tokio::spawn(async move { starter.start("demo").await });
        loop_until("the start", async || (house.agent.script.starts() == 1).then_some(())).await;

        // A broker that begins another start, and is to vanish.
        let store: Arc<dyn Store> = Arc::new(cluster.store().await);
        let vanishing = Presence::new(Arc::clone(&store));
        let lease = vanishing.announce().await.unwrap();
        let ben = DesktopId::from_key("demo/ben").unwrap();
        begin(store.as_ref(), &ben, vanishing.name()).await;

        // Another broker comes. The host knows neither desktop, and it lives with it.
        let (daemon, second_port) = house.second_broker().await;
        let first_port = std::mem::replace(&mut house.port, second_port);
        let others = vanishing.others().await.unwrap();
        assert_eq!(others.len(), 2, "both are known: {others:?}");
        house.host_is(HostState::Ready).await;
        let mut at_the_second = house.sign_in("olga").await;
        at_the_second.list().await;
        house.port = first_port;
        let states = states(store.as_ref()).await;
        assert_eq!(
            states,
            BTreeSet::from(["demo/anna starting".into(), "demo/ben starting".into()])
        );

        // One that is gone is noticed, and nothing else is touched.
        store.revoke(lease).await.unwrap();
        let expected = BTreeSet::from(["demo/anna starting".into(), "demo/ben failed".into()]);
        eventually("the orphan has failed", || {
            let (store, expected) = (Arc::clone(&store), expected.clone());
            async move { (self::states(store.as_ref()).await == expected).then_some(()) }
        })
        .await;
        gate.add_permits(10);
        starting.await.unwrap().unwrap();
        let started = anna.state_is("demo", DesktopState::Running).await;
        assert_eq!(house.agent.script.starts(), 1);
        assert_eq!(started.number, 1);
        daemon.stop().await;
        house.stop_daemon().await;
    });
}

#[test]
fn what_happens_while_the_store_fails_is_noted_when_it_is_back() {
    let name = "brokers::what_happens_while_the_store_fails_is_noted_when_it_is_back";
    within_namespaces(name, async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let house = House::with(&format!(
            "[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\ndeadline_s = 1\n"
        ))
        .await;
        let mut anna = house.sign_in("anna").await;
        let mut ben = house.sign_in("ben").await;
        let (_, bens) = ben.start("demo").await.unwrap();
        let gate = Arc::new(Semaphore::new(0));
        house.agent.script.behave(Behaviour::Hold(Arc::clone(&gate)));
        let mut starter = anna.clone();
        let starting = tokio::spawn(async move { starter.start("demo").await });
        loop_until("the start", async || (house.agent.script.starts() == 2).then_some(())).await;

        // No majority: one desktop comes up, another ends.
        cluster.pause(0);
        cluster.pause(1);
        gate.add_permits(10);
        house.agent.script.end(bens.number, "LOGOUT");
        starting.await.unwrap().unwrap_err();
        cluster.resume(0);
        cluster.resume(1);
        let annas = anna.state_is("demo", DesktopState::Running).await;
        assert!(house.agent.script.has(annas.number));
        let ended = ben.state_is("demo", DesktopState::Gone).await;
        assert_eq!(ended.end_reason, "LOGOUT", "its last word was not missed");
    });
}

#[test]
fn an_end_that_a_broker_left_half_done_is_seen_to() {
    within_namespaces("brokers::an_end_that_a_broker_left_half_done_is_seen_to", async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let house =
            House::with(&format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n")).await;
        let mut ben = house.sign_in("ben").await;
        let (_, bens) = ben.start("demo").await.unwrap();

        // Another broker notes that it is to end, and dies before it asks the host.
        let store: Arc<dyn Store> = Arc::new(cluster.store().await);
        let vanishing = Presence::new(Arc::clone(&store));
        let lease = vanishing.announce().await.unwrap();
        let key = keys::desktop(&DesktopId::from_key("demo/ben").unwrap());
        let noted = state::read::<DesktopRecord>(store.as_ref(), &key).await.unwrap().unwrap();
        let stopping =
            DesktopRecord { state: state::DesktopState::Stopping, ..noted.record.clone() };
        let note = Transaction::new().unchanged(&key, noted.revision);
        let note = note.put_record(&key, &stopping).unwrap();
        assert!(matches!(store.commit(note).await.unwrap(), Commit::Applied(_)));
        store.revoke(lease).await.unwrap();

        ben.state_is("demo", DesktopState::Gone).await;
        assert!(!house.agent.script.has(bens.number));
    });
}

#[test]
fn a_warm_desktop_whose_broker_died_before_it_gave_it_away_is_ended() {
    let name = "brokers::a_warm_desktop_whose_broker_died_before_it_gave_it_away_is_ended";
    within_namespaces(name, async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let house =
            House::with(&format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n")).await;
        let mut anna = house.sign_in("anna").await;
        anna.start("demo").await.unwrap();
        let store: Arc<dyn Store> = Arc::new(cluster.store().await);
        let vanishing = Presence::new(Arc::clone(&store));
        let lease = vanishing.announce().await.unwrap();

        // Claimed for ben, number and all, and not given to him.
        let ben = DesktopId::from_key("demo/ben").unwrap();
        begin(store.as_ref(), &ben, vanishing.name()).await;
        let key = keys::desktop(&ben);
        let noted = state::read::<DesktopRecord>(store.as_ref(), &key).await.unwrap().unwrap();
        let warm_epoch = noted.record.epoch;
        let claimed = DesktopRecord {
            state: state::DesktopState::Starting,
            placed: None,
            epoch: warm_epoch + 1,
            warm_epoch,
            ..noted.record.clone()
        };
        let claim = Transaction::new()
            .unchanged(&key, noted.revision)
            .put_record(&key, &claimed)
            .unwrap()
            .put_record(keys::EPOCH_COUNTER, &CounterRecord { last: claimed.epoch })
            .unwrap();
        assert!(matches!(store.commit(claim).await.unwrap(), Commit::Applied(_)));
        house.agent.script.put(HostDesktop {
            number: claimed.number,
            epoch: warm_epoch,
            label: "demo".to_owned(),
            state: DesktopState::Warm.into(),
            warm: true,
            ..Default::default()
        });
        store.revoke(lease).await.unwrap();

        eventually("nothing is left of it", || {
            let script = Arc::clone(&house.agent.script);
            async move { (!script.has(claimed.number)).then_some(()) }
        })
        .await;
        let expected = BTreeSet::from(["demo/anna running".into(), "demo/ben failed".into()]);
        assert_eq!(states(store.as_ref()).await, expected);
    });
}

/// Notes a start of `pilot`'s, as a claim would.
async fn begin(store: &dyn Store, id: &DesktopId, pilot: &str) {
    let anna = keys::desktop(&DesktopId::from_key("demo/anna").unwrap());
    let anna = state::read::<DesktopRecord>(store, &anna).await.unwrap().unwrap().record;
    let number = anna.number + 1;
    let record = DesktopRecord { id: id.clone(), number, pilot: pilot.to_owned(), ..anna };
    let begin = Transaction::new()
        .put_record(&keys::desktop(id), &record)
        .unwrap()
        .put_record(&keys::number(number), &NumberRecord { desktop: id.to_string() })
        .unwrap();
    assert!(matches!(store.commit(begin).await.unwrap(), Commit::Applied(_)));
}

async fn states(store: &dyn Store) -> BTreeSet<String> {
    let records = state::list::<DesktopRecord>(store, keys::DESKTOPS).await.unwrap();
    records.iter().map(|stored| format!("{} {}", stored.record.id, stored.record.state)).collect()
}
