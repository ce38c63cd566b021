//! The store on etcd: what the suite asks, and what members suffer meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Permission, PermissionType};
use futures_util::StreamExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rolltop_broker::store::{
    Commit, EtcdOptions, EtcdStore, EtcdTls, EtcdUser, Store, StoreError, Transaction,
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    apply,
    cluster::{EtcdCluster, within_namespaces},
    conforms,
    proxy::{Pass, Proxy},
    put, value,
};

/// Of an answer to a transaction; what HTTP/2 says of its own accord is less.
const ANSWER_BYTES: usize = 80;
/// For a cluster that has to elect, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn the_etcd_store_conforms() {
    within_namespaces("store::etcd::the_etcd_store_conforms", async {
        let cluster = EtcdCluster::start().await;
        let store = Arc::new(cluster.store().await);
        conforms(Arc::clone(&store) as Arc<dyn Store>).await;
        two_brokers_see_the_same(&cluster, store.as_ref()).await;
        forgotten_changes_are_told(&cluster, store.as_ref()).await;
        drop(store);
        markers_are_few_and_leased(&cluster).await;
    });
}

async fn two_brokers_see_the_same(cluster: &EtcdCluster, one: &EtcdStore) {
    let other = cluster.store().await;
    let since = other.range("two/").await.unwrap().revision;
    let mut watch = other.watch("two/", since).await.unwrap();
    let first = apply(one, put("two/a", "1").absent("two/a")).await;
    assert_eq!(other.get("two/a").await.unwrap().unwrap().revision, first);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, first);
    let lost = other.commit(put("two/a", "2").absent("two/a")).await.unwrap();
    assert_eq!(lost, Commit::Conflict { key: "two/a".into() });
    // A lease is anybody's to keep; all see it end.
    let lease = one.grant(Duration::from_secs(60)).await.unwrap();
    apply(one, Transaction::new().put_leased("two/l", vec![], lease)).await;
    other.keep_alive(lease).await.unwrap();
    other.revoke(lease).await.unwrap();
    assert!(matches!(one.keep_alive(lease).await, Err(StoreError::LeaseGone(id)) if id == lease));
    assert_eq!(value(one, "two/l").await, None);
    // What another application keeps in the same etcd is not ours.
    let apart =
        EtcdStore::open(&EtcdOptions { prefix: "/rolltop-b/".into(), ..cluster.options() }).await;
    assert_eq!(apart.unwrap().range("").await.unwrap().entries, []);
}

async fn forgotten_changes_are_told(cluster: &EtcdCluster, store: &EtcdStore) {
    let before = apply(store, put("gone/a", "1")).await;
    let scan = store.scan("s/").await.unwrap();
    let last = apply(store, put("gone/a", "2")).await;
    let mut client = cluster.client(0).await.unwrap();
    client.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
    let rest: Vec<_> = scan.pages.collect().await;
    assert!(matches!(rest.last(), Some(Err(StoreError::Compacted(_)))), "a scan says so");
    // A broker that comes later cannot have seen them.
    let later = cluster.store().await;
    let told = later.watch("gone/", before).await.unwrap().next().await.unwrap();
    assert!(matches!(told, Err(StoreError::Compacted(since)) if since == before), "{told:?}");
    // It reads anew, and goes on from there.
    let range = later.range("gone/").await.unwrap();
    let mut watch = later.watch("gone/", range.revision).await.unwrap();
    let next = apply(store, put("gone/a", "3")).await;
    assert_eq!(watch.next().await.unwrap().unwrap().revision, next);
}

async fn markers_are_few_and_leased(cluster: &EtcdCluster) {
    let mut client = cluster.client(0).await.unwrap();
    let all = etcd_client::GetOptions::new().with_prefix();
    let markers = client.get("/rolltop/m/", Some(all)).await.unwrap();
    assert!((1..=200).contains(&markers.kvs().len()), "{} markers", markers.kvs().len());
    assert!(markers.kvs().iter().all(|marker| marker.lease() != 0));
}

