//! Claims of number, epoch and capacity are linearizable: clients record what
//! they did while the store and its members fail, and a search looks for an
//! order that explains all of it.
//!
//! Every run prints its seed; `ROLLTOP_SEED=N` runs that one again: the same
//! choices of clients and faults, as far as the machine's timing repeats.

mod clients;
mod faulty;
mod groups;
mod model;
mod search;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rolltop_broker::store::{EmbeddedStore, EtcdOptions, EtcdStore, Store};
use tempfile::TempDir;

use self::{
    clients::{History, Recorded, client},
    faulty::{Fault, FaultyStore},
    model::{Access, Answer, Claims, Load, Registers, What},
    search::{Operation, Unexplained, check},
};
use super::cluster::{EtcdCluster, within_namespaces};

/// The seeds of a run: those given, or the one asked for.
fn seeds(given: impl IntoIterator<Item = u64>) -> Vec<u64> {
    match std::env::var("ROLLTOP_SEED") {
        Ok(seed) => vec![seed.parse().expect("ROLLTOP_SEED is a number")],
        Err(_) => given.into_iter().collect(),
    }
}

/// One that was never tried before.
fn fresh() -> u64 {
    rand::rng().random()
}

async fn record(stores: &[Arc<dyn Store>], seed: u64, clients: u64, count: usize) -> Vec<Recorded> {
    let history = Arc::new(History::default());
    let all = (0..clients).zip(stores.iter().cycle()).map(|(place, store)| {
        let seed = seed.wrapping_mul(31).wrapping_add(place);
        tokio::spawn(client(Arc::clone(store), Arc::clone(&history), seed, count))
    });
    for done in join_all(all).await {
        done.unwrap();
    }
    history.operations()
}

fn assert_explained(history: &[Recorded], seed: u64) {
    let applied =
        history.iter().filter(|done| matches!(done.returned, Some((_, Answer::Applied)))).count();
    assert!(applied > 10, "only {applied} changes: nothing was tried (seed {seed})");
    if let Err(unexplained) = check(&Claims, history) {
        let at = history[unexplained.stuck_at].called;
        let mut near: Vec<_> =
            history.iter().filter(|done| done.called.abs_diff(at) < 30).collect();
        near.sort_by_key(|done| done.called);
        panic!("seed {seed}: {unexplained:?} at {:?}\n{near:#?}", history[unexplained.stuck_at]);
    }
}

