//! The same of what brokers do for people: desktops claimed and ended by several
//! brokers at once, by the way that joins what waits into one transaction.

#[path = "../../../../src/desktops/group/tests/claimers.rs"]
mod claimers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rolltop_broker::{
    clock::SystemClock,
    desktops::{Claim, DesktopError, Desktops, StartRequest},
    names::DesktopId,
    pki::Authority,
    state::{self, DesktopRecord, DesktopState, PoolRecord, TransactionExt as _, keys},
    store::{EtcdOptions, EtcdStore, Revision, Store, StoreError, Transaction},
};
use tempfile::TempDir;

use self::claimers::{Claimer, people};
use super::{
    clients::History,
    embedded,
    faulty::{Fault, FaultyStore},
    fresh,
    search::{Model, Operation, Unexplained, check},
    seeds, torment,
};
use crate::store::cluster::{EtcdCluster, within_namespaces};

const BROKERS: usize = 3;
const CLIENTS: u64 = 6;
/// Few, so that they are fought over.
const PEOPLE: usize = 4;
/// Of a host.
const ROOM: usize = 4;
/// Of the second pool.
const AT_MOST: u32 = 2;

/// One life of a desktop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Life {
    number: u32,
    epoch: u64,
    host: String,
}

#[derive(Debug, Clone)]
enum What {
    /// `life`: what came of one whose caller was not told, if anything did.
    Claim {
        id: DesktopId,
        life: Option<Life>,
    },
    End {
        id: DesktopId,
        epoch: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    New(Life),
    Existing(Life),
    NoRoom,
    PoolFull,
    Ended,
    /// That life was over.
    Over,
}

type Recorded = Operation<What, Answer>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct State {
    epoch: u64,
    living: BTreeMap<DesktopId, Life>,
}

/// Claims and ends, one at a time, on so many hosts.
struct Brokers {
    hosts: usize,
}

impl Model for Brokers {
    type State = State;
    type What = What;
    type Answer = Answer;
    type Part = ();

    fn part(&self, _: &What) {}

