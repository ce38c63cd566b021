//! The embedded store.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use proptest::prelude::*;
use rolltop_broker::store::{EmbeddedStore, Store, StoreError, Transaction};
use tempfile::TempDir;

use super::{apply, conforms, put, value};

#[tokio::test(start_paused = true)]
async fn the_embedded_store_conforms() {
    let dir = TempDir::new().unwrap();
    conforms(Arc::new(EmbeddedStore::open(&dir.path().join("s")).await.unwrap())).await;
}

#[tokio::test]
async fn the_embedded_store_is_one_processs_and_outlives_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    let store = EmbeddedStore::open(&path).await.unwrap();
    let lease = store.grant(Duration::from_secs(3600)).await.unwrap();
    apply(&store, put("stays", "1").put_leased("goes", vec![], lease)).await;
    let before = store.range("").await.unwrap().revision;
    assert!(matches!(EmbeddedStore::open(&path).await, Err(StoreError::InUse { .. })));
    drop(store);
    let store = crate::support::eventually("the file is free", || {
        let path = path.clone();
        async move { EmbeddedStore::open(&path).await.ok() }
    })
    .await;
    assert_eq!(value(&store, "stays").await.as_deref(), Some("1"));
    assert_eq!(value(&store, "goes").await, None, "leases end with the process that keeps them");
    let told = store.watch("", before).await.unwrap().next().await.unwrap();
    assert!(
        matches!(told, Err(StoreError::Compacted(_))),
        "a watch cannot reach behind the restart"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn it_is_a_map_with_revisions(steps in prop::collection::vec((0_u8..6, prop::option::of(any::<u8>())), 1..60)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let same = runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let store = EmbeddedStore::open(&dir.path().join("s")).await.unwrap();
            let mut model = std::collections::BTreeMap::new();
            for (key, value) in steps {
                let key = format!("k/{key}");
                let transaction = match value {
                    Some(value) => { model.insert(key.clone(), vec![value]); Transaction::new().put(key, vec![value]) }
                    None => { model.remove(&key); Transaction::new().delete(key) }
                };
                apply(&store, transaction).await;
            }
            let found = store.range("k/").await.unwrap().entries;
            found.into_iter().map(|entry| (entry.key, entry.value)).eq(model)
        });
        prop_assert!(same);
    }
}
