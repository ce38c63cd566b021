//! Image roll-outs, and limits of desktops that run.

use std::{sync::Arc, time::Duration};

use rolltop_broker::{
    names::DesktopId,
    presence::Presence,
    state::{
        self, AgainRecord, CapacityRecord, DesktopRecord, RestartRecord, RolloutRecord, Stored,
        TransactionExt as _, keys,
    },
    store::{Commit, EmbeddedStore, Store, Transaction},
};
use rolltop_proto::v1::{
    self, DesktopState, Failure, Rollout, RolloutSettings, RolloutState, rollout_settings::Batch,
    rollouts_client::RolloutsClient,
};
use rolltop_sim::What;
use tonic::{Code, Status, transport::Channel};

use crate::{
    store::cluster::{EtcdCluster, within_namespaces},
    support::{House, Socket, User, loop_until, reason_of},
};

/// An operator with what it takes.
struct Olga {
    user: User,
    rollouts: RolloutsClient<Channel>,
}

impl Olga {
    async fn of(house: &House) -> Self {
        let rollouts = RolloutsClient::new(house.channel().await);
        Self { user: house.sign_in("olga").await, rollouts }
    }

    async fn start(&mut self, pool: &str, settings: RolloutSettings) -> Result<Rollout, Status> {
        let request = v1::StartRolloutRequest { pool: pool.into(), settings: Some(settings) };
        let request = self.user.ask(request);
        Ok(self.rollouts.start_rollout(request).await?.into_inner())
    }

    async fn roll_back(&mut self, pool: &str, version: &str) -> Result<Rollout, Status> {
        let (pool, version) = (pool.into(), version.into());
        let request = self.user.ask(v1::RollBackRequest { pool, version, settings: None });
        Ok(self.rollouts.roll_back(request).await?.into_inner())
    }

    async fn rollout(&mut self, pool: &str) -> Rollout {
        let request = self.user.ask(v1::ListRolloutsRequest { pool: pool.into() });
        self.rollouts.list_rollouts(request).await.unwrap().into_inner().rollouts.remove(0)
    }

    async fn is(&mut self, pool: &str, state: RolloutState) -> Rollout {
        loop_until("the roll-out's state", async || {
            Some(self.rollout(pool).await).filter(|rollout| rollout.state() == state)
        })
        .await
    }