    fn begin(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, what: &What, answer: Option<&Answer>) -> Option<State> {
        let same = |right: bool| right.then(|| state.clone());
        match (what, answer) {
            (What::Claim { id, .. }, Some(Answer::New(life))) => claimed(state, id, life),
            (What::Claim { id, .. }, Some(Answer::Existing(life))) => {
                same(state.living.get(id) == Some(life))
            }
            // Hosts are looked at one after the other: of several, they may never
            // have been full all at once.
            (What::Claim { id, .. }, Some(Answer::NoRoom)) => {
                let full = state.living.len() == ROOM || self.hosts > 1;
                same(full && !state.living.contains_key(id))
            }
            (What::Claim { id, .. }, Some(Answer::PoolFull)) => {
                let present = state.living.keys().filter(|other| other.pool == id.pool).count();
                same(present == AT_MOST as usize && !state.living.contains_key(id))
            }
            (What::Claim { id, life }, None) => {
                let after = life.as_ref().and_then(|life| claimed(state, id, life));
                Some(after.unwrap_or_else(|| state.clone()))
            }
            (What::End { id, epoch }, answer) => {
                let lives = state.living.get(id).is_some_and(|life| life.epoch == *epoch);
                match answer {
                    Some(Answer::Ended) | None if lives => {
                        let mut after = state.clone();
                        after.living.remove(id);
                        Some(after)
                    }
                    Some(Answer::Over) | None => same(!lives),
                    Some(_) => None,
                }
            }
            (What::Claim { .. }, Some(Answer::Ended | Answer::Over)) => None,
        }
    }
}

fn claimed(state: &State, id: &DesktopId, life: &Life) -> Option<State> {
    let on_host = state.living.values().filter(|other| other.host == life.host).count();
    let of_pool = state.living.keys().filter(|other| other.pool == id.pool).count();
    let fits = life.epoch == state.epoch + 1
        && !state.living.contains_key(id)
        && state.living.values().all(|other| other.number != life.number)
        && on_host < ROOM
        && (id.pool.as_str() == "demo" || of_pool < AT_MOST as usize);
    fits.then(|| {
        let mut after = state.clone();
        after.epoch = life.epoch;
        after.living.insert(id.clone(), life.clone());
        after
    })
}

fn life(record: &DesktopRecord) -> Life {
    let DesktopRecord { number, epoch, host, .. } = record;
    Life { number: *number, epoch: *epoch, host: host.to_string() }
}

/// Whether it is open what became of it; otherwise nothing was done.
fn is_open(error: &DesktopError) -> bool {
    match error {
        DesktopError::Store(StoreError::Indeterminate { .. } | StoreError::Worker { .. }) => true,
        DesktopError::Store(StoreError::Unavailable { .. } | StoreError::Contended { .. }) => false,
        error => panic!("{error}"),
    }
}

async fn client(
    desktops: Desktops,
    history: Arc<History<What, Answer>>,
    people: Vec<StartRequest>,
    seed: u64,
    count: usize,
) {
    let mut choice = StdRng::seed_from_u64(seed);
    let mut known: Vec<DesktopRecord> = Vec::new();
    for _ in 0..count {
        let called = history.now();
        if !known.is_empty() && choice.random_bool(0.45) {
            let record = known.swap_remove(choice.random_range(0..known.len()));
            let what = What::End { id: record.id.clone(), epoch: record.epoch };
            match desktops.end(&record, "TEST").await {
                Ok(_) => history.record(called, what, Some(Answer::Ended)),
                Err(DesktopError::Illegal { .. } | DesktopError::Superseded { .. }) => {
                    history.record(called, what, Some(Answer::Over));
                }
                Err(error) if is_open(&error) => history.record(called, what, None),
                Err(_) => {}
            }
            continue;
        }
        let request = &people[choice.random_range(0..people.len())];
        let id = DesktopId { pool: request.pool.clone(), user: request.user.name.clone() };
        let what = What::Claim { id, life: None };
        let answer = match desktops.claim(request).await {
            Ok(Claim::New(record)) => {
                let answer = Answer::New(life(&record));
                known.push(*record);
                answer
            }
            Ok(Claim::Existing(record)) => {
                let answer = Answer::Existing(life(&record));
                known.push(*record);
                answer
            }
            Err(DesktopError::NoRoom(_)) => Answer::NoRoom,
            Err(DesktopError::PoolFull { .. }) => Answer::PoolFull,
            Err(error) => {
                if is_open(&error) {
                    history.record(called, what, None);
                }
                continue;
            }
        };
        history.record(called, what, Some(answer));
    }
}

/// Everybody in either pool.
async fn requests(store: &dyn Store) -> Vec<StartRequest> {
    let first = people(store, PEOPLE).await;
    let demo = state::read::<PoolRecord>(store, &keys::pool(&first[0].pool)).await.unwrap();
    let small = PoolRecord {
        name: "small".parse().unwrap(),
        max_desktops: AT_MOST,
        ..demo.unwrap().record
    };
    let put = Transaction::new().put_record(&keys::pool(&small.name), &small).unwrap();
    store.commit(put).await.unwrap();
    let second = first.iter().map(|one| StartRequest { pool: small.name.clone(), ..one.clone() });
    first.clone().into_iter().chain(second).collect()
}

/// Brokers over one store, and people who ask them.
struct Stage {
    good: Arc<dyn Store>,
    brokers: Vec<Claimer>,
    people: Vec<StartRequest>,
    begin: Revision,
}

impl Stage {
    /// `stores`: one for each broker, over what `good` is over.
    async fn set(good: Arc<dyn Store>, stores: Vec<Arc<dyn Store>>, hosts: usize) -> Self {
        // So that no broker has to make it.
        Authority::load_or_make(good.as_ref(), &SystemClock).await.unwrap();
        let people = requests(good.as_ref()).await;
        let begin = good.range(keys::DESKTOPS).await.unwrap().revision;
        let mut brokers = Vec::new();
        for store in stores {
            brokers.push(Claimer::new(store, hosts, ROOM as i64).await);
        }
        Self { good, brokers, people, begin }
    }