/// Writes 1, 2, 3 … to a key, each on condition of the one before, and checks
/// every answer against what is there; watches the same key, and demands every
/// number once, in order.
struct Chain {
    reached: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
    watcher: JoinHandle<()>,
}

impl Chain {
    async fn begin(store: &Arc<EtcdStore>) -> Self {
        let begin = store.range("chain").await.unwrap().revision;
        let mut watch = store.watch("chain", begin).await.unwrap();
        let reached = Arc::new(AtomicU64::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write(Arc::clone(store), Arc::clone(&reached), Arc::clone(&end)));
        let watcher = tokio::spawn(async move {
            for expected in 1.. {
                let event = watch.next().await.unwrap().unwrap();
                match event.value {
                    Some(value) => assert_eq!(number(&value), expected, "a gap, or a repeat"),
                    // The end of the chain.
                    None => return,
                }
            }
        });
        Self { reached, end, writer, watcher }
    }

    /// Until it is so much longer.
    async fn grows(&self, what: &str) {
        let goal = self.reached.load(Ordering::Relaxed) + 10;
        let grown = timeout(PATIENCE, async {
            while self.reached.load(Ordering::Relaxed) < goal && !self.writer.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        grown.await.unwrap_or_else(|_| panic!("nothing is written: {what}"));
        assert!(!self.writer.is_finished(), "the writer failed: {what}");
    }

    async fn finish(self, store: &EtcdStore) {
        self.end.store(true, Ordering::Relaxed);
        let written = self.writer.await.unwrap();
        assert_eq!(number(&store.get("chain").await.unwrap().unwrap().value), written);
        apply(store, Transaction::new().delete("chain")).await;
        timeout(PATIENCE, self.watcher).await.expect("the watch sees the end").unwrap();
    }
}

async fn write(store: Arc<EtcdStore>, reached: Arc<AtomicU64>, end: Arc<AtomicBool>) -> u64 {
    let mut last = 0_u64;
    let mut revision = None;
    while !end.load(Ordering::Relaxed) {
        let next = Transaction::new().put("chain", (last + 1).to_string().into_bytes());
        let next = match revision {
            Some(revision) => next.unchanged("chain", revision),
            None => next.absent("chain"),
        };
        match store.commit(next).await {
            Ok(Commit::Applied(now)) => {
                last += 1;
                revision = Some(now);
                reached.store(last, Ordering::Relaxed);
            }
            Ok(Commit::Conflict { .. }) => {
                panic!("nobody else writes, yet {} was refused", last + 1)
            }
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Indeterminate { .. })) => {
                let open = matches!(error, StoreError::Indeterminate { .. });
                let Ok(found) = store.get("chain").await else { continue };
                let now = found.as_ref().map_or(0, |entry| number(&entry.value));
                assert!(
                    now == last || (open && now == last + 1),
                    "{error}, but {now} after {last}"
                );
                last = now;
                revision = found.map(|entry| entry.revision);
            }
            Err(error) => panic!("{error}"),
        }
    }
    last
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

#[test]
fn nothing_is_lost_doubled_or_misreported_while_members_fail() {
    let name = "store::etcd::nothing_is_lost_doubled_or_misreported_while_members_fail";
    within_namespaces(name, async {
        let mut cluster = EtcdCluster::start().await;
        let store = Arc::new(cluster.store().await);
        let chain = Chain::begin(&store).await;
        chain.grows("at the beginning").await;

        for _ in 0..2 {
            let leader = cluster.leader().await;
            cluster.kill(leader);
            chain.grows("a leader was killed").await;
            cluster.run_member(leader);
            chain.grows("and is back").await;
        }
        for _ in 0..3 {
            let leader = cluster.leader().await;
            cluster.pause(leader);
            chain.grows("a leader is paused").await;
            cluster.resume(leader);
            chain.grows("and goes on").await;
        }
        for follower in 0..3 {
            cluster.pause(follower);
            chain.grows("a member is paused").await;
            cluster.resume(follower);
        }
        let leader = cluster.leader().await;
        let next = cluster.member_id((leader + 1) % 3).await;
        cluster.client(leader).await.unwrap().move_leader(next).await.unwrap();
        chain.grows("another leads").await;

        for place in 0..3 {
            cluster.kill(place);
        }
        for place in 0..3 {
            cluster.run_member(place);
        }
        chain.grows("all were down").await;
        chain.finish(&store).await;
    });
}

#[test]
fn a_member_that_is_cut_off_misleads_nobody() {
    within_namespaces("store::etcd::a_member_that_is_cut_off_misleads_nobody", async {
        let cluster = EtcdCluster::start().await;
        let store = Arc::new(cluster.store().await);
        let chain = Chain::begin(&store).await;
        chain.grows("at the beginning").await;
        for clients in [true, false, true, false] {
            let leader = cluster.leader().await;
            cluster.cut(leader, clients);
            chain.grows("the leader is cut off").await;
            let others = timeout(PATIENCE, async { while cluster.leader().await == leader {} });
            others.await.expect("the others elect one of themselves");
            cluster.heal();
            chain.grows("and back").await;
        }
        for place in 0..3 {
            cluster.cut(place, false);
            chain.grows("a member has lost the others").await;
            cluster.heal();
        }
        chain.finish(&store).await;
    });
}

/// A store on two ways to the cluster, of which the first is used first.
async fn on_two_ways(cluster: &EtcdCluster) -> (EtcdStore, Proxy, Proxy) {
    loop {
        let ways = (Proxy::to(&cluster.endpoint(0)).await, Proxy::to(&cluster.endpoint(1)).await);
        let endpoints = vec![ways.0.endpoint.clone(), ways.1.endpoint.clone()];
        let options = EtcdOptions { endpoints, ..cluster.options() };
        let store = EtcdStore::open(&options).await.unwrap();
        // Which one that is was left to chance.
        ways.1.let_pass(Pass::Requests);
        let first = timeout(Duration::from_secs(1), store.get("ways")).await.is_ok();
        ways.1.let_pass(Pass::All);
        if first {
            return (store, ways.0, ways.1);
        }
    }
}

#[test]
fn a_lost_answer_is_learnt_from_another_member() {
    within_namespaces("store::etcd::a_lost_answer_is_learnt_from_another_member", async {
        let cluster = EtcdCluster::start().await;
        let (store, first, _second) = on_two_ways(&cluster).await;
        apply(&store, put("lost", "1").absent("lost")).await;
        let before = store.get("lost").await.unwrap().unwrap().revision;
        first.let_pass(Pass::Requests);
        // Sent again blindly, it would meet its own doing, and call it a conflict.
        let applied = apply(&store, put("lost", "2").unchanged("lost", before)).await;
        let found = cluster.store().await.get("lost").await.unwrap().unwrap();
        assert_eq!((found.value.as_slice(), found.revision), (&b"2"[..], applied));
    });
}

#[test]
fn what_was_called_a_conflict_is_never_applied_later() {
    within_namespaces("store::etcd::what_was_called_a_conflict_is_never_applied_later", async {
        let cluster = EtcdCluster::start().await;
        let other = cluster.store().await;
        let (store, first, _second) = on_two_ways(&cluster).await;
        apply(&store, put("warm", "1")).await;
        let since = other.range("").await.unwrap().revision;
        apply(&other, put("late", "other")).await;
        // The first copy is under way for as long as we like; the second finds the key there.
        first.let_pass(Pass::Later);
        let lost = store.commit(put("late", "mine").absent("late")).await.unwrap();
        assert_eq!(lost, Commit::Conflict { key: "late".into() });
        // Now its guard would hold, and it arrives.
        apply(&other, Transaction::new().delete("late")).await;
        let answered = first.answered.load(Ordering::Relaxed);
        first.let_pass(Pass::All);
        let arrived = timeout(PATIENCE, async {
            while first.answered.load(Ordering::Relaxed) < answered + ANSWER_BYTES {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        arrived.await.expect("the member answers the first copy");
        let end = apply(&other, put("late/end", "")).await;
        let mut watch = other.watch("late", since).await.unwrap();
        loop {
            let event = watch.next().await.unwrap().unwrap();
            assert_ne!(event.value.as_deref(), Some(&b"mine"[..]), "it was applied all the same");
            if event.revision == end {
                return;
            }
        }
    });
}

#[test]
fn no_member_is_an_answer_in_time() {
    within_namespaces("store::etcd::no_member_is_an_answer_in_time", async {
        let mut cluster = EtcdCluster::start().await;
        let options = EtcdOptions { deadline: Duration::from_secs(3), ..cluster.options() };
        let store = EtcdStore::open(&options).await.unwrap();
        let lease = store.grant(Duration::from_secs(600)).await.unwrap();
        apply(&store, Transaction::new().put_leased("k", b"1".to_vec(), lease)).await;
        cluster.kill(0);
        cluster.kill(1);
        let error = store.get("k").await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { seconds: 3, .. }), "{error}");
        assert!(matches!(store.keep_alive(lease).await, Err(StoreError::Unavailable { .. })));
        let error = store.commit(put("k", "2")).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Unavailable { .. } | StoreError::Indeterminate { .. }),
            "{error}"
        );
        cluster.run_member(0);
        cluster.run_member(1);
        cluster.leader().await;
        // The same store goes on, and so does the lease.
        let kept = timeout(PATIENCE, async {
            while let Err(error) = store.keep_alive(lease).await {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            }
        });
        kept.await.expect("the lease is kept again");
        apply(&store, put("k", "3")).await;
        assert_eq!(value(&store, "k").await.as_deref(), Some("3"));
    });
}

