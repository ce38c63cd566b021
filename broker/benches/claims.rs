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
//! `raced` is what it was once, and stays for comparison: each claim for itself,
//! read and written in one transaction with the epoch, a number, one of a hundred
//! hosts' capacities and a record of a kilobyte, again after every lost race. The
//! others are the broker's own: people who have no desktop claim one, over ten
//! thousand hosts; `and ends`: and it is noted as ended at once.

#[path = "../tests/it/store/cluster.rs"]
mod cluster;

#[path = "../src/desktops/group/tests/claimers.rs"]
mod claimers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use claimers::{Claimer, people};
use rolltop_broker::{
    desktops::Claim,
    state::{self, CounterRecord, keys},
    store::{Commit, EmbeddedStore, Entry, Store, Transaction},
};

/// Of the broker's.
const HOSTS: usize = 10_000;
const PEOPLE: usize = 10_000;
const CLIENTS: usize = 256;
/// Of those that race: with more, next to none is made.
const RACERS: usize = 64;
/// At most.
const LENGTH: Duration = Duration::from_secs(10);

type Stores = Vec<Arc<dyn Store>>;

fn main() {
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "", "a second", "p50 ms", "p99 ms", "max ms", "load"
    );
    if std::env::var_os("ROLLTOP_TEST_NAMESPACES").is_none() {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            for (name, row) in [("raced", Row::Raced), ("", Row::Claims), ("and ends", Row::Ends)] {
                let dir = tempfile::tempdir_in(place()).unwrap();
                let path = dir.path().join("store");
                let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&path).await.unwrap());
                row.measure(&format!("embedded {name}"), vec![store]).await;
            }
        });
    }
    cluster::within_namespaces("etcd", async {
        let cluster = cluster::EtcdCluster::start().await;
        for (name, row, brokers) in [
            ("1 broker raced", Row::Raced, 1),
            ("1 broker", Row::Claims, 1),
            ("1 broker and ends", Row::Ends, 1),
            ("3 brokers", Row::Claims, 3),
            ("3 brokers and ends", Row::Ends, 3),
        ] {
            let mut stores: Stores = Vec::new();
            for _ in 0..brokers {
                stores.push(Arc::new(cluster.store().await));
            }
            clear(stores[0].as_ref()).await;
            row.measure(&format!("etcd, {name}"), stores).await;
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Raced,
    Claims,
    Ends,
}

#[derive(Default)]
struct Tally {
    next: AtomicUsize,
    micros: std::sync::Mutex<Vec<u64>>,
    nanos: AtomicU64,
}

impl Row {
    async fn measure(self, name: &str, stores: Stores) {
        let tally = Arc::new(Tally::default());
        let store = Arc::clone(&stores[0]);
        let (claims, epoch) = match self {
            Self::Raced => {
                let racing = Arc::clone(&store);
                let claims = run(&tally, RACERS, move |_, place| {
                    let store = Arc::clone(&racing);
                    async move { race(store.as_ref(), place as u64 + 1).await }
                })
                .await;
                let epoch = text(&store.get("epoch").await.unwrap()).parse::<u64>().unwrap();
                (claims, epoch)
            }
            Self::Claims | Self::Ends => {
                let people = Arc::new(people(store.as_ref(), PEOPLE + 1).await);
                let mut brokers = Vec::new();
                for store in &stores {
                    brokers.push(Arc::new(Claimer::new(Arc::clone(store), HOSTS, 100).await));
                }
                for broker in &brokers {
                    broker.desktops.claim(&people[PEOPLE]).await.unwrap();
                }
                let claims = run(&tally, CLIENTS, move |client, place| {
                    let broker = Arc::clone(&brokers[client % brokers.len()]);
                    let people = Arc::clone(&people);
                    async move {
                        let Claim::New(record) =
                            broker.desktops.claim(&people[place]).await.unwrap()
                        else {
                            panic!("somebody has a desktop");
                        };
                        if self == Self::Ends {
                            broker.desktops.end(&record, "BENCH").await.unwrap();
                        }
                    }
                })
                .await;
                let key = keys::EPOCH_COUNTER;
                let epoch = state::read::<CounterRecord>(store.as_ref(), key).await.unwrap();
                (claims, epoch.unwrap().record.last - 1)
            }
        };
        assert_eq!(epoch, claims, "an epoch was given twice, or lost");
        if self != Self::Ends {
            let numbers = store.range(keys::NUMBERS).await.unwrap().entries.len() as u64;
            let first = u64::from(self == Self::Claims);
            assert_eq!(numbers, claims + first, "a number was given twice");
        }
        tally.print(name, claims);
    }
}

/// People, one after the other, until all have claimed or the time is up.
async fn run<F: Future<Output = ()> + Send + 'static>(
    tally: &Arc<Tally>,
    clients: usize,
    claim: impl Fn(usize, usize) -> F + Clone + Send + Sync + 'static,
) -> u64 {
    let begun = Instant::now();
    let clients = (0..clients).map(|client| {
        let (tally, claim) = (Arc::clone(tally), claim.clone());
        tokio::spawn(async move {
            while begun.elapsed() < LENGTH {
                let place = tally.next.fetch_add(1, Ordering::Relaxed);
                if place >= PEOPLE {
                    return;
                }
                let asked = Instant::now();
                claim(client, place).await;
                tally.micros.lock().unwrap().push(asked.elapsed().as_micros() as u64);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    tally.nanos.store(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
    tally.micros.lock().unwrap().len() as u64
}

impl Tally {
    fn print(&self, name: &str, claims: u64) {
        let mut micros = std::mem::take(&mut *self.micros.lock().unwrap());
        micros.sort_unstable();
        let ms = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
        let rate = claims as f64 / (self.nanos.load(Ordering::Relaxed) as f64 / 1e9);
        let (p50, p99, max) = (ms(0.5), ms(0.99), ms(1.0));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap();
        let load = load.split(' ').next().unwrap();
        println!("{name:<28} {rate:>9.0} {p50:>9.1} {p99:>9.1} {max:>9.1} {load:>6}");
        println!(
            "{{\"name\":\"{name}\",\"claims_per_s\":{rate:.1},\"claims\":{claims},\"p50_ms\":{p50:.2},\"p99_ms\":{p99:.2},\"max_ms\":{max:.2},\"load\":{load}}}"
        );
    }
}

async fn race(store: &dyn Store, number: u64) {
    let host = format!("capacity/{}", number % 100);
    loop {
        let (epoch, load) = (store.get("epoch").await.unwrap(), store.get(&host).await.unwrap());
        let next = |entry: &Option<Entry>| {
            entry.as_ref().map_or(0, |_| text(entry).parse::<u64>().unwrap()) + 1
        };
        let number_key = format!("number/{number:010}");
        let desktop = format!("desktop/pool/{number}");
        let claim = guard(Transaction::new(), "epoch", epoch.as_ref());
        let claim = guard(claim, &host, load.as_ref())
            .absent(number_key.as_str())
            .absent(desktop.as_str())
            .put(number_key, vec![b'x'])
            .put(desktop, vec![b'x'; 1024])
            .put(host.as_str(), next(&load).to_string().into_bytes())
            .put("epoch", next(&epoch).to_string().into_bytes());
        if let Commit::Applied(_) = store.commit(claim).await.unwrap() {
            return;
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
