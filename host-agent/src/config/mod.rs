//! The agent's configuration: a pure function of a TOML text and an
//! environment. `agent.example.toml` documents every key.

mod live;
mod network;
mod reader;
mod storage;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub use live::{Live, fixed_differences, live_differences};
pub use network::{Mode, NetworkConfig};
pub use reader::Fault;
use reader::Reader;
use rolltop_overlay::Sharing;
pub use storage::{NfsConfig, StoreLocation};

use crate::{
    apparmor,
    extra::ExtraDir,
    storage::{IdentityMaps, UnmappedHomes},
};

/// Environment variables that override keys begin with this:
/// `ROLLTOP_AGENT_NETWORK_BRIDGE` for `network.bridge`.
const ENV_PREFIX: &str = "ROLLTOP_AGENT_";

/// Everything an operator can set, as it was when the agent began; for what can
/// change while it runs, ask [`crate::host::Host::live`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The host's name in the cluster.
    pub name: String,
    /// What must survive a reboot: overlays and their templates.
    pub state_dir: PathBuf,
    /// What is kept of users, if not in there: may be reached by other hosts.
    pub kept_dir: Option<PathBuf>,
    /// Whether other hosts reach that.
    pub kept_sharing: Sharing,
    /// What must not: records and mount points of running desktops.
    pub run_dir: PathBuf,
    /// The image stores, asked in this order; never empty.
    pub images: Vec<StoreLocation>,
    /// Mounts and deadlines of those on NFS.
    pub nfs: NfsConfig,
    /// Whether desktops may have the host's own ids where nothing else works.
    pub identity_map: IdentityMaps,
    /// Directories of the host that desktops see over their roots.
    pub extra_dirs: Vec<ExtraDir>,
    /// Where brokers reach the agent; none: only the socket.
    pub listen: Option<Listen>,
    /// Where the metrics can be read; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Unix socket for root on this host.
    pub socket: PathBuf,
    /// The launcher's helper program.
    pub launcher: PathBuf,
    /// Most desktops at a time.
    pub max_desktops: u32,
    /// Directories of the host in which homes may lie.
    pub home_parents: Vec<PathBuf>,
    /// Whether homes may lie where ids cannot be mapped, as on NFS.
    pub unmapped_homes: UnmappedHomes,
    /// Bridge and addresses.
    pub network: NetworkConfig,
    /// Parent of desktops' control groups, below every hierarchy's root: not
    /// below the agent's own group, which a restart of its service may kill.
    pub cgroup_parent: String,
    /// Container runtimes.
    pub runtimes: Runtimes,
    /// The AppArmor profile of desktops.
    pub apparmor: apparmor::Wanted,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Starts that may be in their kernel-bound steps at a time.
    pub start_lanes: usize,
    /// Overlay bytes kept free on the host; below it no new desktop starts.
    pub reserve_bytes: u64,
    /// What is logged, as `RUST_LOG` has it.
    pub log_filter: String,
    /// Log lines as JSON.
    pub log_json: bool,
}

/// The port for brokers and the credentials for it.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
    /// This host's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Which program makes containers.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Used when a request names none: `builtin` or a key of `by_name`.
    pub default: String,
    /// OCI runtime binaries by name.
    pub by_name: BTreeMap<String, PathBuf>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the session's start to the display's answer.
    pub display: Duration,
    /// From asking a session to end to killing it.
    pub stop_grace: Duration,
    /// For an init of the image's own to start everything.
    pub boot: Duration,
    /// From asking such an init to end to killing it.
    pub init_grace: Duration,
    /// How long "only init is left" must hold before it counts as a logout.
    pub linger: Duration,
    /// One call to a runtime.
    pub runtime: Duration,
}

/// A configuration that cannot be used, with every fault in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig(pub Vec<Fault>);

