mod claimers;
mod reads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::{join_all, poll_immediate};
use tokio::sync::Semaphore;

use self::claimers::{Claimer, people};
use super::*;
use crate::{
    desktops::Claim,
    names::HostName,
    state::{
        self, CapacityRecord, CounterRecord, DesktopRecord, LimitsRecord, NumberRecord,
        PoolUseRecord, keys,
    },
    store::{Commit, EmbeddedStore, Entry, LeaseId, MAX_VALUE_BYTES, Range, Scan, Store, Watch},
};

/// A store whose commits wait for a permit each, and may be left unanswered.
struct Gated {
    store: EmbeddedStore,
    gate: Semaphore,
    /// Transactions that came here, since it was closed.
    commits: AtomicUsize,
    unanswered: AtomicUsize,
    /// Records that were read.
    reads: AtomicUsize,
    /// Leases that were granted.
    grants: AtomicUsize,
}

#[async_trait]
impl Store for Gated {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.store.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        let range = self.store.range(prefix).await?;
        self.reads.fetch_add(range.entries.len(), Ordering::SeqCst);
        Ok(range)
    }

    async fn scan(&self, prefix: &str) -> Result<Scan, StoreError> {
        self.store.scan(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let done = self.store.commit(transaction).await?;
        let lost = self
            .unanswered
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match lost {
            Ok(_) => Err(StoreError::Indeterminate { seconds: 0 }),
            Err(_) => Ok(done),
        }
    }

    async fn watch(&self, prefix: &str, since: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, since).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.grants.fetch_add(1, Ordering::SeqCst);
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }
}

async fn gated(dir: &tempfile::TempDir) -> Arc<Gated> {
    let store = EmbeddedStore::open(&dir.path().join("store")).await.unwrap();
    let none = AtomicUsize::default;
    let gate = Semaphore::new(Semaphore::MAX_PERMITS >> 8);
    let (commits, unanswered, reads, grants) = (none(), none(), none(), none());
    Arc::new(Gated { store, gate, commits, unanswered, reads, grants })
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

fn close(store: &Gated) {
    store.gate.forget_permits(usize::MAX >> 4);
    store.commits.store(0, Ordering::SeqCst);
}

/// Takes room on a host, and puts a key of its own.
fn takes(
    host: &str,
    own: Transaction,
) -> impl FnMut(&mut Draft<'_>) -> Planned<u64> + Send + use<> {
    let host: HostName = host.parse().unwrap();
    move |draft| {
        draft.take_room(&host, &LimitsRecord::default());
        Ok(Some((own.clone(), draft.take_epoch())))
    }
}

fn put(key: &str) -> Transaction {
    Transaction::new().absent(key).put(key, vec![1])
}

async fn claimed(store: &dyn Store, host: &str) -> i64 {
    let key = keys::capacity(&host.parse().unwrap());
    let stored = state::read::<CapacityRecord>(store, &key).await.unwrap();
    stored.map_or(0, |stored| stored.record.desktops)
}

#[tokio::test]
async fn who_cannot_go_on_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = gated(&dir).await;
    let broker = Claimer::new(Arc::<Gated>::clone(&store), 2, 100).await;
    let desktops = &broker.desktops;
    assert_eq!(desktops.together(takes("h0", put("x/first"))).await.unwrap(), Some(1));
    close(&store);

    let mut first = Box::pin(desktops.together(takes("h0", put("x/0"))));
    assert!(poll_immediate(&mut first).await.is_none());
    // The one that leads takes the first, and waits in the store.
    until(|| store.commits.load(Ordering::SeqCst) == 1).await;
    let stale = Transaction::new().unchanged("x/first", Revision(1)).put("x/stale", vec![1]);
    let large = Transaction::new().put("x/large", vec![0; MAX_VALUE_BYTES + 1]);
    let own = [put("x/1"), stale, put("x/2"), large, put("x/1"), put("x/3")];
    let mut all = Box::pin(join_all(own.map(|own| desktops.together(takes("h1", own)))));
    assert!(poll_immediate(&mut all).await.is_none());
    // One gives up while it waits.
    let mut gone = Box::pin(desktops.together(takes("h1", put("x/gone"))));
    assert!(poll_immediate(&mut gone).await.is_none());
    drop(gone);
    store.gate.add_permits(1000);

    let (first, all) = tokio::join!(first, all);
    assert_eq!(first.unwrap(), Some(2));
    let told: Vec<Result<bool, DesktopError>> =
        all.into_iter().map(|told| told.map(|epoch| epoch.is_some())).collect();
    let [Ok(true), Ok(false), Ok(true), Err(large), Ok(twice), Ok(true)] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(matches!(large, DesktopError::Store(StoreError::TooLarge { .. })), "{large}");
    assert!(!twice, "two cannot both make the same key");
    let made: Vec<String> =
        store.range("x/").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(made, ["x/0", "x/1", "x/2", "x/3", "x/first"]);
    let store: &dyn Store = store.as_ref();
    assert_eq!((claimed(store, "h0").await, claimed(store, "h1").await), (2, 3));
    let epoch = state::read::<CounterRecord>(store, keys::EPOCH_COUNTER).await.unwrap();
    assert_eq!(epoch.unwrap().record.last, 5);
}

