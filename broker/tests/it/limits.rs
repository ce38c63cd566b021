//! Time limits of pools, and how many desktops they take.

use std::time::Duration;

use rolltop_broker::clock::Clock as _;
use rolltop_proto::v1::{self, DesktopState, HostState};
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

use crate::{
    store::cluster::{EtcdCluster, within_namespaces},
    support::{House, Socket, User, loop_until, reason_of},
};

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, 65];
const UPDATE_REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 4, 0, 3, 0];

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Changes the pool "demo".
async fn change_pool(
    house: &House,
    change: impl FnOnce(&mut v1::Pool),
) -> Result<(), tonic::Status> {
    let mut olga = house.sign_in("olga").await;
    let request = olga.ask(v1::ListPoolsRequest { all: true });
    let pools = olga.client.list_pools(request).await.unwrap().into_inner().pools;
    let mut pool = pools.into_iter().find(|pool| pool.name == "demo").unwrap();
    change(&mut pool);
    let request = olga.ask(v1::PutPoolRequest { pool: Some(pool) });
    olga.client.put_pool(request).await.map(drop)
}

async fn limit(house: &House, limits: v1::TimeLimits) {
    change_pool(house, |pool| pool.time_limits = Some(limits)).await.unwrap();
}

/// Connects as a page does.
async fn look(house: &House, user: &mut User) -> Socket {
    let ticket = user.ticket("demo").await.unwrap();
    let mut socket = Socket::greeted(house, &ticket).await;
    send(&mut socket, b"RFB 003.008\n").await;
    send(&mut socket, &[1]).await;
    send(&mut socket, &[1]).await;
    socket
}

/// What the display echoes has passed the broker.
async fn send(socket: &mut Socket, bytes: &[u8]) {
    socket.send(Message::Binary(bytes.to_vec().into())).await;
    assert_eq!(socket.bytes().await, bytes);
}

async fn told(user: &mut User) -> v1::Desktop {
    loop_until("the user is told", async || {
        user.get("demo").await.ok().filter(|desktop| desktop.ends_at.is_some())
    })
    .await
}

async fn untold(user: &mut User) {
    loop_until("what was told is taken back", async || {
        user.get("demo").await.ok().filter(|desktop| desktop.ends_at.is_none())
    })
    .await;
}

#[tokio::test]
async fn who_does_nothing_is_told_and_then_ended_and_a_key_keeps_the_desktop() {
    let house = House::new().await;
    limit(
        &house,
        v1::TimeLimits { idle: seconds(600), warning: seconds(60), ..Default::default() },
    )
    .await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let mut socket = look(&house, &mut anna).await;
    house.clock.advance(Duration::from_secs(545));
    // A page that shows a desktop asks for pictures: that is no use.
    send(&mut socket, &UPDATE_REQUEST).await;
    let desktop = told(&mut anna).await;
    assert!(desktop.ends_because.contains("used them for 10 minutes"), "{}", desktop.ends_because);

    send(&mut socket, &KEY).await;
    untold(&mut anna).await;
    house.clock.advance(Duration::from_secs(545));
    told(&mut anna).await;
    house.clock.advance(Duration::from_secs(60));
    let (code, why) = socket.closed().await;
    assert_eq!(code, 4002);
    assert_eq!(why, "the desktop was closed, because nobody had used it for long");
    let gone = anna.state_is("demo", DesktopState::Gone).await;
    assert_eq!(gone.end_reason, "IDLE_LIMIT");
    assert!(!house.agent.script.has(gone.number));
}

#[tokio::test]
async fn time_goes_on_while_no_broker_runs_and_an_absence_begins_with_the_last_viewer() {
    let mut house = House::new().await;
    let limits =
        v1::TimeLimits { disconnected: seconds(600), warning: seconds(60), ..Default::default() };
    limit(&house, limits).await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    house.clock.advance(Duration::from_secs(500));
    let socket = look(&house, &mut anna).await;
    // Longer than the limit, but somebody is there.
    house.clock.advance(Duration::from_secs(700));
    drop(socket);
    loop_until("nobody looks", async || {
        anna.get("demo").await.unwrap().viewer.is_none().then_some(())
    })
    .await;
    assert!(anna.get("demo").await.unwrap().ends_at.is_none());

    house.clock.advance(Duration::from_secs(300));
    house.stop_broker().await;
    house.clock.advance(Duration::from_secs(250));
    house.start_broker().await;
    house.host_is(HostState::Ready).await;
    let mut anna = house.sign_in("anna").await;
    told(&mut anna).await;
    // Coming back is enough.
    let socket = look(&house, &mut anna).await;
    untold(&mut anna).await;
    drop(socket);
    loop_until("nobody looks", async || {
        anna.get("demo").await.unwrap().viewer.is_none().then_some(())
    })
    .await;
    house.clock.advance(Duration::from_secs(550));
    told(&mut anna).await;
    house.clock.advance(Duration::from_secs(60));
    let gone = anna.state_is("demo", DesktopState::Gone).await;
    assert_eq!(gone.end_reason, "DISCONNECTED_LIMIT");
}

