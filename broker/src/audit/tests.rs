//! Written, bounded, found again, watched.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    auth::Act,
    clock::Timestamp,
    store::{
        Commit, EmbeddedStore, Entry as Kept, LeaseId, Revision, Scan, StoreError, Transaction,
        Watch,
    },
};

const CONFIG: config::Audit =
    config::Audit { keep: Duration::from_secs(3600 * 24), keep_entries: 1000 };

/// Stands still until it is moved.
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Refuses so many transactions first.
struct Lame {
    store: EmbeddedStore,
    refusals: AtomicU32,
}

#[async_trait]
impl Store for Lame {
    async fn get(&self, key: &str) -> Result<Option<Kept>, StoreError> {
        self.store.get(key).await
    }
    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        self.store.scan(prefix).await
    }
    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        let lame =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if lame.is_ok() {
            // The worst kind: it may have been written.
            self.store.commit(transaction).await?;
            return Err(StoreError::LeaseGone(LeaseId(0)));
        }
        self.store.commit(transaction).await
    }
    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, since).await
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.store.grant(ttl).await
    }
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}

struct House {
    _dir: TempDir,
    store: Arc<Lame>,
    clock: Arc<SetClock>,
}

impl House {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = EmbeddedStore::open(&dir.path().join("store")).await.unwrap();
        let store = Arc::new(Lame { store, refusals: AtomicU32::new(0) });
        Self { _dir: dir, store, clock: Arc::new(SetClock(AtomicU64::new(1_000_000))) }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::<Lame>::clone(&self.store)
    }

    fn audit(&self) -> (Audit, Writer) {
        Audit::new(self.store(), Arc::<SetClock>::clone(&self.clock), CONFIG)
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    async fn all(&self, order: Order) -> Vec<Entry> {
        self.found(&Filter::default(), order, usize::MAX).await
    }

    async fn found(&self, filter: &Filter, order: Order, limit: usize) -> Vec<Entry> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = page(self.store.as_ref(), filter, order, after, limit).await.unwrap();
            all.extend(page.found.into_iter().map(|found| found.entry));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

fn entry(user: &str, act: Act, outcome: Outcome) -> Entry {
    let who = Who { user: user.into(), ..Who::stranger([10, 0, 0, 1].into()) };
    Entry::new(act, &who, outcome).on("pool", "demo")
}

fn numbered(number: usize) -> Entry {
    entry("anna", Act::PutPool, Outcome::Ok).detail("number", number)
}

fn run(writer: Writer) -> (CancellationToken, JoinHandle<()>) {
    let ending = CancellationToken::new();
    (ending.clone(), tokio::spawn(writer.run(ending)))
}

fn numbers(entries: &[Entry]) -> Vec<usize> {
    entries.iter().map(|entry| entry.details["number"].parse().unwrap()).collect()
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_ends() {
    let house = House::new().await;
    let (audit, writer) = house.audit();
    let (ending, written) = run(writer);
    for number in 0..5000 {
        audit.note(numbered(number));
        house.pass(1);
    }
    ending.cancel();
    written.await.unwrap();
    let all = house.all(Order::OldestFirst).await;
    assert_eq!(numbers(&all), (0..5000).collect::<Vec<_>>());
    assert_eq!(all[0].at, Timestamp(1_000_000));
    let index = segment::all(house.store.as_ref()).await.unwrap();
    assert_eq!(index.iter().map(|segment| segment.count).sum::<u64>(), 5000);
    assert!(index.len() > 2, "{index:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_asked_again_and_nothing_is_written_twice() {
    let house = House::new().await;
    let (audit, writer) = house.audit();
    house.store.refusals.store(7, Ordering::SeqCst);
    for number in 0..200 {
        audit.note(numbered(number));
    }
    let (ending, written) = run(writer);
    ending.cancel();
    written.await.unwrap();
    assert_eq!(numbers(&house.all(Order::OldestFirst).await), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_counted_and_told() {
    let house = House::new().await;
    let (audit, writer) = house.audit();
    for number in 0..QUEUE + 123 {
        audit.note(numbered(number));
    }
    let (ending, written) = run(writer);
    ending.cancel();
    written.await.unwrap();
    let filter = Filter { act: Act::AuditLost.name().into(), ..Filter::default() };
    let lost = house.found(&filter, Order::NewestFirst, 10).await;
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].details["entries"], "123");
    let all = house.all(Order::OldestFirst).await;
    assert_eq!(all.len(), QUEUE + 1);
}

#[tokio::test]
async fn refusals_in_a_loop_push_nothing_out() {
    let house = House::new().await;
    let (audit, writer) = house.audit();
    for _ in 0..1000 {
        audit.note(entry("mallory", Act::PutPool, Outcome::Refused));
    }
    audit.note(entry("anna", Act::PutPool, Outcome::Refused));
    let (ending, written) = run(writer);
    ending.cancel();
    written.await.unwrap();
    let all = house.all(Order::OldestFirst).await;
    assert_eq!(all.len(), 7);
    let told = all.iter().find_map(|entry| entry.details.get("times"));
    assert_eq!(told.map(String::as_str), Some("995"));
}

#[tokio::test]
async fn the_oldest_make_room_and_the_old_go() {
    let house = House::new().await;
    let mut expected = Vec::new();
    // Each a segment of its own.
    for number in 0..30 {
        let entries = (0..100).map(|_| Entry { at: house.clock.now(), ..numbered(number) });
        segment::append(house.store.as_ref(), entries.collect()).await.unwrap();
        expected.extend(std::iter::repeat_n(number, 100));
        house.pass(60_000);
    }
    let now = house.clock.now();
    let store = house.store.as_ref();
    assert_eq!(prune(store, CONFIG, now).await.unwrap(), 2000);
    assert_eq!(numbers(&house.all(Order::OldestFirst).await), expected[2000..]);
    assert_eq!(prune(store, CONFIG, now).await.unwrap(), 0);
    let old = Timestamp(now.0 - 60_000 * 5).after(CONFIG.keep);
    assert_eq!(prune(store, CONFIG, old).await.unwrap(), 600);
    assert_eq!(numbers(&house.all(Order::OldestFirst).await), expected[2600..]);
    let never = Timestamp(u64::MAX);
    prune(store, CONFIG, never).await.unwrap();
    assert_eq!(store.range(keys_of_all()).await.unwrap().entries, []);
}

fn keys_of_all() -> &'static str {
    "audit"
}

#[tokio::test]
async fn a_watcher_is_told_everything_once_from_where_it_wants() {
    let house = House::new().await;
    let (audit, writer) = house.audit();
    let (_ending, _written) = run(writer);
    let first = house.clock.now();
    for number in 0..10 {
        audit.note(numbered(number));
    }
    let now = house.clock.now();
    let from = Filter { from: Some(first), ..Filter::default() };
    let mut from = Box::pin(watch(house.store(), from, now).await.unwrap());
    let mut told = Vec::new();
    for number in 10..20 {
        audit.note(numbered(number));
        told.push(from.next().await.unwrap().unwrap().entry);
    }
    while told.len() < 20 {
        told.push(from.next().await.unwrap().unwrap().entry);
    }
    assert_eq!(numbers(&told), (0..20).collect::<Vec<_>>());

    let ben = Filter { user: "ben".into(), ..Filter::default() };
    let mut ben = Box::pin(watch(house.store(), ben, now).await.unwrap());
    audit.note(numbered(20));
    audit.note(entry("ben", Act::Exec, Outcome::Begun));
    assert_eq!(ben.next().await.unwrap().unwrap().entry.user, "ben");

    // More than a store remembers, while nobody listens.
    let mut told = Vec::new();
    for number in 0..90 {
        let other = (0..99).fold(Transaction::new(), |t, n| t.put(format!("other{n}"), vec![]));
        house.store.commit(other).await.unwrap();
        house.pass(1);
        let user = if number % 10 == 0 { "ben" } else { "carl" };
        let one = Entry { at: house.clock.now(), user: user.into(), ..numbered(number) };
        segment::append(house.store.as_ref(), vec![one]).await.unwrap();
    }
    while told.len() < 9 {
        told.push(ben.next().await.unwrap().unwrap().entry);
    }
    assert_eq!(numbers(&told), (0..9).map(|n| n * 10).collect::<Vec<_>>());
}

#[test]
fn filters_say_what_is_wanted() {
    let entry = Entry { at: Timestamp(5), ..entry("anna", Act::PutPool, Outcome::Ok) };
    let all = Filter::default;
    let fits = [
        all(),
        Filter { user: "anna".into(), ..all() },
        Filter { act: "put-pool".into(), ..all() },
        Filter { object: "pool:demo".into(), ..all() },
        Filter { object: "pool:".into(), ..all() },
        Filter { outcome: Some(Outcome::Ok), ..all() },
        Filter { from: Some(Timestamp(5)), to: Some(Timestamp(6)), ..all() },
    ];
    assert!(fits.iter().all(|filter| filter.fits(&entry)));
    let others = [
        Filter { user: "ann".into(), ..all() },
        Filter { act: "put".into(), ..all() },
        Filter { object: "pool:dem".into(), ..all() },
        Filter { object: "host:".into(), ..all() },
        Filter { outcome: Some(Outcome::Failed), ..all() },
        Filter { from: Some(Timestamp(6)), ..all() },
        Filter { to: Some(Timestamp(5)), ..all() },
    ];
    assert!(!others.iter().any(|filter| filter.fits(&entry)));
}

#[test]
fn a_position_reads_back_and_rubbish_is_none() {
    let text = "17.000000000000017-ab12.3.4";
    assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
    for bad in [
        "",
        "1",
        "1.2.3.4",
        "x.000000000000017-a.1.1",
        "1.000000000000017-a/b.1.1",
        "1.000000000000017-a.1",
    ] {
        assert!(bad.parse::<Position>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Segments of several brokers overlap anyhow; pages of any size, from
    /// either end and between any times, give what sorting everything gives.
    #[test]
    fn pages_together_are_everything_in_order(
        segments in prop::collection::vec(prop::collection::vec(0_u64..50, 1..40), 0..8),
        limit in 1_usize..30,
        from in prop::option::of(0_u64..400),
        to in prop::option::of(0_u64..400),
        newest in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new().await;
            let mut all = Vec::new();
            for (number, steps) in segments.iter().enumerate() {
                let mut at = number as u64 * 20;
                let mut entries = Vec::new();
                for step in steps {
                    at += step;
                    entries.push(Entry { at: Timestamp(at), ..numbered(number) });
                }
                all.extend(entries.iter().map(|entry| entry.at.0));
                segment::append(house.store.as_ref(), entries).await.unwrap();
            }
            let inside = |at: &u64| from.is_none_or(|from| *at >= from) && to.is_none_or(|to| *at < to);
            all.retain(inside);
            all.sort_unstable();
            if newest { all.reverse(); }
            let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
            let filter = Filter { from: from.map(Timestamp), to: to.map(Timestamp), ..Filter::default() };
            let found = house.found(&filter, order, limit).await;
            assert_eq!(found.iter().map(|entry| entry.at.0).collect::<Vec<_>>(), all);
        });
    }
}
