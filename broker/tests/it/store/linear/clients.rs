//! Clients that claim and release over a store, and write down what they did.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rolltop_broker::store::{Commit, Revision, Store, StoreError, Transaction};

use super::{
    model::{Answer, Load, ROOM, What},
    search::Operation,
};

pub(crate) type Recorded = Operation<What, Answer>;

const HOSTS: usize = 3;
/// Few, so that they are fought over.
const NUMBERS: u64 = 8;

pub(crate) struct History<W, A> {
    clock: AtomicU64,
    operations: Mutex<Vec<Operation<W, A>>>,
}

impl<W, A> Default for History<W, A> {
    fn default() -> Self {
        Self { clock: AtomicU64::default(), operations: Mutex::default() }
    }
}

impl<W: Clone, A: Clone> History<W, A> {
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn record(&self, called: u64, what: W, answer: Option<A>) {
        let returned = answer.map(|answer| (self.now(), answer));
        self.operations.lock().unwrap().push(Operation { called, returned, what });
    }

    pub(crate) fn operations(&self) -> Vec<Operation<W, A>> {
        self.operations.lock().unwrap().clone()
    }
}

/// What a client has, to be given back.
struct Held {
    number: u64,
    epoch: u64,
    host: usize,
}

/// A client that does `count` things, then gives back what it has.
pub(crate) async fn client(
    store: Arc<dyn Store>,
    history: Arc<History<What, Answer>>,
    seed: u64,
    count: usize,
) {
    let mut choice = StdRng::seed_from_u64(seed);
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..count {
        if !held.is_empty() && choice.random_bool(0.45) {
            let place = choice.random_range(0..held.len());
            let held = held.swap_remove(place);
            release(store.as_ref(), &history, &held).await;
        } else {
            let number = choice.random_range(1..=NUMBERS);
            let host = choice.random_range(0..HOSTS);
            held.extend(claim(store.as_ref(), &history, number, host).await);
        }
    }
}

async fn claim(
    store: &dyn Store,
    history: &History<What, Answer>,
    number: u64,
    host: usize,
) -> Option<Held> {
    let (last, last_at) = read_epoch(store, history).await?;
    let (load, load_at) = read_load(store, history, host).await?;
    if load.desktops >= ROOM {
        return None;
    }
    let epoch = last + 1;
    let next = Load { desktops: load.desktops + 1, changes: load.changes + 1 };
    let transaction = Transaction::new()
        .absent(number_key(number))
        .put(number_key(number), epoch.to_string().into_bytes())
        .put("epoch", epoch.to_string().into_bytes())
        .put(load_key(host), write_load(next));
    let transaction = guard(transaction, "epoch", last_at);
    let transaction = guard(transaction, &load_key(host), load_at);
    let what = What::Claim { number, epoch, host, load };
    let mut applied = commit(store, history, transaction, what).await;
    if !applied {
        // An answer may have been lost, but not what was claimed.
        let found = store.get(&number_key(number)).await.ok()?;
        applied = found.is_some_and(|entry| entry.value == epoch.to_string().into_bytes());
    }
    applied.then_some(Held { number, epoch, host })
}

async fn release(store: &dyn Store, history: &History<What, Answer>, held: &Held) {
    let Held { number, epoch, host } = *held;
    // Whatever comes of it, it is tried once; a number may so stay in use.
    let Ok(Some(found)) = store.get(&number_key(number)).await else { return };
    if found.value != epoch.to_string().into_bytes() {
        return;
    }
    let Some((load, load_at)) = read_load(store, history, host).await else { return };
    if load.desktops == 0 {
        return;
    }
    let next = Load { desktops: load.desktops - 1, changes: load.changes + 1 };
    let transaction = Transaction::new()
        .unchanged(number_key(number), found.revision)
        .delete(number_key(number))
        .put(load_key(host), write_load(next));
    let transaction = guard(transaction, &load_key(host), load_at);
    commit(store, history, transaction, What::Release { number, epoch, host, load }).await;
}

async fn commit(
    store: &dyn Store,
    history: &History<What, Answer>,
    transaction: Transaction,
    what: What,
) -> bool {
    let called = history.now();
    let answer = match store.commit(transaction).await {
        Ok(Commit::Applied(_)) => Some(Answer::Applied),
        Ok(Commit::Conflict { .. }) => Some(Answer::Conflict),
        Err(StoreError::Indeterminate { .. } | StoreError::Worker { .. }) => None,
        // It promises that nothing was done, and nothing will be.
        Err(StoreError::Unavailable { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    let applied = answer == Some(Answer::Applied);
    history.record(called, what, answer);
    applied
}

async fn read_epoch(
    store: &dyn Store,
    history: &History<What, Answer>,
) -> Option<(u64, Option<Revision>)> {
    let called = history.now();
    let found = store.get("epoch").await.ok()?;
    let epoch = found.as_ref().map_or(0, |entry| text(&entry.value).parse().unwrap());
    history.record(called, What::ReadEpoch, Some(Answer::Epoch(epoch)));
    Some((epoch, found.map(|entry| entry.revision)))
}

async fn read_load(
    store: &dyn Store,
    history: &History<What, Answer>,
    host: usize,
) -> Option<(Load, Option<Revision>)> {
    let called = history.now();
    let found = store.get(&load_key(host)).await.ok()?;
    let load = found.as_ref().map_or(Load::default(), |entry| {
        let (desktops, changes) = text(&entry.value).split_once(' ').unwrap();
        Load { desktops: desktops.parse().unwrap(), changes: changes.parse().unwrap() }
    });
    history.record(called, What::ReadLoad { host }, Some(Answer::Load(load)));
    Some((load, found.map(|entry| entry.revision)))
}

fn guard(transaction: Transaction, key: &str, seen: Option<Revision>) -> Transaction {
    match seen {
        Some(revision) => transaction.unchanged(key, revision),
        None => transaction.absent(key),
    }
}

fn number_key(number: u64) -> String {
    format!("number/{number}")
}

fn load_key(host: usize) -> String {
    format!("capacity/{host}")
}

fn write_load(load: Load) -> Vec<u8> {
    format!("{} {}", load.desktops, load.changes).into_bytes()
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap()
}
