#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a benchmark may end by panicking, and uses a part of the tests' cluster"
)]
//! Claims a second, on the embedded store and on an etcd of three members (for
//! which it needs root, and makes namespaces of its own):
//! `cargo bench -p rolltop-broker --bench claims`. A table, then a line of JSON
//! for each row.
//!
//! A claim is what the broker's is: the epoch, one of a hundred hosts'
//! capacities, a number and a record of a kilobyte, read and written in one
//! transaction. Ways to make them:
//! * `raced`: each for itself, again after every lost race for the epoch;
//! * `in turn`: one after the other within a broker, which so races others only;
//! * `grouped`: those that wait together in a broker share one transaction.

#[path = "../tests/it/store/cluster.rs"]
mod cluster;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rolltop_broker::store::{Commit, EmbeddedStore, Entry, Store, Transaction};
use tokio::sync::Mutex;

const HOSTS: u64 = 100;
const CLIENTS: u64 = 64;
const LENGTH: Duration = Duration::from_secs(5);
/// As many as fit into one transaction with four writes each.
const GROUP: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Raced,
    InTurn,
    Grouped,
}

/// One broker's side of a store.
struct Broker {
    store: Arc<dyn Store>,
    turn: Mutex<()>,
    waiting: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Tally {
    claims: AtomicU64,
    lost: AtomicU64,
    numbers: AtomicU64,
    micros: std::sync::Mutex<Vec<u64>>,
}

fn main() {
    let embedded = tokio::runtime::Runtime::new().unwrap();
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "claims/s", "races", "p50 ms", "p99 ms", "max ms"
    );
    if std::env::var_os("ROLLTOP_TEST_NAMESPACES").is_none() {
        embedded.block_on(async {
            for (name, way) in [
                ("embedded, raced", Way::Raced),
                ("embedded, in turn", Way::InTurn),
                ("embedded, grouped", Way::Grouped),
            ] {
                let dir = tempfile::tempdir_in(place()).unwrap();
                let path = dir.path().join("store");
                let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&path).await.unwrap());
                measure(name, way, &[store]).await;
            }
        });
    }
    cluster::within_namespaces("etcd", async {
        let cluster = cluster::EtcdCluster::start().await;
        for (name, way, brokers) in [
            ("etcd, 1 broker, raced", Way::Raced, 1),
            ("etcd, 1 broker, in turn", Way::InTurn, 1),
            ("etcd, 1 broker, grouped", Way::Grouped, 1),
            ("etcd, 3 brokers, in turn", Way::InTurn, 3),
            ("etcd, 3 brokers, grouped", Way::Grouped, 3),
        ] {
            let mut stores: Vec<Arc<dyn Store>> = Vec::new();
            for _ in 0..brokers {
                stores.push(Arc::new(cluster.store().await));
            }
            clear(stores[0].as_ref()).await;
            measure(name, way, &stores).await;
        }
    });
}

/// On the disk that is measured; the working directory's by default.
fn place() -> std::path::PathBuf {
    std::env::var_os("ROLLTOP_BENCH_DIR").map_or_else(|| ".".into(), Into::into)
}

async fn clear(store: &dyn Store) {
    for some in store.range("").await.unwrap().entries.chunks(100) {
        let gone = some.iter().fold(Transaction::new(), |t, entry| t.delete(entry.key.as_str()));
        store.commit(gone).await.unwrap();
    }
}

