//! From one store to another and back.

use std::{io::Cursor, os::unix::fs::PermissionsExt as _, sync::Arc};

use clap::Parser as _;
use rolltop_broker::{
    cli::Cli,
    cluster::{ClusterError, open_store},
    config::Config,
    offline::{self, OfflineError},
    state::keys,
    store::{
        EmbeddedStore, MAX_VALUE_BYTES, Store, Transaction,
        archive::{self, ArchiveError, Summary},
    },
};
use tempfile::TempDir;

use super::{
    apply,
    cluster::{EtcdCluster, within_namespaces},
    put, value,
};

const MARKER: &str = "importing";

async fn exported(store: &dyn Store) -> Vec<u8> {
    let mut file = Vec::new();
    archive::export(store, &mut file).await.unwrap();
    file
}

async fn imported(store: &dyn Store, file: &[u8], replace: bool) -> Result<Summary, ArchiveError> {
    archive::check(&mut Cursor::new(file))?;
    let summary = archive::import(store, &mut Cursor::new(file), MARKER, replace).await?;
    archive::verify(store, &mut Cursor::new(file), MARKER, Transaction::new()).await?;
    Ok(summary)
}

async fn embedded(dir: &TempDir, name: &str) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&dir.path().join(name)).await.unwrap())
}

/// Everything but the first line, which says the revision, and the last.
fn lines(file: &[u8]) -> Vec<&[u8]> {
    let lines: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
    lines[1..lines.len() - 1].to_vec()
}

async fn fill(store: &dyn Store) {
    for first in 0..30 {
        let some = (0..100).fold(Transaction::new(), |t, i| {
            t.put(format!("desktop/{first:02}{i:02}"), vec![first; 300])
        });
        apply(store, some).await;
    }
    let big = Transaction::new().put("a/big", vec![0xff; MAX_VALUE_BYTES]).put("a/empty", vec![]);
    apply(store, big.put("ü/\"quoted\"\n", b"\0".to_vec())).await;
    let lease = store.grant(std::time::Duration::from_secs(600)).await.unwrap();
    apply(store, Transaction::new().put_leased("viewer/x", vec![], lease)).await;
}

#[test]
fn everything_goes_to_etcd_and_back() {
    within_namespaces("store::archive::everything_goes_to_etcd_and_back", async {
        let dir = TempDir::new().unwrap();
        let cluster = EtcdCluster::start().await;
        let etcd = cluster.store().await;
        let one = embedded(&dir, "one").await;
        fill(one.as_ref()).await;
        let file = exported(one.as_ref()).await;
        assert_eq!(imported(&etcd, &file, false).await.unwrap().entries, 3003);
        assert_eq!(value(&etcd, "viewer/x").await, None, "leases stay behind");
        assert_eq!(value(&etcd, MARKER).await, None);
        let back = exported(&etcd).await;
        assert_eq!(lines(&back), lines(&file));
        let two = embedded(&dir, "two").await;
        imported(two.as_ref(), &back, false).await.unwrap();
        assert_eq!(lines(&exported(two.as_ref()).await), lines(&file));
        // Told to, it replaces what is there.
        apply(&etcd, put("zzz", "x")).await;
        imported(&etcd, &file, true).await.unwrap();
        assert_eq!(lines(&exported(&etcd).await), lines(&file));
    });
}

async fn command(config: &Config, words: &[&str]) -> Result<String, OfflineError> {
    let cli = Cli::parse_from(["rolltop-broker"].iter().chain(words));
    let mut output = Vec::new();
    offline::run(config, cli.command.unwrap(), &mut &b"a long password\n"[..], &mut output).await?;
    Ok(String::from_utf8(output).unwrap())
}

#[tokio::test]
async fn the_commands_move_a_cluster() {
    let dir = TempDir::new().unwrap();
    let config = |name: &str| {
        let state = dir.path().join(name);
        Config::read(&format!("state_dir = {state:?}"), std::iter::empty()).unwrap()
    };
    let file = dir.path().join("store.jsonl");
    let file = file.to_str().unwrap();
    let (old, new) = (config("old"), config("new"));
    let add = ["user", "add", "anna", "--password-stdin"];
    command(&old, &add).await.unwrap();
    let told = command(&old, &["store", "export", file]).await.unwrap();
    assert!(told.contains(" keys of revision "), "{told}");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds the cluster's keys");
    let again = command(&old, &["store", "export", file]).await.unwrap_err();
    assert!(matches!(again, OfflineError::Archive { .. }), "an export is not overwritten");

    command(&new, &["store", "import", file]).await.unwrap();
    let twice = command(&new, &["store", "import", file]).await.unwrap_err();
    let OfflineError::Archive { source, .. } = twice else { panic!("{twice}") };
    assert!(matches!(source, ArchiveError::NotEmpty { .. }), "{source}");
    command(&new, &["store", "import", "--replace", file]).await.unwrap();
    // The same people, and the same authority.
    assert!(matches!(command(&new, &add).await.unwrap_err(), OfflineError::Account(_)));
    let ca = |name: &str| std::fs::read_to_string(dir.path().join(name).join("ca.pem")).unwrap();
    assert_eq!(ca("old"), ca("new"));

    // One that was interrupted is not used by anybody.
    let store = open_store(&new).await.unwrap();
    apply(store.as_ref(), put(keys::IMPORTING, "")).await;
    drop(store);
    let refused = command(&new, &add).await.unwrap_err();
    assert!(matches!(refused, OfflineError::Cluster(ClusterError::HalfImported)), "{refused}");
}

#[tokio::test]
async fn nothing_is_overwritten_unasked() {
    let dir = TempDir::new().unwrap();
    let store = embedded(&dir, "s").await;
    apply(store.as_ref(), put("k", "mine")).await;
    let file = exported(store.as_ref()).await;
    let refused = imported(store.as_ref(), &file, false).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::NotEmpty { key } if key == "k"));
    // The marker of an import that ended early keeps the next from being taken for whole.
    apply(store.as_ref(), Transaction::new().delete("k").put(MARKER, vec![])).await;
    let refused = imported(store.as_ref(), &file, false).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::NotEmpty { key } if key == MARKER));
    imported(store.as_ref(), &file, true).await.unwrap();
    assert_eq!(value(store.as_ref(), "k").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_damaged_file_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let store = embedded(&dir, "s").await;
    for key in ["a", "b", "c"] {
        apply(store.as_ref(), put(key, "value")).await;
    }
    let file = exported(store.as_ref()).await;
    let target = embedded(&dir, "t").await;
    // Every byte counts, and so does every missing one.
    for place in 0..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 1;
        assert!(imported(target.as_ref(), &damaged, false).await.is_err(), "byte {place}");
        assert!(imported(target.as_ref(), &file[..place], false).await.is_err(), "cut at {place}");
    }
    let mut longer = file.clone();
    longer.push(b'\n');
    assert!(imported(target.as_ref(), &longer, false).await.is_err());
    assert_eq!(target.range("").await.unwrap().entries, []);
    // A file that is whole, but not what the store holds afterwards.
    archive::import(target.as_ref(), &mut Cursor::new(&file), MARKER, false).await.unwrap();
    apply(target.as_ref(), put("b", "other")).await;
    let differs =
        archive::verify(target.as_ref(), &mut Cursor::new(&file), MARKER, Transaction::new()).await;
    assert!(matches!(differs, Err(ArchiveError::Differs { key }) if key == "b"));
    assert!(target.get(MARKER).await.unwrap().is_some(), "it cannot be used as it is");
}