    async fn record(&self, seed: u64, count: usize) -> Vec<Recorded> {
        let history = Arc::new(History::default());
        let clients = (0..CLIENTS).zip(self.brokers.iter().cycle()).map(|(place, broker)| {
            let seed = seed.wrapping_mul(31).wrapping_add(place);
            let (desktops, history) = (broker.desktops.clone(), Arc::clone(&history));
            tokio::spawn(client(desktops, history, self.people.clone(), seed, count))
        });
        for done in join_all(clients.collect::<Vec<_>>()).await {
            done.unwrap();
        }
        let mut all = history.operations();
        attribute(&mut all, lives(self.good.as_ref(), self.begin).await);
        all
    }
}

/// All lives there have been.
#[derive(Default)]
struct Lives {
    /// By desktop, in the order of their epochs.
    begun: BTreeMap<DesktopId, Vec<Life>>,
    ended: BTreeSet<u64>,
}

async fn lives(store: &dyn Store, begin: Revision) -> Lives {
    let last = store.range(keys::DESKTOPS).await.unwrap().entries;
    let last = last.iter().map(|entry| entry.revision).max().unwrap_or(begin);
    let mut lives = Lives::default();
    let mut changes = store.watch(keys::DESKTOPS, begin).await.unwrap();
    let mut seen = begin;
    while seen < last {
        let change = changes.next().await.unwrap().unwrap();
        seen = change.revision;
        let Some(value) = change.value else { continue };
        let record: DesktopRecord = state::decode(&change.key, &value).unwrap();
        if record.state == DesktopState::Gone {
            lives.ended.insert(record.epoch);
        } else {
            // Nothing else changes a record here: each is a life's first.
            lives.begun.entry(record.id.clone()).or_default().push(life(&record));
        }
    }
    lives
}

/// Of what callers were not told: what changed nothing is left out, and what changed
/// something is said. Lives that nobody was told of are those of such claims: of the
/// same desktop, and in the order they were called, as good as any.
fn attribute(all: &mut Vec<Recorded>, lives: Lives) {
    let Lives { mut begun, mut ended } = lives;
    all.sort_by_key(|done| done.called);
    for done in all.iter() {
        match (&done.what, &done.returned) {
            (What::Claim { id, .. }, Some((_, Answer::New(life)))) => {
                begun.entry(id.clone()).or_default().retain(|other| other != life);
            }
            (What::End { epoch, .. }, Some((_, Answer::Ended))) => drop(ended.remove(epoch)),
            _ => {}
        }
    }
    all.retain_mut(|done| match &mut done.what {
        _ if done.returned.is_some() => true,
        What::Claim { id, life } => {
            let of_one = begun.get_mut(id).filter(|of_one| !of_one.is_empty());
            *life = of_one.map(|of_one| of_one.remove(0));
            life.is_some()
        }
        What::End { epoch, .. } => ended.remove(epoch),
    });
    assert!(begun.values().all(Vec::is_empty), "claimed by nobody: {begun:?}");
    assert!(ended.is_empty(), "ended by nobody: {ended:?}");
}

fn assert_explained(hosts: usize, history: &[Recorded], seed: u64) {
    let new = |done: &&Recorded| matches!(done.returned, Some((_, Answer::New(_))));
    assert!(history.iter().filter(new).count() > 10, "nothing was tried (seed {seed})");
    if let Err(unexplained) = check(&Brokers { hosts }, history) {
        let Unexplained { stuck_at, .. } = unexplained;
        let at = history[stuck_at].called;
        let near = history.iter().filter(|done| done.called.abs_diff(at) < 30);
        let near: Vec<_> = near.collect();
        panic!("seed {seed}: {unexplained:?} at {:?}\n{near:#?}", history[stuck_at]);
    }
}

async fn on_one_machine(fault: Fault, hosts: usize, seed: u64) -> Vec<Recorded> {
    let dir = TempDir::new().unwrap();
    let good = embedded(&dir).await;
    let stores = (0..BROKERS as u64).map(|place| -> Arc<dyn Store> {
        Arc::new(FaultyStore::over(Arc::clone(&good), fault, seed.wrapping_add(place)))
    });
    Stage::set(Arc::clone(&good), stores.collect(), hosts).await.record(seed, 40).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_brokers_claim_and_end_is_linearizable() {
    for (hosts, seed) in (1..=2).cycle().zip(seeds([1, fresh()])) {
        println!("seed {seed}, {hosts} hosts");
        let history = on_one_machine(Fault::GivesUp, hosts, seed).await;
        assert_explained(hosts, &history, seed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_overlooks_guards_is_found_out() {
    for seed in seeds(1..=20) {
        let history = on_one_machine(Fault::NoGuards, 2, seed).await;
        if check(&Brokers { hosts: 2 }, &history).is_err() {
            return;
        }
    }
    panic!("it went unnoticed");
}

#[test]
fn what_brokers_claim_and_end_on_etcd_is_linearizable_while_members_fail() {
    let name = "store::linear::groups::\
                what_brokers_claim_and_end_on_etcd_is_linearizable_while_members_fail";
    within_namespaces(name, async {
        for seed in seeds([fresh()]) {
            println!("seed {seed}");
            let mut cluster = EtcdCluster::start().await;
            let good: Arc<dyn Store> = Arc::new(cluster.store().await);
            let mut stores: Vec<Arc<dyn Store>> = Vec::new();
            for _ in 0..BROKERS {
                let options = EtcdOptions { deadline: Duration::from_secs(3), ..cluster.options() };
                stores.push(Arc::new(EtcdStore::open(&options).await.unwrap()));
            }
            let stage = Stage::set(good, stores, 2).await;
            let recording = tokio::spawn(async move { stage.record(seed, 40).await });
            let faults = torment(&mut cluster, seed, || recording.is_finished()).await;
            let history = recording.await.unwrap();
            let open = history.iter().filter(|done| done.returned.is_none()).count();
            println!("{} operations, {open} of them done untold, {faults} faults", history.len());
            assert_explained(2, &history, seed);
        }
    });
}
