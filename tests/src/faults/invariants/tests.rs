use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rolltop_proto::v1::HostDesktop;
use rolltop_sim::{Deed, What};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;

/// One desktop on h0, as the store and the host have it.
fn records() -> Vec<(&'static str, Value)> {
    let noted = json!({"state": "running", "number": 1, "epoch": 7, "host": "h0",
        "limits": {"memory_mib": 2048}, "overlay": ""});
    vec![
        ("desktop/demo/p0", noted),
        ("number/0000000001", json!({"desktop": "demo/p0"})),
        ("capacity/h0", json!({"desktops": 1, "memory_mib": 2048})),
        ("pool-use/demo", json!({"desktops": 1})),
        ("counter/epoch", json!({"last": 7})),
    ]
}

fn snapshot(records: &[(&str, Value)]) -> Snapshot {
    let mut export = "{\"format\":\"rolltop-store\",\"version\":1,\"revision\":1}\n".to_owned();
    for (key, value) in records {
        let value = BASE64_STANDARD.encode(json!({"v": 1, "d": value}).to_string());
        export += &format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    }
    Snapshot::parse(&export).unwrap()
}

fn changed(key: &str, change: impl FnOnce(&mut Value)) -> Snapshot {
    let mut records = records();
    change(&mut records.iter_mut().find(|(known, _)| *known == key).unwrap().1);
    snapshot(&records)
}

fn at(second: u64, base: Instant) -> Instant {
    base + Duration::from_secs(second)
}

fn deed(at: Instant, epoch: u64, what: What) -> Deed {
    Deed { at, number: 1, epoch, label: "demo/p0".into(), request_id: "r".into(), what }
}

fn running() -> HostDesktop {
    let state = DesktopState::Running.into();
    HostDesktop { number: 1, epoch: 7, label: "demo/p0".into(), state, ..Default::default() }
}

fn truth(base: Instant) -> Truth {
    let mut truth = Truth::default();
    let deeds = [deed(at(1, base), 7, What::Begun), deed(at(2, base), 7, What::Up)];
    truth.add("h0", &deeds, vec![running()], Duration::ZERO);
    truth
}

fn answer(base: Instant, wish: Wish, outcome: Outcome) -> Answer {
    let (asked, answered) = (at(5, base), at(6, base));
    Answer { desktop: "demo/p0".into(), wish, broker: 0, asked, answered, outcome }
}

fn life() -> Life {
    Life { host: "h0".into(), number: 1, epoch: 7 }
}

fn one(wrong: &[String], part: &str) {
    assert!(wrong.iter().any(|wrong| wrong.contains(part)), "{part}: {wrong:?}");
}

#[test]
fn what_is_well_is_found_well() {
    let base = Instant::now();
    let snapshot = snapshot(&records());
    let told = [answer(base, Wish::Start, Outcome::Running(life()))];
    assert_eq!(at_rest(&snapshot, &truth(base), &told), Vec::<String>::new());
    assert_eq!(of_truth(&truth(base)), Vec::<String>::new());
    assert_eq!(of_answers(&told, &truth(base)), Vec::<String>::new());
}

#[test]
fn a_store_that_does_not_add_up_is_found() {
    let wrong = |key, change: fn(&mut Value)| of_snapshot(&changed(key, change));
    one(&wrong("capacity/h0", |value| value["desktops"] = 2.into()), "on h0");
    one(&wrong("pool-use/demo", |value| value["desktops"] = 0.into()), "pool demo");
    one(&wrong("counter/epoch", |value| value["last"] = 6.into()), "the last given is 6");
    one(&wrong("desktop/demo/p0", |value| value["number"] = 2.into()), "noted as free");
    one(&wrong("desktop/demo/p0", |value| value["overlay"] = "x".into()), "nobody knows");
    let mut twice = records();
    let same = twice[0].1.clone();
    twice.push(("desktop/demo/p1", same));
    let wrong = of_snapshot(&snapshot(&twice));
    one(&wrong, "number 1 is of demo/p0 and of demo/p1");
    one(&wrong, "both have epoch 7");
}

#[test]
fn a_number_or_an_epoch_given_twice_is_found() {
    let base = Instant::now();
    let mut two = truth(base);
    let deeds = [deed(at(3, base), 8, What::Begun)];
    two.add("h1", &deeds, Vec::new(), Duration::ZERO);
    one(&of_truth(&two), "number 1 was at once");
    let mut two = truth(base);
    two.add("h1", &[deed(at(3, base), 7, What::Begun)], Vec::new(), Duration::ZERO);
    one(&of_truth(&two), "epoch 7 was given to demo/p0 as number 1 on h0");
    // One after the other is no harm.
    let mut after = Truth::default();
    let ended = What::Ended("STOPPED".into());
    after.add(
        "h0",
        &[deed(at(1, base), 7, What::Begun), deed(at(2, base), 7, ended)],
        Vec::new(),
        Duration::ZERO,
    );
    after.add("h1", &[deed(at(2, base), 8, What::Begun)], Vec::new(), Duration::ZERO);
    assert_eq!(of_truth(&after), Vec::<String>::new());
}