#[test]
fn certificates_and_users_are_asked_for() {
    within_namespaces("store::etcd::certificates_and_users_are_asked_for", async {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = named("authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = named(name);
            params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        let tls = EtcdTls { ca: ca_pem, identity: Some(issue("broker")) };
        let cluster = EtcdCluster::start_with(Some((tls.clone(), issue("member")))).await;

        let mut root = cluster.client(0).await.unwrap();
        root.user_add("root", "secret", None).await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        root.role_add("rolltop").await.unwrap();
        let own = Permission::new(PermissionType::Readwrite, "/rolltop/").with_prefix();
        root.role_grant_permission("rolltop", own).await.unwrap();
        root.user_add("rolltop", "right", None).await.unwrap();
        root.user_grant_role("rolltop", "rolltop").await.unwrap();
        root.auth_enable().await.unwrap();

        let user =
            |password: &str| Some(EtcdUser { name: "rolltop".into(), password: password.into() });
        let options = EtcdOptions { user: user("right"), ..cluster.options() };
        let store = Arc::new(EtcdStore::open(&options).await.unwrap());
        conforms(Arc::clone(&store) as Arc<dyn Store>).await;

        let patient = EtcdOptions { deadline: Duration::from_secs(3), ..options };
        let wrong = EtcdOptions { user: user("wrong"), ..patient.clone() };
        let apart = EtcdOptions { prefix: "/elsewhere".into(), ..patient.clone() };
        for (options, says) in
            [(wrong, "invalid user ID or password"), (apart, "permission denied")]
        {
            match EtcdStore::open(&options).await.map(drop).unwrap_err() {
                StoreError::Refused { reason, .. } => assert!(reason.contains(says), "{reason}"),
                other => panic!("{other}"),
            }
        }
        let nameless = EtcdTls { identity: None, ..tls };
        let stranger = EtcdOptions { tls: Some(nameless), ..patient };
        let refused = EtcdStore::open(&stranger).await.map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    });
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
