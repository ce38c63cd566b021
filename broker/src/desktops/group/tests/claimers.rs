//! The part of brokers that claims: over any store, with hosts that are only seen
//! and people who are only records.

use std::sync::Arc;

use rolltop_broker::{
    clock::{Clock as _, SystemClock, Timestamp},
    config::Config,
    data::Data,
    desktops::{Desktops, Parts, StartRequest},
    hosts::{Health, Hosts, Seen},
    metrics::Metrics,
    names::{Endpoint, HostName},
    pki::Authority,
    presence::Presence,
    state::{
        CredentialRecord, HostRecord, LimitsRecord, PoolRecord, Role, TransactionExt as _,
        UserRecord, keys,
    },
    store::{Store, Transaction},
};
use rolltop_proto::v1::{HostInfo, ImageVersion};
use tokio::task::AbortHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the pool's desktops may use.
pub(crate) const LIMITS: LimitsRecord = LimitsRecord {
    memory_mib: 1024,
    cpu_millis: 1000,
    pids: 0,
    network_down_bits: 0,
    network_up_bits: 0,
    disk_read_bytes: 0,
    disk_write_bytes: 0,
    disk_ops: 0,
};

/// One broker's.
pub(crate) struct Claimer {
    pub(crate) desktops: Desktops,
    books: AbortHandle,
}

impl Drop for Claimer {
    fn drop(&mut self) {
        self.books.abort();
    }
}

impl Claimer {
    /// That sees so many hosts, each with room for so many desktops.
    pub(crate) async fn new(store: Arc<dyn Store>, hosts: usize, room: i64) -> Self {
        let text = "listen = \"127.0.0.1:0\"\nstate_dir = \"/nonexistent\"\n";
        let config = Config::read(text, std::iter::empty()).unwrap();
        let clock = Arc::new(SystemClock);
        let authority = Authority::load_or_make(store.as_ref(), &SystemClock).await.unwrap();
        let client = authority.issue_client(SystemClock.now()).unwrap();
        let fleet = Hosts::new(authority.certificate_pem(), &client).unwrap();
        for place in 0..hosts {
            let name: HostName = format!("h{place}").parse().unwrap();
            let endpoint = Endpoint::parse("endpoint", "https://127.0.0.1:9").unwrap();
            let record = HostRecord::new(name.clone(), endpoint, CredentialRecord::revoked());
            fleet.put_seen(&record, seen(&name, room)).unwrap();
        }
        let tasks = TaskTracker::new();
        let parts = Parts {
            data: Data::new(
                Arc::clone(&store),
                Arc::<SystemClock>::clone(&clock),
                fleet.clone(),
                tasks.clone(),
                CancellationToken::new(),
            ),
            presence: Presence::new(Arc::clone(&store)),
            store,
            clock,
            hosts: fleet,
            tasks,
            metrics: Arc::new(Metrics::new().unwrap()),
        };
        let desktops = Desktops::new(parts, &config);
        let books = tokio::spawn(desktops.clone().keep_books()).abort_handle();
        Self { desktops, books }
    }
}

fn seen(name: &HostName, room: i64) -> Seen {
    let info = HostInfo {
        name: name.to_string(),
        cpus: room,
        memory_bytes: room << 30,
        memory_available_bytes: room << 30,
        overlay_free_bytes: 1 << 50,
        max_desktops: room,
        network: "10.0.0.0/8".to_owned(),
        ..HostInfo::default()
    };
    let image = ImageVersion {
        image: "demo".to_owned(),
        version: "1".to_owned(),
        tags: vec!["stable".to_owned()],
        ..ImageVersion::default()
    };
    Seen { health: Health::Ready, info: Some(info), images: vec![image], ..Seen::default() }
}

/// Makes the pool "demo" and people "p0" and on.
pub(crate) async fn people(store: &dyn Store, count: usize) -> Vec<StartRequest> {
    let pool = PoolRecord {
        name: "demo".parse().unwrap(),
        title: String::new(),
        description: String::new(),
        image: "demo:stable".parse().unwrap(),
        persistent: false,
        overlay_size_mib: 64,
        limits: LIMITS,
        runtime: String::new(),
        users: Vec::new(),
        groups: Vec::new(),
        home: None,
        egress: Vec::new(),
        hosts: Default::default(),
        warm: 0,
        time_limits: Default::default(),
        max_desktops: 0,
        closed: String::new(),
    };
    let put = Transaction::new().put_record(&keys::pool(&pool.name), &pool).unwrap();
    store.commit(put).await.unwrap();
    let user = |place: usize| UserRecord {
        name: format!("p{place}").parse().unwrap(),
        full_name: String::new(),
        role: Role::User,
        uid: 2000 + u32::try_from(place).unwrap(),
        password_hash: String::new(),
        created_at: Timestamp(0),
        source: Default::default(),
        identity: None,
    };
    let users: Vec<UserRecord> = (0..count).map(user).collect();
    for some in users.chunks(50) {
        let put = some.iter().fold(Transaction::new(), |t, user| {
            t.put_record(&keys::user(&user.name), user).unwrap()
        });
        store.commit(put).await.unwrap();
    }
    let request = |user| StartRequest {
        user,
        pool: pool.name.clone(),
        width: 0,
        height: 0,
        time_zone: String::new(),
    };
    users.into_iter().map(request).collect()
}