async fn measure(name: &str, way: Way, stores: &[Arc<dyn Store>]) {
    let tally = Arc::new(Tally::default());
    let brokers: Vec<_> = stores
        .iter()
        .map(|store| {
            Arc::new(Broker {
                store: Arc::clone(store),
                turn: Mutex::default(),
                waiting: Mutex::default(),
            })
        })
        .collect();
    let begun = Instant::now();
    let clients = (0..CLIENTS).zip(brokers.iter().cycle()).map(|(_, broker)| {
        let (broker, tally) = (Arc::clone(broker), Arc::clone(&tally));
        tokio::spawn(async move {
            while begun.elapsed() < LENGTH {
                let number = tally.numbers.fetch_add(1, Ordering::Relaxed) + 1;
                let asked = Instant::now();
                broker.claim(number, way, &tally).await;
                tally.micros.lock().unwrap().push(asked.elapsed().as_micros() as u64);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let claims = tally.claims.load(Ordering::Relaxed);
    let epoch = text(&stores[0].get("epoch").await.unwrap()).parse::<u64>().unwrap();
    let numbers = stores[0].range("number/").await.unwrap().entries.len() as u64;
    assert!(
        epoch == claims && numbers == claims,
        "{claims} claims, epoch {epoch}, {numbers} numbers"
    );
    let mut micros = std::mem::take(&mut *tally.micros.lock().unwrap());
    micros.sort_unstable();
    let ms = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    let (rate, lost) = (claims as f64 / seconds, tally.lost.load(Ordering::Relaxed));
    let (p50, p99, max) = (ms(0.5), ms(0.99), ms(1.0));
    println!("{name:<28} {rate:>9.0} {lost:>9} {p50:>9.1} {p99:>9.1} {max:>9.1}");
    println!(
        "{{\"name\":\"{name}\",\"clients\":{CLIENTS},\"claims_per_s\":{rate:.1},\"lost_races\":{lost},\"p50_ms\":{p50:.2},\"p99_ms\":{p99:.2},\"max_ms\":{max:.2}}}"
    );
}

impl Broker {
    async fn claim(&self, number: u64, way: Way, tally: &Tally) {
        match way {
            Way::Raced => self.claim_all(&[number], tally).await,
            Way::InTurn => {
                let _turn = self.turn.lock().await;
                self.claim_all(&[number], tally).await;
            }
            Way::Grouped => {
                self.waiting.lock().await.push(number);
                let _turn = self.turn.lock().await;
                // Whoever has the turn claims for those that wait; the others
                // find their number gone from the list, and the work done.
                loop {
                    let group: Vec<u64> = {
                        let mut waiting = self.waiting.lock().await;
                        if !waiting.contains(&number) {
                            return;
                        }
                        let most = waiting.len().min(GROUP);
                        waiting.drain(..most).collect()
                    };
                    self.claim_all(&group, tally).await;
                }
            }
        }
    }

    async fn claim_all(&self, numbers: &[u64], tally: &Tally) {
        let host = |number: u64| format!("capacity/{}", number % HOSTS);
        loop {
            let epoch = self.store.get("epoch").await.unwrap();
            let mut last: u64 = epoch.as_ref().map_or(0, |_| text(&epoch).parse().unwrap());
            let mut transaction = guard(Transaction::new(), "epoch", epoch.as_ref());
            let mut loads: BTreeMap<String, u64> = BTreeMap::new();
            for number in numbers {
                let host = host(*number);
                if !loads.contains_key(&host) {
                    let load = self.store.get(&host).await.unwrap();
                    transaction = guard(transaction, &host, load.as_ref());
                    loads.insert(
                        host.clone(),
                        load.as_ref().map_or(0, |_| text(&load).parse().unwrap()),
                    );
                }
                *loads.get_mut(&host).unwrap() += 1;
                last += 1;
                let (number_key, desktop) =
                    (format!("number/{number:010}"), format!("desktop/pool/{number}"));
                transaction = transaction
                    .absent(number_key.as_str())
                    .absent(desktop.as_str())
                    .put(number_key, last.to_string().into_bytes())
                    .put(desktop, vec![b'x'; 1024]);
            }
            for (host, load) in loads {
                transaction = transaction.put(host, load.to_string().into_bytes());
            }
            transaction = transaction.put("epoch", last.to_string().into_bytes());
            match self.store.commit(transaction).await.unwrap() {
                Commit::Applied(_) => {
                    tally.claims.fetch_add(numbers.len() as u64, Ordering::Relaxed);
                    return;
                }
                Commit::Conflict { .. } => {
                    tally.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn guard(transaction: Transaction, key: &str, seen: Option<&Entry>) -> Transaction {
    match seen {
        Some(entry) => transaction.unchanged(key, entry.revision),
        None => transaction.absent(key),
    }
}

fn text(entry: &Option<Entry>) -> &str {
    std::str::from_utf8(&entry.as_ref().unwrap().value).unwrap()
}
