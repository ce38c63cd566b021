//! What every store must do, whichever it is: the suite is written over the
//! trait, and each implementation runs it once.

mod archive;
pub(crate) mod cluster;
mod embedded;
mod etcd;
mod linear;
mod proxy;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rolltop_broker::store::{
    Commit, Event, MAX_OPERATIONS, MAX_VALUE_BYTES, Revision, Store, StoreError, Transaction,
};

pub(crate) fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().put(key, value.as_bytes().to_vec())
}

pub(crate) async fn apply(store: &dyn Store, transaction: Transaction) -> Revision {
    match store.commit(transaction).await.unwrap() {
        Commit::Applied(revision) => revision,
        Commit::Conflict { key } => panic!("conflict over {key}"),
    }
}

pub(crate) async fn value(store: &dyn Store, key: &str) -> Option<String> {
    store.get(key).await.unwrap().map(|entry| String::from_utf8(entry.value).unwrap())
}

async fn guards_decide_all_or_nothing(store: &dyn Store) {
    let first = apply(store, put("g/a", "1").absent("g/a")).await;
    assert_eq!(store.get("g/a").await.unwrap().unwrap().revision, first);
    let lost = store.commit(put("g/a", "2").put("g/b", vec![]).absent("g/a")).await.unwrap();
    assert_eq!(lost, Commit::Conflict { key: "g/a".into() });
    assert_eq!(value(store, "g/b").await, None, "nothing of a lost transaction");
    let second = apply(store, put("g/a", "2").unchanged("g/a", first)).await;
    assert!(second > first);
    assert!(matches!(
        store.commit(put("g/a", "3").unchanged("g/a", first)).await,
        Ok(Commit::Conflict { .. })
    ));
    apply(store, Transaction::new().delete("g/a").unchanged("g/a", second)).await;
    assert_eq!(value(store, "g/a").await, None);
    // A key made anew is another one.
    let third = apply(store, put("g/a", "2").absent("g/a")).await;
    assert_ne!(third, second);
    let twice = store.commit(put("g/a", "x").delete("g/a")).await;
    assert!(matches!(twice, Err(StoreError::WrittenTwice(key)) if key == "g/a"));
}

async fn ranges_hold_a_prefix_in_order(store: &dyn Store) {
    for key in ["r/b", "r/a", "r0", "r", "r/a/x", "q"] {
        apply(store, put(key, key)).await;
    }
    let range = store.range("r/").await.unwrap();
    let keys: Vec<_> = range.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["r/a", "r/a/x", "r/b"]);
    assert!(range.entries.iter().all(|entry| entry.revision <= range.revision));
    assert_eq!(store.range("nothing/").await.unwrap().entries, []);
}

async fn watches_replay_and_follow(store: &dyn Store) {
    let begin = store.range("w/").await.unwrap().revision;
    let one = apply(store, put("w/1", "one").put("v/1", vec![])).await;
    let mut watch = store.watch("w/", begin).await.unwrap();
    let event = |key: &str, value: Option<&str>, revision| Event {
        key: key.into(),
        value: value.map(|value| value.as_bytes().to_vec()),
        revision,
    };
    assert_eq!(watch.next().await.unwrap().unwrap(), event("w/1", Some("one"), one));
    let two = apply(store, Transaction::new().delete("w/1").put("w/2", b"two".to_vec())).await;
    // Deleting what is not there is no change.
    apply(store, Transaction::new().delete("w/none")).await;
    let three = apply(store, put("w/3", "three")).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watch.next().await.unwrap().unwrap());
    }
    seen[..2].sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        seen,
        [
            event("w/1", None, two),
            event("w/2", Some("two"), two),
            event("w/3", Some("three"), three)
        ]
    );
}

async fn leases_take_their_keys_along(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    apply(store, Transaction::new().put_leased("l/a", b"1".to_vec(), lease)).await;
    apply(store, Transaction::new().put_leased("l/b", b"1".to_vec(), lease)).await;
    store.keep_alive(lease).await.unwrap();
    // Put again without it: free of it.
    apply(store, put("l/b", "2")).await;
    store.revoke(lease).await.unwrap();
    assert_eq!(value(store, "l/a").await, None);
    assert_eq!(value(store, "l/b").await.as_deref(), Some("2"));
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseGone(_))));
    let late = store.commit(Transaction::new().put_leased("l/c", vec![], lease)).await;
    assert!(matches!(late, Err(StoreError::LeaseGone(_))));

    let short = store.grant(Duration::from_secs(2)).await.unwrap();
    let put = apply(store, Transaction::new().put_leased("l/d", vec![], short)).await;
    let mut watch = store.watch("l/d", put).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().value, None, "it ran out by itself");
}