    async fn pool(&mut self, name: &str) -> v1::Pool {
        let request = self.user.ask(v1::ListPoolsRequest { all: true });
        let pools = self.user.client.list_pools(request).await.unwrap().into_inner().pools;
        pools.into_iter().find(|pool| pool.name == name).unwrap()
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// At once, so many at a time.
fn at_once(desktops: u32) -> RolloutSettings {
    RolloutSettings {
        batch: Some(Batch::Desktops(desktops)),
        warning: seconds(0),
        ..Default::default()
    }
}

async fn behind(user: &mut User, desktop: &str) -> v1::Desktop {
    loop_until("it is behind", async || {
        user.get(desktop).await.ok().filter(|desktop| desktop.behind)
    })
    .await
}

#[tokio::test]
async fn desktops_that_are_behind_are_restarted_one_after_the_other() {
    let house = House::new().await;
    let mut olga = Olga::of(&house).await;
    let refused = olga.start("demo-keep", at_once(1)).await.unwrap_err();
    assert_eq!(reason_of(&refused), "NOTHING_BEHIND");
    let mut users = [house.sign_in("anna").await, house.sign_in("ben").await, olga.user.clone()];
    for user in &mut users {
        user.start("demo-keep").await.unwrap();
    }
    // Whoever watches hears of a tag that moved, though no desktop has changed.
    let [anna, ben, _] = &mut users;
    let request = anna.ask(v1::WatchDesktopsRequest::default());
    let mut changes = anna.client.watch_desktops(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!((first.behind, first.next_version.as_str()), (false, "1"));
    house.agent.script.publish("2", "stable");
    let told = changes.message().await.unwrap().unwrap();
    assert_eq!((told.behind, told.next_version.as_str(), told.version.as_str()), (true, "2", "1"));
    behind(ben, "demo-keep").await;
    let pool = olga.pool("demo-keep").await;
    assert_eq!((pool.running, pool.behind), (3, 3));

    let began = olga.start("demo-keep", at_once(1)).await.unwrap();
    assert_eq!((began.total, began.batch), (3, 1));
    assert_eq!((began.version.as_str(), began.before.as_str()), ("demo@2", "demo@1"));
    let done = olga.is("demo-keep", RolloutState::Done).await;
    assert_eq!((done.id, done.restarted, done.ended, done.failed), (began.id, 3, 0, 0));
    for user in &mut users {
        let desktop = user.get("demo-keep").await.unwrap();
        assert_eq!((desktop.state(), desktop.version.as_str()), (DesktopState::Running, "2"));
        assert!(!desktop.behind && desktop.ends_at.is_none());
    }
    let pool = olga.pool("demo-keep").await;
    assert_eq!((pool.running, pool.behind), (3, 0));
    // Each came up before the next one ended.
    let deeds = house.agent.script.deeds();
    let whole = |deed: &&rolltop_sim::Deed| matches!(deed.what, What::Ended(_) | What::Up);
    let deeds: Vec<_> = deeds.iter().filter(whole).skip(3).collect();
    assert_eq!(deeds.len(), 6);
    for pair in deeds.chunks(2) {
        assert!(matches!(pair[0].what, What::Ended(_)) && pair[1].what == What::Up, "{pair:?}");
        assert_eq!(pair[0].label, pair[1].label);
    }
    // Asked again, it is the one that is done.
    assert_eq!(olga.start("demo-keep", at_once(1)).await.unwrap().state(), RolloutState::Done);
}

#[tokio::test]
async fn who_is_connected_has_until_the_deadline_and_who_is_not_is_only_ended() {
    let house = House::new().await;
    let mut olga = Olga::of(&house).await;
    let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
    anna.start("demo").await.unwrap();
    ben.start("demo").await.unwrap();
    let ticket = anna.ticket("demo").await.unwrap();
    let mut socket = Socket::greeted(&house, &ticket).await;
    house.agent.script.publish("2", "stable");
    let settings = RolloutSettings { deadline: seconds(3600), warning: seconds(60), ..at_once(10) };
    let began = olga.start("demo", settings).await.unwrap();
    assert_eq!((began.total, began.connected), (2, 1));
    let told = loop_until("both are told", async || {
        let told = [anna.get("demo").await.unwrap(), ben.get("demo").await.unwrap()];
        told.iter().all(|desktop| desktop.ends_at.is_some()).then_some(told)
    })
    .await;
    assert_eq!(told[0].ends_at, began.deadline);
    assert!(told[0].ends_because.contains("a new version"), "{}", told[0].ends_because);
    assert!(told[1].ends_at.unwrap().seconds < began.deadline.unwrap().seconds - 3000);

    house.clock.advance(Duration::from_secs(61));
    let gone = ben.state_is("demo", DesktopState::Gone).await;
    assert_eq!(gone.end_reason, "IMAGE_UPDATE");
    let waits = loop_until("one is done with", async || {
        Some(olga.rollout("demo").await).filter(|rollout| rollout.ended == 1)
    })
    .await;
    assert_eq!((waits.state(), waits.behind), (RolloutState::Running, 1));
    assert_eq!(waits.because, "1 in use, until the deadline");
    // A pause takes the word back, and going on gives it anew.
    let pause = olga.user.ask(v1::PauseRolloutRequest { pool: "demo".into() });
    olga.rollouts.pause_rollout(pause).await.unwrap();
    loop_until("it goes on", async || {
        anna.get("demo").await.ok().filter(|desktop| desktop.ends_at.is_none())
    })
    .await;
    house.clock.advance(Duration::from_secs(3600));
    let resume = olga.user.ask(v1::ResumeRolloutRequest { pool: "demo".into() });
    olga.rollouts.resume_rollout(resume).await.unwrap();
    loop_until("she is told anew", async || {
        anna.get("demo").await.ok().filter(|desktop| desktop.ends_at.is_some())
    })
    .await;
    house.clock.advance(Duration::from_secs(61));
    let (code, why) = socket.closed().await;
    assert_eq!(code, 4002);
    // Who looks a moment late finds the next one.
    let said = ["the desktop was closed for another version of it", "the desktop was started anew"];
    assert!(said.contains(&why.as_str()), "{why}");
    let done = olga.is("demo", RolloutState::Done).await;
    assert_eq!((done.restarted, done.ended), (1, 1));
    let annas = anna.get("demo").await.unwrap();
    assert_eq!((annas.state(), annas.version.as_str()), (DesktopState::Running, "2"));
}

#[tokio::test]
async fn a_version_that_does_not_come_up_costs_one_desktop_and_is_rolled_back() {
    let house = House::new().await;
    let mut olga = Olga::of(&house).await;
    let mut users = [house.sign_in("anna").await, house.sign_in("ben").await, olga.user.clone()];
    for user in &mut users {
        user.start("demo-keep").await.unwrap();
    }
    let script = &house.agent.script;
    script.publish("2", "stable");
    let failure = Failure {
        reason: "the display does not answer".into(),
        code: "DISPLAY_TIMEOUT".into(),
        ..Default::default()
    };
    script.broken.lock().unwrap().insert("2".into(), failure);
    let refused = olga.roll_back("demo-keep", "").await.unwrap_err();
    assert_eq!(reason_of(&refused), "NO_EARLIER_VERSION");
    olga.start("demo-keep", at_once(3)).await.unwrap();
    let other = olga.start("demo-keep", at_once(2)).await.unwrap_err();
    assert_eq!(reason_of(&other), "ROLLOUT_UNDER_WAY");
    let halted = olga.is("demo-keep", RolloutState::Halted).await;
    assert_eq!((halted.failed, halted.behind, halted.restarting.len()), (1, 2, 0));
    assert_eq!(halted.failures[0].code, "DISPLAY_TIMEOUT");
    assert!(halted.because.contains("the display does not answer"), "{}", halted.because);
    let running = script.desktops();
    assert_eq!(running.len(), 2, "the rest is left alone");
    assert!(running.iter().all(|desktop| desktop.version == "1"));

    let unknown = olga.roll_back("demo-keep", "7").await.unwrap_err();
    assert_eq!((unknown.code(), reason_of(&unknown)), (Code::NotFound, "VERSION_UNKNOWN".into()));
    let back = olga.roll_back("demo-keep", "").await.unwrap();
    assert_eq!((back.image.as_str(), back.replaced.as_str()), ("demo@1", "demo:stable"));
    assert!(back.back && back.total == 0);
    assert_eq!(olga.roll_back("demo-keep", "").await.unwrap().id, back.id, "asked again");
    olga.is("demo-keep", RolloutState::Done).await;
    assert_eq!(olga.pool("demo-keep").await.image, "demo@1");
    for user in &mut users {
        let (_, desktop) = user.start("demo-keep").await.unwrap();
        assert_eq!((desktop.state(), desktop.version.as_str()), (DesktopState::Running, "1"));
    }
}

#[tokio::test]
async fn what_users_start_counts_too_and_what_came_up_is_rolled_back_as_well() {
    let house = House::new().await;
    let mut olga = Olga::of(&house).await;
    let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
    anna.start("demo-keep").await.unwrap();
    ben.start("demo-keep").await.unwrap();
    let script = &house.agent.script;
    script.publish("2", "stable");
    // Long warned: nothing is restarted but by its users.
    let slow = RolloutSettings { warning: seconds(3600), ..at_once(1) };
    olga.start("demo-keep", slow).await.unwrap();
    anna.stop("demo-keep").await.unwrap();
    anna.start("demo-keep").await.unwrap();
    let failure = Failure { code: "DISK_FULL".into(), ..Default::default() };
    script.broken.lock().unwrap().insert("2".into(), failure);
    ben.stop("demo-keep").await.unwrap();
    let (_, failed) = ben.start("demo-keep").await.unwrap();
    assert_eq!(failed.state(), DesktopState::Failed);
    let halted = olga.is("demo-keep", RolloutState::Halted).await;
    assert_eq!(halted.failures[0].desktop, "demo-keep/ben");

    // Back to what most ran; with the last one's settings, but for the warning's time.
    let began = olga.roll_back("demo-keep", "").await.unwrap();
    assert_eq!((began.total, began.before.as_str()), (1, "demo@2"));
    loop_until("she is told", async || {
        anna.get("demo-keep").await.ok().filter(|desktop| desktop.ends_because.contains("earlier"))
    })
    .await;
    house.clock.advance(Duration::from_secs(3601));
    let done = olga.is("demo-keep", RolloutState::Done).await;
    assert_eq!(done.restarted, 1);
    assert_eq!(anna.get("demo-keep").await.unwrap().version, "1");
    loop_until("both acts are noted", async || {
        let request = olga.user.ask(v1::ListAuditRequest::default());
        let entries = olga.user.audit.list_audit(request).await.unwrap().into_inner().entries;
        let noted = |act| entries.iter().any(|entry| entry.act == act);
        (noted("start-rollout") && noted("roll-back-image")).then_some(())
    })
    .await;
}

#[test]
fn a_broker_that_dies_in_the_middle_is_made_up_for() {
    within_namespaces("rollout::a_broker_that_dies_in_the_middle_is_made_up_for", async {
        let cluster = EtcdCluster::start().await;
        let endpoints: Vec<String> = (0..3).map(|place| cluster.endpoint(place)).collect();
        let house =
            House::with(&format!("[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n")).await;
        let mut olga = Olga::of(&house).await;
        let (mut anna, mut ben) = (house.sign_in("anna").await, house.sign_in("ben").await);
        anna.start("demo-keep").await.unwrap();
        ben.start("demo-keep").await.unwrap();
        house.agent.script.publish("2", "stable");
        let slow = RolloutSettings { warning: seconds(3600), ..at_once(1) };
        olga.start("demo-keep", slow).await.unwrap();

        // Another broker has it, ends anna's desktop, and dies before it asks the host.
        let store: Arc<dyn Store> = Arc::new(cluster.store().await);
        let vanishing = Presence::new(Arc::clone(&store));
        let lease = vanishing.announce().await.unwrap();
        loop_until("it is the other's", async || {
            let rollout = read::<RolloutRecord>(&store, "rollout/demo-keep").await;
            let key = keys::desktop(&DesktopId::from_key("demo-keep/anna").unwrap());
            let annas = read::<DesktopRecord>(&store, &key).await;
            let mut record = rollout.record.clone();
            vanishing.name().clone_into(&mut record.driver);
            record.settings.warning_ms = 0;
            record.restarting.push(RestartRecord {
                desktop: annas.record.id.clone(),
                epoch: annas.record.epoch,
                since: record.started_at,
                again: Some(AgainRecord { width: 0, height: 0, time_zone: String::new() }),
            });
            let stopping =
                DesktopRecord { state: state::DesktopState::Stopping, ..annas.record.clone() };
            let taken = Transaction::new()
                .unchanged(&rollout.key, rollout.revision)
                .unchanged(&annas.key, annas.revision)
                .put_record(&rollout.key, &record)
                .unwrap()
                .put_record(&annas.key, &stopping)
                .unwrap();
            matches!(store.commit(taken).await.unwrap(), Commit::Applied(_)).then_some(())
        })
        .await;
        store.revoke(lease).await.unwrap();

        let done = olga.is("demo-keep", RolloutState::Done).await;
        assert_eq!((done.restarted, done.failed), (2, 0));
        for user in [&mut anna, &mut ben] {
            let desktop = user.get("demo-keep").await.unwrap();
            assert_eq!((desktop.state(), desktop.version.as_str()), (DesktopState::Running, "2"));
        }
    });
}

async fn read<T: state::Record>(store: &Arc<dyn Store>, key: &str) -> Stored<T> {
    state::read::<T>(store.as_ref(), key).await.unwrap().unwrap()
}

#[tokio::test]
async fn limits_change_while_a_desktop_runs_and_so_does_what_is_claimed() {
    let mut house = House::new().await;
    let mut olga = Olga::of(&house).await;
    let mut anna = house.sign_in("anna").await;
    let (_, started) = anna.start("demo").await.unwrap();
    let before = started.limits.unwrap();
    let request = |memory_mib, pids| v1::SetDesktopLimitsRequest {
        desktop: "demo/anna".into(),
        memory_mib,
        pids,
        ..Default::default()
    };
    let own = anna.ask(request(Some(4096), None));
    let refused = anna.client.set_desktop_limits(own).await.unwrap_err();
    assert_eq!(reason_of(&refused), "OPERATORS_ONLY");
    let room = left(&mut olga, &request).await;
    let more = olga.user.ask(request(Some(4096), Some(77)));
    let changed = olga.user.client.set_desktop_limits(more).await.unwrap().into_inner();
    let expected = v1::Limits { memory_mib: 4096, pids: 77, ..before };
    assert_eq!(changed.limits, Some(expected));
    assert_eq!(house.agent.script.desktops()[0].limits, Some(expected));

    // Rates take nothing of the host; those that are not named stay.
    let rates = v1::SetDesktopLimitsRequest {
        network_up_bits: Some(1_000_000),
        disk_ops: Some(10),
        ..request(None, None)
    };
    let slow = v1::SetDesktopLimitsRequest { network_up_bits: Some(1), ..rates.clone() };
    let slow = olga.user.client.set_desktop_limits(olga.user.ask(slow)).await.unwrap_err();
    assert!(slow.message().starts_with("network_up_bits: "), "{}", slow.message());
    olga.user.client.set_desktop_limits(olga.user.ask(rates)).await.unwrap();
    let expected = v1::Limits { network_up_bits: 1_000_000, disk_ops: 10, ..expected };
    assert_eq!(house.agent.script.desktops()[0].limits, Some(expected));

    // Neither what the host has not, nor less than is used, changes anything.
    assert_eq!(left(&mut olga, &request).await, room + before.memory_mib - 4096);
    house.agent.script.memory_in_use_mib.store(500, std::sync::atomic::Ordering::SeqCst);
    let little = olga.user.ask(request(Some(499), None));
    let refused = olga.user.client.set_desktop_limits(little).await.unwrap_err();
    assert_eq!(reason_of(&refused), "LIMIT_IN_USE");
    for bad in [request(Some(1), None), request(None, None)] {
        let bad = olga.user.ask(bad);
        let bad = olga.user.client.set_desktop_limits(bad).await.unwrap_err();
        assert_eq!(reason_of(&bad), "BAD_FIELD");
    }
    assert_eq!(anna.get("demo").await.unwrap().limits, Some(expected));
    assert_eq!(left(&mut olga, &request).await, room + before.memory_mib - 4096);
    let less = olga.user.ask(request(Some(600), None));
    olga.user.client.set_desktop_limits(less).await.unwrap();
    assert_eq!(left(&mut olga, &request).await, room + before.memory_mib - 600);
    anna.stop("demo").await.unwrap();
    house.stop_broker().await;
    let path = house.dir.path().join("state/store.redb");
    let store = loop_until("the store is free", async || EmbeddedStore::open(&path).await.ok());
    let store: Arc<dyn Store> = Arc::new(store.await);
    let key = keys::capacity(&"h1".parse().unwrap());
    let claimed = read::<CapacityRecord>(&store, &key).await.record;
    assert_eq!(claimed, CapacityRecord::default());
}

/// What a host has left to give out, as it says when it is asked for too much.
async fn left(
    olga: &mut Olga,
    request: &impl Fn(Option<i64>, Option<i64>) -> v1::SetDesktopLimitsRequest,
) -> i64 {
    let huge = olga.user.ask(request(Some(1 << 30), None));
    let refused = olga.user.client.set_desktop_limits(huge).await.unwrap_err();
    assert_eq!(reason_of(&refused), "LIMITS_TOO_LARGE");
    let words: Vec<&str> = refused.message().split(' ').collect();
    let place = words.windows(2).position(|pair| pair == ["MiB", "left"]).unwrap();
    words[place - 1].parse().unwrap()
}
