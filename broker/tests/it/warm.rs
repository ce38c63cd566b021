//! Desktops made ahead of their users.

use std::{collections::BTreeSet, sync::Arc};

use rolltop_broker::{
    presence::Presence,
    state::{
        self, CapacityRecord, NumberRecord, PoolRecord, TransactionExt as _, WarmRecord, WarmState,
        keys,
    },
    store::{Commit, Store, Transaction},
};
use rolltop_proto::v1::{self, DesktopState, Failure, HostState};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::{
    store::cluster::{EtcdCluster, within_namespaces},
    support::{Behaviour, House, User, loop_until, reason_of},
};

const SOON_LOST: &str = "[hosts]\nsuspect_s = 1\nlost_s = 2\n";

async fn pool(olga: &mut User, name: &str) -> v1::Pool {
    let request = olga.ask(v1::ListPoolsRequest { all: true });
    let pools = olga.client.list_pools(request).await.unwrap().into_inner().pools;
    pools.into_iter().find(|pool| pool.name == name).unwrap()
}

async fn put(olga: &mut User, pool: v1::Pool) -> Result<v1::Pool, Status> {
    let request = olga.ask(v1::PutPoolRequest { pool: Some(pool) });
    Ok(olga.client.put_pool(request).await?.into_inner())
}

/// Wants so many of pool "demo".
async fn want(olga: &mut User, warm: u32) {
    let there = pool(olga, "demo").await;
    put(olga, v1::Pool { warm, ..there }).await.unwrap();
}

async fn ready(olga: &mut User, count: u32) {
    loop_until("so many are ready", async || {
        (pool(olga, "demo").await.warm_ready == count).then_some(())
    })
    .await;
}

fn numbers(house: &mut House, host: &str) -> BTreeSet<u32> {
    house.agent_of(host).script.warm().iter().map(|desktop| desktop.number).collect()
}

#[tokio::test]
async fn one_is_given_at_once_and_another_made() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let mut anna = house.sign_in("anna").await;
    want(&mut olga, 2).await;
    ready(&mut olga, 2).await;
    assert_eq!(numbers(&mut house, "h1"), BTreeSet::from([1, 2]));
    assert!(olga.list().await.is_empty(), "it is nobody's desktop");

    let (_, desktop) = anna.start("demo").await.unwrap();
    assert_eq!(desktop.state(), DesktopState::Running);
    assert!([1, 2].contains(&desktop.number), "{desktop:?}");
    let given = house.agent.script.assignments.lock().unwrap().clone();
    assert_eq!(given.len(), 1);
    assert_eq!((given[0].epoch, given[0].label.as_str()), (desktop.epoch, "demo/anna"));
    assert!(given[0].epoch > given[0].warm_epoch);
    assert_eq!(given[0].account.as_ref().unwrap().name, "anna");
    // In its place another is made, and the one that was given is not.
    loop_until("it is replaced", async || (house.agent.script.warm().len() == 2).then_some(()))
        .await;
    ready(&mut olga, 2).await;
    assert_eq!(house.agent.script.starts(), 3);
    let made = house.agent.script.requests.lock().unwrap().clone();
    assert!(made.iter().all(|request| request.warm && request.account.is_none()), "{made:?}");

    // Its end is like any: number and room are free again.
    anna.stop("demo").await.unwrap();
    let (_, again) = anna.start("demo").await.unwrap();
    assert!(again.epoch > desktop.epoch);
    anna.stop("demo").await.unwrap();
    want(&mut olga, 0).await;
    loop_until("none is kept", async || house.agent.script.warm().is_empty().then_some(())).await;
    drained(&house, &mut olga).await;
}

