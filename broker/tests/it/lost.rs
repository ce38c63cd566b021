//! Hosts that are lost, and hosts that are drained: what becomes of desktops.

use std::{sync::Arc, time::Duration};

use rolltop_proto::v1::{self, DesktopState, HostState};
use tokio::sync::Semaphore;

use crate::support::{Behaviour, House, User, loop_until, reason_of};

const SOON_LOST: &str = "[hosts]\nsuspect_s = 1\nlost_s = 2\n";
const HOUR_S: i64 = 3600;

async fn host_is(house: &House, olga: &mut User, name: &str, state: HostState) -> v1::Host {
    loop_until("the host's state", async || {
        let host = house.host(olga, name).await;
        (host.state() == state).then_some(host)
    })
    .await
}

async fn drain(olga: &mut User, name: &str, seconds: i64) -> v1::Host {
    let deadline = Some(prost_types::Duration { seconds, nanos: 0 });
    let request = olga.ask(v1::DrainHostRequest { name: name.into(), deadline });
    olga.hosts.drain_host(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_volatile_desktop_of_a_lost_host_is_given_anew_elsewhere() {
    let mut house = House::with_two_hosts(SOON_LOST).await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    let (_, first) = anna.start("demo").await.unwrap();
    let (lost, other) = (first.host.clone(), if first.host == "h1" { "h2" } else { "h1" });
    house.agent_of(&lost).vanish();
    host_is(&house, &mut olga, &lost, HostState::Lost).await;
    assert_eq!(anna.list().await[0].state(), DesktopState::Running, "nobody asked for another");

    let (_, second) = anna.start("demo").await.unwrap();
    assert_eq!((second.host.as_str(), second.state()), (other, DesktopState::Running));
    assert!(second.epoch > first.epoch && second.number != first.number, "{second:?} {first:?}");
    let (_, third) = ben.start("demo").await.unwrap();
    assert!(![first.number, second.number].contains(&third.number), "the lost host may have it");
    assert!(house.agent_of(&lost).script.has(first.number), "nothing was ended there");

    // It comes back, and ends what is no longer its own before it is ready.
    house.agent_of(&lost).come_up();
    host_is(&house, &mut olga, &lost, HostState::Ready).await;
    assert!(!house.agent_of(&lost).script.has(first.number));
    let now = anna.get("demo").await.unwrap();
    assert_eq!((now.epoch, now.state()), (second.epoch, DesktopState::Running));
    ben.stop("demo").await.unwrap();
    let again = loop_until("the number is free", async || {
        let (_, again) = ben.start("demo").await.unwrap();
        if again.number == first.number {
            return Some(again);
        }
        ben.stop("demo").await.unwrap();
        None
    })
    .await;
    assert_eq!(again.state(), DesktopState::Running);
}

/// A start whose answer comes late, after `meanwhile`, and is believed: until the
/// host has told all once more.
async fn an_answer_is_late(meanwhile: impl AsyncFnOnce(&House, u32)) {
    let house = House::new().await;
    let (mut anna, script) = (house.sign_in("anna").await, &house.agent.script);
    let gate = Arc::new(Semaphore::new(0));
    script.behave(Behaviour::Late(Arc::clone(&gate)));
    let mut starter = anna.clone();
    let starting = tokio::spawn(async move { starter.start("demo").await });
    let number = loop_until("a desktop", async || {
        let all = script.desktops();
        all.iter().find(|told| told.state() == DesktopState::Running).map(|told| told.number)
    })
    .await;
    meanwhile(&house, number).await;
    gate.add_permits(1);
    let (_, told) = starting.await.unwrap().unwrap();
    assert_eq!(told.state(), DesktopState::Running, "as far as anybody knew");
    assert_eq!(anna.state_is("demo", DesktopState::Gone).await.end_reason, "LOST");
}

/// Found by a fault schedule.
#[tokio::test]
async fn an_answer_from_before_a_loss_of_power_is_not_believed_for_long() {
    an_answer_is_late(async |house, _| {
        let script = &house.agent.script;
        let watches = script.watches();
        script.lose_power();
        script.break_watches();
        loop_until("it tells all", async || (script.watches() > watches).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn nor_is_one_from_before_the_end() {
    an_answer_is_late(async |house, number| {
        let script = &house.agent.script;
        script.behave(Behaviour::Run);
        let mut ben = house.sign_in("ben").await;
        let (_, other) = ben.start("demo").await.unwrap();
        // Changes are told in their order: who knows the later one knows both.
        script.end(number, "LOGGED_OUT");
        script.end(other.number, "LOGGED_OUT");
        ben.state_is("demo", DesktopState::Gone).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_on_a_lost_host_is_waited_for() {
    let mut house = House::with_two_hosts(SOON_LOST).await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    let (_, first) = anna.start("demo-keep").await.unwrap();
    let lost = first.host.clone();
    house.agent_of(&lost).vanish();
    host_is(&house, &mut olga, &lost, HostState::Lost).await;
    let refused = anna.start("demo-keep").await.unwrap_err();
    assert_eq!(reason_of(&refused), "DATA_ON_LOST_HOST");
    assert!(refused.message().contains(&format!("is on host {lost}")), "{}", refused.message());

    house.agent_of(&lost).come_up();
    host_is(&house, &mut olga, &lost, HostState::Ready).await;
    let (_, found) = anna.start("demo-keep").await.unwrap();
    assert_eq!((found.epoch, found.host), (first.epoch, first.host), "it went on");
    assert!(house.agent_of(&lost).script.has(first.number));

    // The same when it was stopped before.
    anna.stop("demo-keep").await.unwrap();
    house.agent_of(&lost).vanish();
    host_is(&house, &mut olga, &lost, HostState::Lost).await;
    let refused = anna.start("demo-keep").await.unwrap_err();
    assert_eq!(reason_of(&refused), "DATA_ON_LOST_HOST");
}

/// Both hosts reach the storage "san"; the brokers have heard so.
async fn share_storage(house: &mut House) {
    for host in ["h1", "h2"] {
        let agent = house.agent_of(host);
        *agent.script.storage.on.lock().unwrap() = ("san".to_owned(), true);
        // Told anew when the line is.
        agent.vanish();
        agent.come_up();
    }
    let mut olga = house.sign_in("olga").await;
    loop_until("the storage is known", async || {
        let hosts = [house.host(&mut olga, "h1").await, house.host(&mut olga, "h2").await];
        let told = |host: &v1::Host| host.info.as_ref().is_some_and(|info| info.storage_shared);
        hosts.iter().all(|host| told(host) && host.state() == HostState::Ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_on_shared_storage_goes_on_elsewhere_once_nobody_holds_it() {
    let mut house = House::with_two_hosts(SOON_LOST).await;
    share_storage(&mut house).await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    let (_, first) = anna.start("demo-keep").await.unwrap();
    let (lost, other) = (first.host.clone(), if first.host == "h1" { "h2" } else { "h1" });
    let made = house.agent_of(&lost).script.requests.lock().unwrap().last().cloned().unwrap();
    house.agent_of(other).script.storage.mount(&made);
    let held = std::sync::Arc::clone(&house.agent_of(other).script.storage.holder);
    *held.lock().unwrap() = Some("h-by-name".to_owned());
    house.agent_of(&lost).vanish();
    host_is(&house, &mut olga, &lost, HostState::Lost).await;

    // The host may be cut off from brokers only: its user works on there.
    let refused = anna.start("demo-keep").await.unwrap_err();
    assert_eq!(reason_of(&refused), "DATA_HELD");
    assert!(refused.message().contains("held by h-by-name"), "{}", refused.message());
    let noted = anna.get("demo-keep").await.unwrap();
    assert_eq!((noted.epoch, noted.state()), (first.epoch, DesktopState::Running));
    assert_eq!(house.agent_of(other).script.starts(), 0, "nothing was tried");

    *held.lock().unwrap() = None;
    let (_, second) = anna.start("demo-keep").await.unwrap();
    assert_eq!((second.host.as_str(), second.state()), (other, DesktopState::Running));
    assert!(second.epoch > first.epoch && second.number != first.number);
    let asked = house.agent_of(other).script.requests.lock().unwrap().last().cloned().unwrap();
    assert_eq!(asked.overlay, made.overlay, "the same data");

    // The lost host ends its own when it is back; the data is where it went on.
    house.agent_of(&lost).come_up();
    host_is(&house, &mut olga, &lost, HostState::Ready).await;
    assert!(!house.agent_of(&lost).script.has(first.number));
    assert!(house.agent_of(other).script.has(second.number));
    anna.stop("demo-keep").await.unwrap();
    house.agent_of(&lost).vanish();
    host_is(&house, &mut olga, &lost, HostState::Lost).await;
    assert_eq!(anna.start("demo-keep").await.unwrap().1.host, other);
}

#[tokio::test]
async fn data_is_never_made_anew_where_its_storage_is_missing() {
    let mut house = House::new().await;
    *house.agent.script.storage.on.lock().unwrap() = ("disk-1".to_owned(), false);
    house.agent.vanish();
    house.agent.come_up();
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    let storage_is = async |olga: &mut User, id: &str| {
        loop_until("the storage is known", async || {
            let host = house.host(olga, "h1").await;
            let ready = host.state() == HostState::Ready;
            (ready && host.info.is_some_and(|info| info.storage_id == id)).then_some(())
        })
        .await;
    };
    storage_is(&mut olga, "disk-1").await;
    anna.start("demo-keep").await.unwrap();
    anna.stop("demo-keep").await.unwrap();
    let starts = house.agent.script.starts();

    // The host comes up, and its disk does not.
    *house.agent.script.storage.on.lock().unwrap() = ("empty-directory".to_owned(), false);
    storage_is(&mut olga, "empty-directory").await;
    let refused = anna.start("demo-keep").await.unwrap_err();
    assert_eq!(reason_of(&refused), "NO_ROOM", "{refused}");
    assert!(refused.message().contains("not mounted"), "{}", refused.message());
    assert_eq!(house.agent.script.starts(), starts, "the host was not even asked");

    *house.agent.script.storage.on.lock().unwrap() = ("disk-1".to_owned(), false);
    storage_is(&mut olga, "disk-1").await;
    anna.start("demo-keep").await.unwrap();
}

#[tokio::test]
async fn a_lost_host_is_removed_by_force_only() {
    let mut house = House::with_two_hosts(SOON_LOST).await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    anna.start("demo").await.unwrap();
    let (_, kept) = anna.start("demo-keep").await.unwrap();
    let remove = async |olga: &mut User, force| {
        let host = kept.host.clone();
        let request = olga.ask(v1::DeleteHostRequest { name: host, force });
        olga.client.delete_host(request).await
    };
    assert_eq!(reason_of(&remove(&mut olga, true).await.unwrap_err()), "HOST_ANSWERS");
    house.agent_of(&kept.host).vanish();
    host_is(&house, &mut olga, &kept.host, HostState::Lost).await;
    let refused = remove(&mut olga, false).await.unwrap_err();
    assert_eq!(reason_of(&refused), "HOST_IN_USE");
    assert!(refused.message().contains("--force"), "{}", refused.message());
    remove(&mut olga, true).await.unwrap();
    assert_eq!(anna.get("demo-keep").await.unwrap().end_reason, "HOST_REMOVED");
    let (_, anew) = anna.start("demo-keep").await.unwrap();
    assert_ne!(anew.host, kept.host);
}

#[tokio::test]
async fn a_host_is_drained_by_its_deadline_and_users_are_told() {
    let house = House::with_two_hosts("").await;
    let mut anna = house.sign_in("anna").await;
    let mut ben = house.sign_in("ben").await;
    let mut olga = house.sign_in("olga").await;
    let (_, first) = anna.start("demo").await.unwrap();
    let (lost, other) = (first.host.clone(), if first.host == "h1" { "h2" } else { "h1" });
    let request = olga.ask(v1::WatchHostsRequest { name: lost.clone() });
    let mut told = olga.hosts.watch_hosts(request).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().state(), HostState::Ready);

    let host = drain(&mut olga, &lost, HOUR_S).await;
    assert_eq!(host.drain.unwrap().remaining, 1);
    let warned = loop_until("anna is told", async || {
        anna.get("demo").await.ok().filter(|desktop| desktop.ends_at.is_some())
    })
    .await;
    assert!(warned.ends_because.contains(&lost), "{}", warned.ends_because);
    assert_eq!(warned.state(), DesktopState::Running);
    assert_eq!(ben.start("demo").await.unwrap().1.host, other, "nothing new is placed there");

    let request = olga.ask(v1::UndrainHostRequest { name: lost.clone() });
    let host = olga.hosts.undrain_host(request).await.unwrap().into_inner();
    assert_eq!(host.drain, None);
    assert_eq!(anna.get("demo").await.unwrap().ends_at, None, "no longer");

    drain(&mut olga, &lost, HOUR_S).await;
    house.clock.advance(Duration::from_secs(2 * HOUR_S as u64));
    let ended = anna.state_is("demo", DesktopState::Gone).await;
    assert_eq!(ended.end_reason, "HOST_DRAINED");
    host_is(&house, &mut olga, &lost, HostState::Drained).await;
    let mut states = Vec::new();
    while states.last() != Some(&HostState::Drained) {
        states.push(told.message().await.unwrap().unwrap().state());
    }
    assert!(states.contains(&HostState::Draining), "{states:?}");

    // With the other one drained too, the reasons reach the user.
    drain(&mut olga, other, HOUR_S).await;
    let refused = anna.start("demo").await.unwrap_err();
    assert_eq!(reason_of(&refused), "NO_ROOM");
    assert!(refused.message().contains("it is being drained"), "{}", refused.message());
}

#[tokio::test]
async fn placement_explains_itself() {
    let house = House::with_two_hosts("").await;
    let mut anna = house.sign_in("anna").await;
    let mut olga = house.sign_in("olga").await;
    let explain = async |olga: &mut User, user: &str| {
        let request = v1::ExplainPlacementRequest { pool: "demo-keep".into(), user: user.into() };
        let request = olga.ask(request);
        olga.hosts.explain_placement(request).await.unwrap().into_inner()
    };
    let told = explain(&mut olga, "anna").await;
    assert_eq!(told.hosts.len(), 2);
    assert!(told.hosts.iter().all(|host| host.reasons.is_empty() && host.score > 0), "{told:?}");
    let (_, placed) = anna.start("demo-keep").await.unwrap();
    assert_eq!(placed.host, told.chosen, "it was placed where it was said to be");

    anna.stop("demo-keep").await.unwrap();
    let told = explain(&mut olga, "anna").await;
    let refused = told.hosts.iter().find(|host| host.host != placed.host).unwrap();
    let sentence = format!("the kept disk of this desktop is on {}", placed.host);
    assert_eq!(refused.reasons, [sentence]);

    let set = std::collections::HashMap::from([("gpu".to_owned(), "a40".to_owned())]);
    let request = v1::SetHostLabelsRequest { name: "h2".into(), set, remove: vec!["x".into()] };
    let request = olga.ask(request);
    let host = olga.hosts.set_host_labels(request).await.unwrap().into_inner();
    assert_eq!(host.labels["gpu"], "a40");
    let pools = v1::ListPoolsRequest { all: true };
    let pools = olga.client.list_pools(olga.ask(pools)).await.unwrap().into_inner().pools;
    let mut pool = pools.into_iter().find(|pool| pool.name == "demo").unwrap();
    pool.hosts.as_mut().unwrap().require = vec!["gpu".into()];
    let request = olga.ask(v1::PutPoolRequest { pool: Some(pool) });
    olga.client.put_pool(request).await.unwrap();
    let chosen = loop_until("the label is known", async || {
        let request = v1::ExplainPlacementRequest { pool: "demo".into(), user: String::new() };
        let request = olga.ask(request);
        let told = olga.hosts.explain_placement(request).await.unwrap().into_inner();
        (told.chosen == "h2").then_some(told)
    })
    .await;
    assert_eq!(chosen.hosts[1].reasons, ["it has no label gpu, which the pool requires"]);
    assert_eq!(anna.start("demo").await.unwrap().1.host, "h2");
}