impl Config {
    /// Reads `text`, overridden by `environment`.
    ///
    /// # Errors
    /// Every fault there is, unknown keys included.
    pub fn read(
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BadConfig> {
        let mut r = Reader::new(text, ENV_PREFIX, environment).map_err(|f| BadConfig(vec![f]))?;
        let config = Self {
            name: r.value("name", "host1".into(), name),
            state_dir: r.value("state_dir", "/var/lib/rolltop/agent".into(), absolute),
            kept_dir: r.optional("kept_dir", absolute),
            kept_sharing: storage::kept_sharing(&mut r),
            run_dir: r.value("run_dir", "/run/rolltop/agent".into(), absolute),
            images: storage::images(&mut r),
            nfs: storage::nfs(&mut r),
            identity_map: storage::identity_map(&mut r),
            extra_dirs: storage::extra_dirs(&mut r),
            listen: listen(&mut r),
            metrics: r.optional("metrics.listen", address),
            socket: r.value("socket", "/run/rolltop/agent.sock".into(), absolute),
            launcher: r.value("launcher", "/usr/lib/rolltop/rolltop-launcher".into(), absolute),
            max_desktops: r.value("max_desktops", 500, number(1, 60_000)),
            home_parents: r.list("homes.parents", Vec::new(), plain_path),
            unmapped_homes: storage::unmapped_homes(&mut r),
            network: network::network(&mut r),
            cgroup_parent: r.value("cgroup_parent", "rolltop".into(), name),
            runtimes: runtimes(&mut r),
            apparmor: r.value("apparmor_profile", apparmor::Wanted::WhereLoaded, apparmor_profile),
            deadlines: Deadlines {
                display: millis(&mut r, "deadlines.display_ms", 20_000),
                stop_grace: millis(&mut r, "deadlines.stop_grace_ms", 3_000),
                boot: millis(&mut r, "deadlines.boot_ms", 60_000),
                init_grace: millis(&mut r, "deadlines.init_grace_ms", 10_000),
                linger: millis(&mut r, "deadlines.linger_ms", 50),
                runtime: millis(&mut r, "deadlines.runtime_ms", 10_000),
            },
            start_lanes: r.value("start_lanes", 4, number(1, 64)) as usize,
            reserve_bytes: u64::from(r.value("reserve_mib", 512, number(0, 1 << 30))) << 20,
            log_filter: r.value("log.filter", "info".into(), filter),
            log_json: r.value("log.json", false, boolean),
        };
        r.finish().map_err(BadConfig)?;
        Ok(config)
    }
}

fn listen(r: &mut Reader<'_>) -> Option<Listen> {
    let address = r.optional("listen.address", address);
    let mut file = |key: &str| r.optional(key, absolute);
    let files = (file("listen.ca"), file("listen.certificate"), file("listen.key"));
    match (address, files) {
        (Some(address), (Some(ca), Some(certificate), Some(key))) => {
            Some(Listen { address, ca, certificate, key })
        }
        (None, (None, None, None)) => None,
        _ => {
            r.fault(
                "listen",
                "",
                "is incomplete: give address, ca, certificate and key, or none of them",
            );
            None
        }
    }
}

fn runtimes(r: &mut Reader<'_>) -> Runtimes {
    let default: String = r.value("runtimes.default", "builtin".into(), name);
    let mut by_name = BTreeMap::new();
    for key in r.keys_below("runtimes") {
        let dotted = format!("runtimes.{key}");
        if key == "builtin" {
            r.fault(&dotted, "", "is always there; give your runtime another name");
        }
        if let Some(path) = r.optional(&dotted, absolute) {
            by_name.insert(key, path);
        }
    }
    if default != "builtin" && !by_name.contains_key(&default) {
        r.fault(
            "runtimes.default",
            default.clone(),
            "is neither `builtin` nor a key of [runtimes]",
        );
    }
    Runtimes { default, by_name }
}

fn apparmor_profile(text: &str) -> Result<apparmor::Wanted, String> {
    match text {
        "auto" => Ok(apparmor::Wanted::WhereLoaded),
        "off" => Ok(apparmor::Wanted::No),
        name if name.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            Err("is neither \"auto\" nor \"off\" nor the name of a profile".into())
        }
        name => Ok(apparmor::Wanted::Named(name.into())),
    }
}

fn millis(r: &mut Reader<'_>, key: &str, default: u32) -> Duration {
    Duration::from_millis(u64::from(r.value(key, default, number(1, 3_600_000))))
}

fn number(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.parse::<i64>() {
        Ok(n) if (i64::from(least)..=i64::from(most)).contains(&n) => Ok(n as u32),
        _ => Err(format!("is not a whole number from {least} to {most}")),
    }
}

fn filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("is no filter such as info,rolltop_host_agent=debug: {error}")),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is neither true nor false".into())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') && !text.contains('\0') {
        Ok(text.into())
    } else {
        Err("is not an absolute path".into())
    }
}

/// Absolute, and one spelling for each directory: requests name it the same.
fn plain_path(text: &str) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    let plain =
        text.len() > 1 && text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if plain { Ok(path) } else { Err("is not a plain path such as /srv/homes".into()) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an address and port such as 127.0.0.1:7443".into())
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-');
    if fits { Ok(text.into()) } else { Err("is not 1 to 63 of a-z, 0-9 and `-`".into()) }
}

impl std::error::Error for BadConfig {}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fault(s) in the configuration", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, BadConfig> {
        Config::read(text, &|_| None)
    }

    #[test]
    fn the_example_is_complete_and_right() {
        let text = include_str!("../../agent.example.toml");
        let config = read(text).unwrap();
        assert_eq!(config.listen.unwrap().address.port(), 7443);
        // Every key is shown, so that none is undocumented.
        let shown = text.lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(shown, 49, "a key was added or removed: mend agent.example.toml");
    }

    #[test]
    fn an_empty_file_is_enough() {
        let config = read("").unwrap();
        assert_eq!(config.network.bridge, "rolltop0");
        assert!(config.listen.is_none());
    }

    #[test]
    fn all_faults_at_once() {
        let error = read(
            "name = 'No Such'\nstate_dir = 'here'\nmax_desktops = -1\nfoo = 1\n\
             [homes]\nparents = ['srv', '/srv/../etc', '/srv/homes']\n\
             [network]\nbridge = 'a/b'\nbar = 2\ndns = ['1.1.1.1', 'x']\n[listen]\naddress = '1'\n\
             [runtimes]\ndefault = 'crun'\n",
        )
        .unwrap_err();
        let mut keys: Vec<_> = error.0.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "foo",
                "homes.parents",
                "homes.parents",
                "listen.address",
                "max_desktops",
                "name",
                "network.bar",
                "network.bridge",
                "network.dns",
                "runtimes.default",
                "state_dir"
            ]
        );
    }

    #[test]
    fn the_environment_overrides() {
        let env = |key: &str| match key {
            "ROLLTOP_AGENT_NETWORK_BRIDGE" => Some("br9".to_owned()),
            "ROLLTOP_AGENT_NETWORK_DNS" => Some("9.9.9.9, 1.1.1.1".to_owned()),
            _ => None,
        };
        let config = Config::read("[network]\nbridge = 'br8'", &env).unwrap();
        assert_eq!(config.network.bridge, "br9");
        assert_eq!(config.network.dns.len(), 2);
    }

    #[test]
    fn half_of_a_listener_is_a_fault() {
        let error = read("[listen]\naddress = '127.0.0.1:7443'").unwrap_err();
        assert_eq!(error.0[0].key, "listen");
    }
}