/// A host is drained when nothing is claimed there any more.
async fn drained(house: &House, olga: &mut User) {
    let deadline = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let request = olga.ask(v1::DrainHostRequest { name: "h1".into(), deadline });
    olga.hosts.drain_host(request).await.unwrap();
    loop_until("the host is drained", async || {
        (house.host(olga, "h1").await.state() == HostState::Drained).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_warm_is_refused_with_a_way_out() {
    let house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let kept = pool(&mut olga, "demo-keep").await;
    let refused = put(&mut olga, v1::Pool { warm: 1, ..kept }).await.unwrap_err();
    assert_eq!(reason_of(&refused), "BAD_FIELD");
    assert!(refused.message().contains("--home volume:SIZE"), "{}", refused.message());
}

#[tokio::test]
async fn without_a_warm_one_a_start_is_cold() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
    want(&mut olga, 1).await;
    ready(&mut olga, 1).await;
    // What is made from now on waits.
    let gate = Arc::new(Semaphore::new(0));
    house.agent.script.behave(Behaviour::Hold(Arc::clone(&gate)));
    let (_, first) = anna.start("demo").await.unwrap();
    loop_until("another is being made", async || (house.agent.script.starts() == 2).then_some(()))
        .await;
    house.agent.script.behave(Behaviour::Run);
    let (_, second) = ben.start("demo").await.unwrap();
    assert_eq!(second.state(), DesktopState::Running);
    assert_ne!(first.number, second.number);
    assert_eq!(house.agent.script.assignments.lock().unwrap().len(), 1);
    gate.add_permits(10);
    ready(&mut olga, 1).await;

    // One that has gone without a word is made anew, in its place.
    let warm = house.agent.script.warm().remove(0);
    house.agent.script.remove(warm.number).unwrap();
    anna.stop("demo").await.unwrap();
    let (_, third) = anna.start("demo").await.unwrap();
    assert_eq!((third.state(), third.number), (DesktopState::Running, warm.number));
    let cold = house.agent.script.requests.lock().unwrap().clone();
    let cold = cold.iter().find(|request| request.number == warm.number && !request.warm);
    assert_eq!(cold.unwrap().epoch, third.epoch);
    assert!(numbers(&mut house, "h1").iter().all(|number| *number != third.number));
}

#[tokio::test]
async fn starts_that_fail_are_told_and_tried_again_later() {
    let house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    let mut anna = house.sign_in("anna").await;
    let failure = Failure { code: "DISK_FULL".into(), reason: "no".into(), ..Default::default() };
    house.agent.script.behave(Behaviour::Fail(failure));
    want(&mut olga, 1).await;
    let problem = loop_until("a reason is told", async || {
        Some(pool(&mut olga, "demo").await.warm_problem).filter(|problem| !problem.is_empty())
    })
    .await;
    assert!(problem.contains("h1") && problem.contains("DISK_FULL"), "{problem}");
    let to_a_user = anna.ask(v1::ListPoolsRequest { all: false });
    let pools = anna.client.list_pools(to_a_user).await.unwrap().into_inner().pools;
    assert!(pools.iter().all(|pool| pool.warm_problem.is_empty()), "hosts are not users' business");
    house.agent.script.behave(Behaviour::Run);
    ready(&mut olga, 1).await;
    assert!(pool(&mut olga, "demo").await.warm_problem.is_empty());
    // What failed holds nothing.
    want(&mut olga, 0).await;
    drained(&house, &mut olga).await;
}

#[tokio::test]
async fn what_the_pool_no_longer_is_makes_place() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    want(&mut olga, 2).await;
    ready(&mut olga, 2).await;
    let before = numbers(&mut house, "h1");
    let old: BTreeSet<u64> =
        house.agent.script.warm().iter().map(|desktop| desktop.epoch).collect();

    // A tag that moves.
    for image in house.agent.script.images.lock().unwrap().iter_mut() {
        image.version = "2".into();
    }
    house.agent.vanish();
    house.agent.come_up();
    let renewed = async |house: &House, old: &BTreeSet<u64>| {
        loop_until("all are new", async || {
            let warm = house.agent.script.warm();
            let new = warm.iter().all(|desktop| !old.contains(&desktop.epoch));
            (new && warm.len() == 2).then(|| warm.iter().map(|d| d.epoch).collect::<BTreeSet<_>>())
        })
        .await
    };
    let newer = renewed(&house, &old).await;
    assert!(house.agent.script.warm().iter().all(|desktop| desktop.version == "2"));
    assert!(!before.is_empty());

    // Another size, and then fewer.
    let there = pool(&mut olga, "demo").await;
    put(&mut olga, v1::Pool { overlay_size_mib: 128, ..there }).await.unwrap();
    renewed(&house, &newer).await;
    want(&mut olga, 1).await;
    loop_until("one goes", async || (house.agent.script.warm().len() == 1).then_some(())).await;

    // A pool that is deleted.
    let request = olga.ask(v1::DeletePoolRequest { name: "demo".into() });
    olga.client.delete_pool(request).await.unwrap();
    loop_until("all go", async || house.agent.script.warm().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_drained_host_is_rid_of_them_at_once_and_others_get_them() {
    let mut house = House::with_two_hosts("").await;
    let mut olga = house.sign_in("olga").await;
    want(&mut olga, 4).await;
    ready(&mut olga, 4).await;
    let both = [numbers(&mut house, "h1").len(), numbers(&mut house, "h2").len()];
    assert_eq!(both, [2, 2], "spread as placement says");

    drained(&house, &mut olga).await;
    assert!(numbers(&mut house, "h1").is_empty());
    loop_until("the other has them all", async || {
        (numbers(&mut house, "h2").len() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn those_of_a_lost_host_are_forgotten_and_made_elsewhere() {
    let mut house = House::with_two_hosts(SOON_LOST).await;
    let mut olga = house.sign_in("olga").await;
    let mut anna = house.sign_in("anna").await;
    want(&mut olga, 2).await;
    ready(&mut olga, 2).await;
    let there = numbers(&mut house, "h1");
    assert_eq!(there.len(), 1);
    house.agent_of("h1").vanish();
    loop_until("the other has both", async || (numbers(&mut house, "h2").len() == 2).then_some(()))
        .await;
    ready(&mut olga, 2).await;
    assert!(numbers(&mut house, "h2").is_disjoint(&there), "the lost host may have the number");
    let (_, desktop) = anna.start("demo").await.unwrap();
    assert_eq!(desktop.host, "h2");

    // It comes back, and ends what it has.
    house.agent_of("h1").come_up();
    loop_until("it is ready", async || {
        (house.host(&mut olga, "h1").await.state() == HostState::Ready).then_some(())
    })
    .await;
    assert!(numbers(&mut house, "h1").is_disjoint(&there), "{there:?}");
}

#[tokio::test]
async fn a_broker_that_comes_back_knows_them() {
    let mut house = House::new().await;
    let mut olga = house.sign_in("olga").await;
    want(&mut olga, 2).await;
    ready(&mut olga, 2).await;
    house.stop_broker().await;
    // Meanwhile one ends, and a stranger comes.
    let lost = house.agent.script.warm().remove(0);
    let stranger = v1::HostDesktop { number: 99, epoch: 1, ..lost.clone() };
    house.agent.script.remove(lost.number).unwrap();
    house.agent.script.put(stranger);
    house.start_broker().await;
    house.host_is(HostState::Ready).await;
    let mut olga = house.sign_in("olga").await;
    loop_until("it is replaced", async || {
        let warm = house.agent.script.warm();
        (warm.len() == 2 && warm.iter().all(|desktop| desktop.epoch != lost.epoch)).then_some(())
    })
    .await;
    ready(&mut olga, 2).await;
    assert!(!house.agent.script.has(99), "nobody's, and unknown: it goes");
    assert_eq!(house.agent.script.starts(), 3);
}

#[test]
fn two_brokers_over_etcd_make_none_twice() {
    within_namespaces("warm::two_brokers_over_etcd_make_none_twice", async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let on_etcd = format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n");
        let mut house = House::with(&on_etcd).await;
        let (daemon, second_port) = house.second_broker().await;
        let first_port = std::mem::replace(&mut house.port, second_port);
        house.host_is(HostState::Ready).await;
        let mut at_the_second = house.sign_in("ben").await;
        house.port = first_port;
        let mut olga = house.sign_in("olga").await;
        let mut anna = house.sign_in("anna").await;

        want(&mut olga, 5).await;
        ready(&mut olga, 5).await;
        // Two users at once, at either broker: each gets one of their own.
        let (first, other) = tokio::join!(anna.start("demo"), at_the_second.start("demo"));
        let (first, other) = (first.unwrap().1, other.unwrap().1);
        assert_ne!(first.number, other.number);
        assert_eq!(house.agent.script.assignments.lock().unwrap().len(), 2);
        ready(&mut olga, 5).await;
        let store: Arc<dyn Store> = Arc::new(cluster.store().await);
        let warm = state::list::<WarmRecord>(store.as_ref(), keys::WARM).await.unwrap();
        assert_eq!(warm.len(), 5, "{warm:?}");
        assert_eq!(house.agent.script.warm().len(), 5);
        assert_eq!(house.agent.script.starts(), 7, "none was made to be ended");
        let claimed = state::list::<CapacityRecord>(store.as_ref(), keys::CAPACITIES).await;
        assert_eq!(claimed.unwrap()[0].record.desktops, 7);

        // One that a broker began to make, and of which its host knows nothing, is
        // that broker's until it is gone; then another is made.
        let vanishing = Presence::new(Arc::clone(&store));
        let lease = vanishing.announce().await.unwrap();
        orphan(store.as_ref(), vanishing.name()).await;
        let starts = house.agent.script.starts();
        store.revoke(lease).await.unwrap();
        ready(&mut olga, 6).await;
        assert_eq!(house.agent.script.starts(), starts + 1);
        let warm = state::list::<WarmRecord>(store.as_ref(), keys::WARM).await.unwrap();
        assert!(warm.iter().all(|stored| stored.record.pilot != vanishing.name()), "{warm:?}");
        daemon.stop().await;
        house.stop_daemon().await;
    });
}

/// Has one more wanted, and notes that it is being made by `pilot`, as a claim
/// would.
async fn orphan(store: &dyn Store, pilot: &str) {
    let warm = state::list::<WarmRecord>(store, keys::WARM).await.unwrap().remove(0).record;
    let claimed = state::list::<CapacityRecord>(store, keys::CAPACITIES).await.unwrap().remove(0);
    let number = 77;
    let record = WarmRecord {
        number,
        epoch: 1_000_000,
        state: WarmState::Making,
        pilot: pilot.to_owned(),
        version: String::new(),
        ..warm
    };
    let key = keys::warm(&record.pool, number);
    let owner = NumberRecord { desktop: record.pool.to_string() };
    let pool = keys::pool(&record.pool);
    let wanted = state::read::<PoolRecord>(store, &pool).await.unwrap().unwrap().record;
    let wanted = PoolRecord { warm: wanted.warm + 1, ..wanted };
    let begin = Transaction::new()
        .put_record(&pool, &wanted)
        .unwrap()
        .put_record(&key, &record)
        .unwrap()
        .put_record(&keys::number(number), &owner)
        .unwrap()
        .put_record(&claimed.key, &claimed.record.with(&record.recipe.limits))
        .unwrap();
    assert!(matches!(store.commit(begin).await.unwrap(), Commit::Applied(_)));
}