async fn a_counter_loses_no_count(store: Arc<dyn Store>) {
    let count = async |store: Arc<dyn Store>| loop {
        let now = store.get("c").await.unwrap();
        let next = now.as_ref().map_or(0, |entry| entry.value[0]) + 1;
        let transaction = Transaction::new().put("c", vec![next]);
        let transaction = match now {
            Some(entry) => transaction.unchanged("c", entry.revision),
            None => transaction.absent("c"),
        };
        if let Commit::Applied(_) = store.commit(transaction).await.unwrap() {
            return;
        }
    };
    futures_util::future::join_all((0..50).map(|_| count(Arc::clone(&store)))).await;
    assert_eq!(store.get("c").await.unwrap().unwrap().value, [50]);
}

async fn large_ranges_come_by_pages_of_one_moment(store: &dyn Store) {
    const KEYS: usize = 2500;
    let key = |i: usize| format!("s/{i:06}");
    for first in (0..KEYS).step_by(MAX_OPERATIONS) {
        let some = first..(first + MAX_OPERATIONS).min(KEYS);
        apply(store, some.fold(Transaction::new(), |t, i| t.put(key(i), vec![1]))).await;
    }
    let scan = store.scan("s/").await.unwrap();
    // What happens after it began is not in it.
    let later = apply(store, Transaction::new().delete(key(KEYS - 1)).put(key(1), vec![2])).await;
    assert!(scan.revision < later);
    let pages: Vec<_> = scan.pages.try_collect().await.unwrap();
    assert!(pages.len() > 1 && pages.iter().all(|page| !page.is_empty()));
    let entries: Vec<_> = pages.concat();
    assert!(entries.iter().map(|entry| entry.key.clone()).eq((0..KEYS).map(key)));
    assert!(entries.iter().all(|entry| entry.value == [1] && entry.revision <= scan.revision));
    assert_eq!(store.range("s/").await.unwrap().entries.len(), KEYS - 1);
}

async fn transactions_reach_their_bounds(store: &dyn Store) {
    let key = |i: usize| format!("m/{i}");
    let made = (0..MAX_OPERATIONS)
        .fold(Transaction::new(), |t, i| t.absent(key(i)).put(key(i), vec![0; 8 * 1024]));
    let made = apply(store, made).await;
    let all = || {
        (0..MAX_OPERATIONS)
            .fold(Transaction::new(), |t, i| t.unchanged(key(i), made).delete(key(i)))
    };
    // The last of a hundred guards counts as well.
    apply(store, Transaction::new().put(key(MAX_OPERATIONS - 1), vec![1])).await;
    let lost = store.commit(all()).await.unwrap();
    assert_eq!(lost, Commit::Conflict { key: key(MAX_OPERATIONS - 1) });
    assert_eq!(store.range("m/").await.unwrap().entries.len(), MAX_OPERATIONS);

    let big = vec![7; MAX_VALUE_BYTES];
    let before = apply(store, Transaction::new().put("big", big.clone())).await;
    assert_eq!(store.get("big").await.unwrap().unwrap().value, big);
    let mut watch = store.watch("big", Revision(before.0 - 1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().value.unwrap(), big);
    let bigger = Transaction::new().put("bigger", vec![0; MAX_VALUE_BYTES + 1]);
    assert!(matches!(store.commit(bigger).await, Err(StoreError::TooLarge { .. })));
    assert!(matches!(
        store.commit(all().delete("m/one more")).await,
        Err(StoreError::TooLarge { .. })
    ));
}

/// Everything above.
pub(crate) async fn conforms(store: Arc<dyn Store>) {
    guards_decide_all_or_nothing(store.as_ref()).await;
    ranges_hold_a_prefix_in_order(store.as_ref()).await;
    watches_replay_and_follow(store.as_ref()).await;
    leases_take_their_keys_along(store.as_ref()).await;
    large_ranges_come_by_pages_of_one_moment(store.as_ref()).await;
    transactions_reach_their_bounds(store.as_ref()).await;
    a_counter_loses_no_count(store).await;
}