async fn embedded(dir: &TempDir) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&dir.path().join("s")).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_on_the_embedded_store_are_linearizable() {
    for seed in seeds([1, 2, 3, fresh()]) {
        println!("seed {seed}");
        let dir = TempDir::new().unwrap();
        let store = embedded(&dir).await;
        let gives_up = FaultyStore::over(store, Fault::GivesUp, seed);
        let history = record(&[Arc::new(gives_up)], seed, 6, 60).await;
        assert_explained(&history, seed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_fault_is_found() {
    for fault in [
        Fault::StaleReads,
        Fault::NoGuards,
        Fault::FalseConflicts,
        Fault::FalseSuccess,
        Fault::AppliedTwice,
        Fault::Torn,
    ] {
        // One run may be lucky; that many cannot all be.
        let mut found = false;
        for seed in seeds(1..=20) {
            let dir = TempDir::new().unwrap();
            let faulty = FaultyStore::over(embedded(&dir).await, fault, seed);
            let history = record(&[Arc::new(faulty)], seed, 6, 40).await;
            if let Err(unexplained) = check(&Claims, &history) {
                println!("{fault:?}: seed {seed}: {unexplained:?}");
                found = true;
                break;
            }
        }
        assert!(found, "{fault:?} went unnoticed");
    }
}

#[test]
fn claims_on_etcd_are_linearizable_while_members_fail() {
    let name = "store::linear::claims_on_etcd_are_linearizable_while_members_fail";
    within_namespaces(name, async {
        for seed in seeds([1, 2, fresh()]) {
            println!("seed {seed}");
            let mut cluster = EtcdCluster::start().await;
            let mut brokers: Vec<Arc<dyn Store>> = Vec::new();
            for _ in 0..3 {
                // Short, so that calls really are given up.
                let options = EtcdOptions { deadline: Duration::from_secs(3), ..cluster.options() };
                brokers.push(Arc::new(EtcdStore::open(&options).await.unwrap()));
            }
            let recording = tokio::spawn(async move { record(&brokers, seed, 6, 120).await });
            let faults = torment(&mut cluster, seed, || recording.is_finished()).await;
            let history = recording.await.unwrap();
            let open = history.iter().filter(|done| done.returned.is_none()).count();
            println!("{} operations, {open} left open, {faults} faults", history.len());
            assert_explained(&history, seed);
        }
    });
}

/// One fault after the other until `done`; all is well again at the end.
async fn torment(cluster: &mut EtcdCluster, seed: u64, done: impl Fn() -> bool) -> usize {
    let mut choice = StdRng::seed_from_u64(seed);
    let mut count = 0;
    while !done() {
        let place = choice.random_range(0..3);
        let length = Duration::from_millis(choice.random_range(100..2500));
        let kind = choice.random_range(0..4);
        // The fault lasts, then the cluster has a moment: this is its schedule.
        match kind {
            0 => cluster.kill(place),
            1 => cluster.pause(place),
            2 => cluster.cut(place, true),
            _ => cluster.cut(place, false),
        }
        tokio::time::sleep(length).await;
        match kind {
            0 => cluster.run_member(place),
            1 => cluster.resume(place),
            _ => cluster.heal(),
        }
        tokio::time::sleep(Duration::from_millis(choice.random_range(0..1000))).await;
        count += 1;
    }
    count
}

fn done<W, A>(called: u64, what: W, answer: A, returned: u64) -> Operation<W, A> {
    Operation { called, returned: Some((returned, answer)), what }
}

fn claim(number: u64, epoch: u64, load: u64) -> What {
    let load = Load { desktops: load, changes: load };
    What::Claim { number, epoch, host: 0, load }
}

#[test]
fn histories_that_can_be_explained_are() {
    let registers = |history: &[_]| check(&Registers, history);
    // Overlapping: the read may come before the write or after it.
    for seen in [0, 1] {
        let history = [
            done(0, ("a", Access::Write(1)), 0, 3),
            done(1, ("a", Access::Read), seen, 2),
            // Another key knows nothing of it.
            done(4, ("b", Access::Read), 0, 5),
        ];
        assert_eq!(registers(&history), Ok(()));
    }
    // Nobody knows whether the write happened: either is fine, in this order.
    let open = Operation { called: 0, returned: None, what: ("a", Access::Write(1)) };
    let read = |at: u64, seen: u8| done(at, ("a", Access::Read), seen, at + 1);
    for late in 0..=1 {
        assert_eq!(registers(&[open.clone(), read(1, 0), read(3, late)]), Ok(()));
    }
    assert!(registers(&[open, read(1, 1), read(3, 0)]).is_err(), "it cannot be undone");

    let history = [
        done(0, claim(1, 1, 0), Answer::Applied, 5),
        // Lost against the first, or against the third.
        done(1, claim(2, 1, 0), Answer::Conflict, 6),
        done(2, What::ReadEpoch, Answer::Epoch(0), 3),
        done(7, claim(2, 2, 1), Answer::Applied, 8),
        Operation { called: 9, returned: None, what: claim(3, 3, 2) },
        done(10, What::ReadEpoch, Answer::Epoch(3), 11),
    ];
    assert_eq!(check(&Claims, &history), Ok(()));
}

#[test]
fn histories_that_cannot_be_explained_are_not() {
    let first = done(0, claim(1, 1, 0), Answer::Applied, 1);
    for (what, answer) in [
        // A stale read; the same epoch, number, capacity twice; a conflict with nobody.
        (What::ReadEpoch, Answer::Epoch(0)),
        (claim(2, 1, 1), Answer::Applied),
        (claim(1, 2, 1), Answer::Applied),
        (claim(2, 2, 0), Answer::Applied),
        (claim(2, 2, 1), Answer::Conflict),
    ] {
        let history = [first.clone(), done(2, what.clone(), answer, 3)];
        let unexplained = Unexplained { explained: 1, of: 2, stuck_at: 1 };
        assert_eq!(check(&Claims, &history), Err(unexplained), "{what:?}");
    }
    // A full host takes nobody.
    let mut history: Vec<_> =
        (0..4).map(|n| done(n * 2, claim(n + 1, n + 1, n), Answer::Applied, n * 2 + 1)).collect();
    assert_eq!(check(&Claims, &history), Ok(()));
    history.push(done(8, claim(5, 5, 4), Answer::Applied, 9));
    assert!(check(&Claims, &history).is_err());
}
