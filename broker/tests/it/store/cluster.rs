//! A real etcd of three members, in namespaces of the test's own: addresses
//! and ports are free there, links can be cut, and when the test ends, however
//! it ends, no process is left.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use rolltop_broker::store::{EtcdOptions, EtcdStore, EtcdTls};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Set within the namespaces.
const INSIDE: &str = "ROLLTOP_TEST_NAMESPACES";
/// Each member is a user of its own, so that its packets can be told.
const FIRST_UID: u32 = 63_100;
/// A cluster that has to elect, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the body of the test `name` within namespaces of its own; the first
/// call, from the test itself, runs the test once more there.
pub(crate) fn within_namespaces(name: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(body);
    }
    if let Some(missing) = missing() {
        println!("skipped: {missing}");
        return;
    }
    let status = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} within namespaces: {status}");
}

fn missing() -> Option<String> {
    for (program, package) in [
        ("etcd", "etcd-server"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
    ] {
        let there = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        });
        if !there {
            return Some(format!("there is no {program} (package {package})"));
        }
    }
    let root = fs::metadata("/proc/self").is_ok_and(|me| {
        use std::os::unix::fs::MetadataExt as _;
        me.uid() == 0
    });
    (!root).then(|| "needs root".to_owned())
}

pub(crate) struct EtcdCluster {
    dir: TempDir,
    members: Vec<Option<Child>>,
    pub(crate) tls: Option<EtcdTls>,
}

impl EtcdCluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// `server`: certificate and key of the members; clients need one, too.
    pub(crate) async fn start_with(tls: Option<(EtcdTls, (String, String))>) -> Self {
        assert!(run("ip", &["link", "set", "lo", "up"]));
        let dir = tempfile::Builder::new().prefix("rolltop-etcd-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (tls, server) = tls.unzip();
        if let (Some(tls), Some((certificate, key))) = (&tls, &server) {
            for (name, text) in [("ca", &tls.ca), ("server", certificate), ("key", key)] {
                let path = dir.path().join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        let mut cluster = Self { dir, members: vec![None, None, None], tls };
        for place in 0..3 {
            let data = cluster.data(place);
            fs::create_dir(&data).unwrap();
            chown(&data, Some(uid(place)), Some(uid(place))).unwrap();
            cluster.run_member(place);
        }
        cluster.leader().await;
        cluster
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        EtcdOptions {
            endpoints: (0..3).map(|place| self.endpoint(place)).collect(),
            prefix: "/rolltop".to_owned(),
            tls: self.tls.clone(),
            user: None,
            deadline: Duration::from_secs(30),
        }
    }

    pub(crate) async fn store(&self) -> EtcdStore {
        EtcdStore::open(&self.options()).await.unwrap()
    }

    pub(crate) fn endpoint(&self, place: usize) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", client_port(place))
    }

    /// etcd's own client, to one member.
    pub(crate) async fn client(&self, place: usize) -> Option<Client> {
        let mut options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
        if let Some(tls) = &self.tls {
            let (certificate, key) = tls.identity.clone().unwrap();
            let tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(&tls.ca))
                .identity(Identity::from_pem(certificate, key));
            options = options.with_tls(tls);
        }
        Client::connect([self.endpoint(place)], Some(options)).await.ok()
    }

    /// The member that leads, once there is one.
    pub(crate) async fn leader(&self) -> usize {
        let look = async {
            loop {
                for place in 0..3 {
                    let Some(mut client) = self.client(place).await else { continue };
                    let status = timeout(Duration::from_secs(2), client.status()).await;
                    if let Ok(Ok(status)) = status
                        && status.leader() != 0
                        && status.header().unwrap().member_id() == status.leader()
                    {
                        return place;
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("the cluster elects a leader")
    }

    pub(crate) async fn member_id(&self, place: usize) -> u64 {
        let ask = async {
            loop {
                if let Some(mut client) = self.client(place).await
                    && let Ok(status) = client.status().await
                {
                    return status.header().unwrap().member_id();
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ask).await.expect("the member answers")
    }

    pub(crate) fn run_member(&mut self, place: usize) {
        let cluster: Vec<String> =
            (0..3).map(|p| format!("m{p}=http://127.0.0.1:{}", peer_port(p))).collect();
        let (client, peer) =
            (self.endpoint(place), format!("http://127.0.0.1:{}", peer_port(place)));
        let log = fs::File::options().create(true).append(true).open(self.log(place)).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &uid(place).to_string(), "--regid", &uid(place).to_string()])
            .args(["--clear-groups", "--", "etcd", "--name", &format!("m{place}")])
            .arg("--data-dir")
            .arg(self.data(place))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "warn"]);
        if self.tls.is_some() {
            let file = |name: &str| self.dir.path().join(name);
            command.arg("--trusted-ca-file").arg(file("ca"));
            command.arg("--cert-file").arg(file("server")).arg("--key-file").arg(file("key"));
            command.arg("--client-cert-auth");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.members[place] = Some(child);
    }

    /// As a machine that loses its power.
    pub(crate) fn kill(&mut self, place: usize) {
        let mut child = self.members[place].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn pause(&self, place: usize) {
        self.signal(place, "-STOP");
    }

    pub(crate) fn resume(&self, place: usize) {
        self.signal(place, "-CONT");
    }

    fn signal(&self, place: usize, signal: &str) {
        let pid = self.members[place].as_ref().unwrap().id().to_string();
        assert!(run("kill", &[signal, &pid]));
    }

    /// Cuts a member off from the others; `clients`: from us, too.
    pub(crate) fn cut(&self, place: usize, clients: bool) {
        let spared =
            if clients { String::new() } else { format!("tcp sport != {}", client_port(place)) };
        let rules = format!(
            "table inet cut {{ chain out {{ type filter hook output priority 0; meta skuid {} {spared} drop; }}; }}",
            uid(place)
        );
        assert!(run("nft", &[&rules]));
    }

    pub(crate) fn heal(&self) {
        assert!(run("nft", &["delete table inet cut"]));
    }

    fn data(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("m{place}"))
    }

    fn log(&self, place: usize) -> PathBuf {
        self.dir.path().join(format!("m{place}.log"))
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for place in 0..3 {
            if let Some(mut child) = self.members[place].take() {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            if std::thread::panicking() {
                let log = fs::read_to_string(self.log(place)).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(10).collect();
                eprintln!("member {place}: {last:#?}");
            }
        }
    }
}

fn uid(place: usize) -> u32 {
    FIRST_UID + u32::try_from(place).unwrap()
}

/// Ports are all ours.
fn client_port(place: usize) -> usize {
    21_000 + place
}

fn peer_port(place: usize) -> usize {
    22_000 + place
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).status().unwrap().success()
}