#[tokio::test]
async fn those_that_wait_share_a_transaction_and_its_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let store = gated(&dir).await;
    let broker = Claimer::new(Arc::<Gated>::clone(&store), 50, 100).await;
    let desktops = &broker.desktops;
    let waiting = people(store.as_ref(), 30).await;
    assert!(desktops.claim(&waiting[0]).await.is_ok());
    close(&store);
    let commits = || store.commits.load(Ordering::SeqCst);
    let first = desktops.claim(&waiting[1]);
    let others = async {
        until(|| commits() == 1).await;
        join_all(waiting[2..21].iter().map(|request| desktops.claim(request))).await
    };
    let open = async {
        until(|| commits() == 1 && desktops.inner.group.queue.len() == 19).await;
        store.gate.add_permits(1000);
    };
    let (first, others, ()) = tokio::join!(first, others, open);
    assert!(matches!(first, Ok(Claim::New(_))), "{first:?}");
    assert!(others.iter().all(|claim| matches!(claim, Ok(Claim::New(_)))), "{others:?}");
    assert_eq!(commits(), 2, "20 claims");

    // It is applied, and nobody knows: who was in it is told just that, and finds out.
    // Who waited meanwhile was not in it.
    close(&store);
    store.unanswered.store(1, Ordering::SeqCst);
    let later = async {
        until(|| commits() == 1).await;
        desktops.claim(&waiting[23]).await
    };
    let open = async {
        // The first is with the store by then: it is not itself what waits.
        until(|| commits() == 1 && desktops.inner.group.queue.len() == 1).await;
        store.gate.add_permits(1000);
    };
    let (told, later, ()) = tokio::join!(desktops.claim(&waiting[21]), later, open);
    let told = told.unwrap_err();
    let later = later.unwrap_err();
    assert!(matches!(later, DesktopError::Store(StoreError::Unavailable { .. })), "{later}");
    let unknown = |error: &DesktopError| {
        matches!(error, DesktopError::Store(StoreError::Indeterminate { .. }))
    };
    assert!(unknown(&told), "{told}");
    let found = desktops.claim(&waiting[21]).await.unwrap();
    assert!(matches!(found, Claim::Existing(_)), "{found:?}");
    // What it wrote is learnt like what another broker wrote.
    let next = desktops.claim(&waiting[22]).await.unwrap();
    assert!(matches!(next, Claim::New(record) if record.number == 23));
}

/// Nothing twice, and everything adds up, whoever claims and ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_give_nothing_out_twice() {
    const HOSTS: usize = 5;
    const ROOM: i64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(&dir.path().join("store")).await.unwrap());
    let people = people(store.as_ref(), 40).await;
    let mut brokers = Vec::new();
    for _ in 0..2 {
        brokers.push(Arc::new(Claimer::new(Arc::clone(&store), HOSTS, ROOM).await));
    }
    let work = people.into_iter().zip(0..).map(|(request, place): (_, usize)| {
        let brokers = brokers.clone();
        tokio::spawn(async move {
            let mut given = Vec::new();
            for round in 0..6 {
                let claims = &brokers[(place + round) % 2].desktops;
                let ends = &brokers[(place + round / 2) % 2].desktops;
                match claims.claim(&request).await {
                    Ok(Claim::New(record)) => {
                        given.push((record.number, record.epoch));
                        if round < 5 || place % 2 == 0 {
                            ends.end(&record, "TEST").await.unwrap();
                        }
                    }
                    Err(DesktopError::NoRoom(_)) => tokio::task::yield_now().await,
                    other => panic!("{other:?}"),
                }
            }
            given
        })
    });
    let mut given = Vec::new();
    for done in work.collect::<Vec<_>>() {
        given.extend(done.await.unwrap());
    }
    assert!(given.len() > 40, "{} claims", given.len());
    let epochs: BTreeSet<u64> = given.iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(epochs.len(), given.len(), "an epoch was given twice");
    let store = store.as_ref();
    let last = state::read::<CounterRecord>(store, keys::EPOCH_COUNTER).await.unwrap().unwrap();
    assert_eq!(last.record.last, given.len() as u64, "an epoch was lost");

    let records = state::list::<DesktopRecord>(store, keys::DESKTOPS).await.unwrap();
    let living: Vec<DesktopRecord> = records
        .into_iter()
        .map(|stored| stored.record)
        .filter(|record| record.state.holds_capacity())
        .collect();
    let numbers: BTreeSet<String> =
        living.iter().map(|record| keys::number(record.number)).collect();
    assert_eq!(numbers.len(), living.len(), "a number was given twice");
    let noted = state::list::<NumberRecord>(store, keys::NUMBERS).await.unwrap();
    assert_eq!(noted.into_iter().map(|stored| stored.key).collect::<BTreeSet<_>>(), numbers);
    let mut on_hosts: BTreeMap<String, i64> = BTreeMap::new();
    for record in &living {
        *on_hosts.entry(keys::capacity(&record.host)).or_default() += 1;
    }
    for stored in state::list::<CapacityRecord>(store, keys::CAPACITIES).await.unwrap() {
        let there = on_hosts.remove(&stored.key).unwrap_or_default();
        assert_eq!(stored.record.desktops, there, "{}", stored.key);
        assert!(there <= ROOM, "{} has {there}", stored.key);
    }
    assert!(on_hosts.is_empty());
    let pools = state::list::<PoolUseRecord>(store, keys::POOL_USES).await.unwrap();
    assert_eq!(pools[0].record.desktops as usize, living.len());
}