#[tokio::test]
async fn a_limit_that_is_set_or_changed_holds_for_those_that_run() {
    let house = House::new().await;
    let mut anna = house.sign_in("anna").await;
    anna.start("demo").await.unwrap();
    let _socket = look(&house, &mut anna).await;
    house.clock.advance(Duration::from_secs(3600));
    let total = |total| v1::TimeLimits {
        total: seconds(total),
        warning: seconds(60),
        ..Default::default()
    };
    limit(&house, total(1800)).await;
    let desktop = told(&mut anna).await;
    let now: prost_types::Timestamp = house.clock.now().into();
    let left = desktop.ends_at.unwrap().seconds - now.seconds;
    assert!((30..=60).contains(&left), "the whole warning, though it is late: {left} s");
    assert_eq!(desktop.ends_because, "desktops of this pool run for 30 minutes at most");

    limit(&house, total(7200)).await;
    untold(&mut anna).await;
    limit(&house, total(1800)).await;
    told(&mut anna).await;
    house.clock.advance(Duration::from_secs(60));
    let gone = anna.state_is("demo", DesktopState::Gone).await;
    assert_eq!(gone.end_reason, "TIME_LIMIT");
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_by_field() {
    let house = House::new().await;
    let refused = async |limits: v1::TimeLimits| {
        let status = change_pool(&house, |pool| pool.time_limits = Some(limits)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    };
    let idle = |idle| v1::TimeLimits { idle, ..Default::default() };
    for bad in [seconds(0), seconds(-5), seconds(i64::MAX), seconds(400 * 86_400)] {
        let told = refused(idle(bad)).await;
        assert!(told.contains("pool.time_limits.idle"), "{told}");
    }
    for limits in [
        v1::TimeLimits { warning: seconds(60), ..idle(seconds(60)) },
        v1::TimeLimits { warning: seconds(60), ..Default::default() },
    ] {
        let told = refused(limits).await;
        assert!(told.contains("pool.time_limits.warning"), "{told}");
    }
}

#[tokio::test]
async fn a_pool_takes_no_more_than_it_may_and_none_when_it_is_closed() {
    let house = House::new().await;
    change_pool(&house, |pool| pool.max_desktops = 1).await.unwrap();
    let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
    let both = tokio::join!(anna.start("demo"), ben.start("demo"));
    let (winner, loser, refused) = match both {
        (Ok(_), Err(refused)) => (&mut anna, &mut ben, refused),
        (Err(refused), Ok(_)) => (&mut ben, &mut anna, refused),
        other => panic!("one of both: {other:?}"),
    };
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::ResourceExhausted, "POOL_FULL")
    );
    winner.start("demo").await.expect("who has one, has it");
    winner.stop("demo").await.unwrap();
    loser.start("demo").await.expect("the place is free");
    loser.stop("demo").await.unwrap();

    winner.start("demo").await.unwrap();
    change_pool(&house, |pool| {
        pool.max_desktops = 0;
        pool.closed = "The pool moves to a new image until noon.".into();
    })
    .await
    .unwrap();
    winner.start("demo").await.expect("who is in, is in");
    let refused = loser.start("demo").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::FailedPrecondition, "POOL_CLOSED")
    );
    assert!(refused.message().contains("until noon"), "{}", refused.message());
    change_pool(&house, |pool| pool.closed = String::new()).await.unwrap();
    loser.start("demo").await.unwrap();
}

#[test]
fn of_two_brokers_the_one_that_relays_knows_and_the_other_takes_over() {
    within_namespaces(
        "limits::of_two_brokers_the_one_that_relays_knows_and_the_other_takes_over",
        async {
            let cluster = EtcdCluster::start().await;
            let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
            let on_etcd = format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n");
            let mut house = House::with(&on_etcd).await;
            let limits =
                v1::TimeLimits { idle: seconds(600), warning: seconds(60), ..Default::default() };
            limit(&house, limits).await;
            let (daemon, second_port) = house.second_broker().await;
            let mut anna = house.sign_in("anna").await;
            anna.start("demo").await.unwrap();
            let mut socket = look(&house, &mut anna).await;
            house.clock.advance(Duration::from_secs(545));
            told(&mut anna).await;
            send(&mut socket, &KEY).await;
            untold(&mut anna).await;

            // The first ends in order: when the desktop was used is noted.
            house.stop_daemon().await;
            house.port = second_port;
            house.host_is(HostState::Ready).await;
            let mut anna = house.sign_in("anna").await;
            assert_eq!(anna.get("demo").await.unwrap().state(), DesktopState::Running);
            house.clock.advance(Duration::from_secs(545));
            told(&mut anna).await;
            house.clock.advance(Duration::from_secs(60));
            let gone = anna.state_is("demo", DesktopState::Gone).await;
            assert_eq!(gone.end_reason, "IDLE_LIMIT");
            daemon.stop().await;
        },
    );
}