#[test]
fn what_is_heard_late_is_no_proof() {
    let base = Instant::now();
    let of_two = |late| {
        let mut two = Truth::default();
        let ended = What::Ended("STOPPED".into());
        let deeds = [deed(at(1, base), 7, What::Begun), deed(at(7, base), 7, ended)];
        two.add("h0", &deeds, Vec::new(), late);
        two.add("h1", &[deed(at(6, base), 8, What::Begun)], Vec::new(), late);
        two
    };
    let told = [answer(base, Wish::Stop, Outcome::Ended(life()))];
    for (late_s, proof) in [(2, false), (0, true)] {
        let two = of_two(Duration::from_secs(late_s));
        assert_eq!(!of_truth(&two).is_empty(), proof);
        assert_eq!(!of_answers(&told, &two).is_empty(), proof);
    }
}

#[test]
fn a_machine_that_has_something_else_is_found() {
    let container = |number, ip: &str| Container {
        number,
        mac: "54:52:00:00:00:01".into(),
        ips: [ip.to_owned()].into(),
        network: "net:[1]".into(),
    };
    let told =
        [HostDesktop { mac: "54:52:00:00:00:01".into(), ip: "10.77.0.1".into(), ..running() }];
    assert_eq!(of_machine("h0", &told, &[container(1, "10.77.0.1")]), Vec::<String>::new());
    one(&of_machine("h0", &told, &[container(1, "10.77.0.2")]), "has 54:52:00:00:00:01 and");
    one(&of_machine("h0", &told, &[]), "has it not");
    one(&of_machine("h0", &[], &[container(2, "10.77.0.2")]), "processes of number 2");
}

#[test]
fn a_lie_is_found() {
    let base = Instant::now();
    let elsewhere = Life { host: "h1".into(), ..life() };
    let told = [answer(base, Wish::Start, Outcome::Running(elsewhere))];
    one(&of_answers(&told, &truth(base)), "where it never ran");
    let told = [answer(base, Wish::Stop, Outcome::Ended(life()))];
    one(&of_answers(&told, &truth(base)), "has ended, and it was on h0");
    let reason = "STORE_FAILED".to_owned();
    let told = [answer(base, Wish::Stop, Outcome::Refused { reason, message: String::new() })];
    one(&of_answers(&told, &truth(base)), "STORE_FAILED");
    let mut ended = Truth::default();
    let stopped = What::Ended("STOPPED".into());
    let deeds = [
        deed(at(1, base), 7, What::Begun),
        deed(at(2, base), 7, What::Up),
        deed(at(3, base), 7, stopped),
    ];
    ended.add("h0", &deeds, Vec::new(), Duration::ZERO);
    let told = [answer(base, Wish::Start, Outcome::Running(life()))];
    one(&of_answers(&told, &ended), "where it had been ended");
}

#[test]
fn a_desktop_that_is_lost_is_found() {
    let base = Instant::now();
    let none = |why: &str| {
        let mut none = Truth::default();
        let ended = What::Ended(why.into());
        let deeds = [deed(at(1, base), 7, What::Begun), deed(at(7, base), 7, ended)];
        none.add("h0", &deeds, Vec::new(), Duration::ZERO);
        none
    };
    let told = [answer(base, Wish::Start, Outcome::Running(life()))];
    let empty = snapshot(&[]);
    one(&at_rest(&empty, &none("STOPPED"), &told), "nobody wanted it ended");
    assert_eq!(at_rest(&empty, &none("without a word"), &told), Vec::<String>::new());
    let stopped = [told[0].clone(), answer(base, Wish::Stop, Outcome::Ended(life()))];
    assert_eq!(at_rest(&empty, &none("STOPPED"), &stopped), Vec::<String>::new());
    let unreachable =
        Outcome::Refused { reason: "HOST_UNREACHABLE".into(), message: String::new() };
    let refused = [told[0].clone(), answer(base, Wish::Stop, unreachable)];
    one(&at_rest(&empty, &none("STOPPED"), &refused), "nobody wanted it ended");
    one(&at_rest(&empty, &truth(base), &[]), "of which the store does not know");
    one(&at_rest(&snapshot(&records()), &none("STOPPED"), &[]), "which has it not");
}
