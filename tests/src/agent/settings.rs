//! What an agent is started with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::patience;

/// The programs of a host.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `rolltop-agent`.
    pub agent: PathBuf,
    /// `rolltop-launcher`.
    pub launcher: PathBuf,
}

/// Everything an agent of one's own needs. Kept small: what is not said here
/// has the agent's default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The programs.
    pub programs: Programs,
    /// For the configuration, the log and the overlays. On a real disk.
    pub dir: PathBuf,
    /// For what does not outlive a reboot. On a tmpfs.
    pub run_dir: PathBuf,
    /// The image store.
    pub images: PathBuf,
    /// A name of its own, for its control groups.
    pub name: String,
    /// OCI runtimes by name, beside the built-in one.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// How long a display may take to answer, milliseconds; none: the default.
    pub display_ms: Option<u32>,
    /// MiB to keep free on the disk of overlays; none: the default.
    pub reserve_mib: Option<u32>,
    /// Keys that replace or join all others.
    pub more: toml::Table,
    /// Directory with what a broker gave out for this host (`ca.pem`,
    /// `host.pem`, `host-key.pem`); none: no broker may call.
    pub credentials: Option<PathBuf>,
    /// Directories in which homes may lie.
    pub home_parents: Vec<PathBuf>,
    /// Environment variables beside those of this process.
    pub environment: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Listen {
    address: &'static str,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    state_dir: PathBuf,
    run_dir: PathBuf,
    images: &'a Path,
    socket: PathBuf,
    launcher: &'a Path,
    cgroup_parent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve_mib: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<Listen>,
    homes: Homes<'a>,
    network: Network,
    runtimes: &'a BTreeMap<String, PathBuf>,
    deadlines: Deadlines,
}

#[derive(Serialize)]
struct Homes<'a> {
    parents: &'a [PathBuf],
}

#[derive(Serialize)]
struct Network {
    bridge: &'static str,
}

#[derive(Serialize)]
struct Deadlines {
    #[serde(skip_serializing_if = "Option::is_none")]
    display_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_grace_ms: Option<u32>,
}

impl Deadlines {
    /// The agent's own, but on a machine that is slow.
    fn new(display_ms: Option<u32>, slowness: u32) -> Self {
        let slow = |limit_ms: u32| (slowness > 1).then(|| limit_ms.saturating_mul(slowness));
        Self {
            display_ms: display_ms.or(slow(20_000)),
            runtime_ms: slow(10_000),
            boot_ms: slow(60_000),
            init_grace_ms: slow(10_000),
        }
    }
}

impl Programs {
    /// Those that were built beside the running one.
    ///
    /// # Errors
    /// They were not.
    pub fn beside_this_one() -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("this program's own path is unknown")?;
        let dir = this.parent().context("this program lies nowhere")?;
        Self::in_dir(dir)
    }

    /// Those in `dir`.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_dir(dir: &Path) -> anyhow::Result<Self> {
        let program = |name: &str| {
            let path = dir.join(name);
            ensure!(path.is_file(), "{} is missing: build its crate first", path.display());
            Ok(path)
        };
        Ok(Self { agent: program("rolltop-agent")?, launcher: program("rolltop-launcher")? })
    }
}

impl Settings {
    /// Its bridge.
    pub const BRIDGE: &'static str = "rolltop0";

    /// Where brokers call it, if they may.
    pub const ADDRESS: &'static str = "127.0.0.1:7443";

    /// The Unix socket it serves at.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    /// What it writes.
    pub fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// The OCI bundle of a desktop while it runs.
    pub fn bundle(&self, number: u32) -> PathBuf {
        self.desktops().join(number.to_string()).join("bundle")
    }

    /// Where it keeps what desktops have while they run, by number.
    pub fn desktops(&self) -> PathBuf {
        self.agent_run_dir().join("desktops")
    }

    /// Writes the configuration file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_config(&self) -> anyhow::Result<PathBuf> {
        for dir in [&self.dir, &self.run_dir] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let path = self.config();
        fs::write(&path, self.document()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn document(&self) -> anyhow::Result<String> {
        let document = Document {
            name: &self.name,
            state_dir: self.dir.join("state"),
            run_dir: self.agent_run_dir(),
            images: &self.images,
            socket: self.socket(),
            launcher: &self.programs.launcher,
            cgroup_parent: &self.name,
            reserve_mib: self.reserve_mib,
            listen: self.credentials.as_ref().map(|dir| Listen {
                address: Self::ADDRESS,
                ca: dir.join("ca.pem"),
                certificate: dir.join("host.pem"),
                key: dir.join("host-key.pem"),
            }),
            homes: Homes { parents: &self.home_parents },
            network: Network { bridge: Self::BRIDGE },
            runtimes: &self.runtimes,
            deadlines: Deadlines::new(self.display_ms, patience::slowness()),
        };
        let mut table = toml::Table::try_from(document).context("paths that are not UTF-8")?;
        table.extend(self.more.clone());
        Ok(table.to_string())
    }

    /// Apart from the socket: a purge removes all of it.
    fn agent_run_dir(&self) -> PathBuf {
        self.run_dir.join("agent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_grow_on_a_slow_machine_only() {
        let deadlines = |display_ms, slowness| {
            let Deadlines { display_ms, runtime_ms, .. } = Deadlines::new(display_ms, slowness);
            (display_ms, runtime_ms)
        };
        assert_eq!(deadlines(None, 1), (None, None));
        assert_eq!(deadlines(None, 10), (Some(200_000), Some(100_000)));
        assert_eq!(deadlines(Some(700), 10), (Some(700), Some(100_000)));
    }

    #[test]
    fn the_document_is_what_the_agent_reads() {
        let settings = Settings {
            programs: Programs { agent: "/p/agent".into(), launcher: "/p/launcher".into() },
            dir: "/d".into(),
            run_dir: "/r".into(),
            images: "/i \"x\"".into(),
            name: "test-7".into(),
            runtimes: BTreeMap::from([("runc".into(), "/sbin/runc".into())]),
            display_ms: Some(700),
            reserve_mib: None,
            more: toml::toml! { extra_dirs = ["/srv"] },
            credentials: None,
            home_parents: Vec::new(),
            environment: Vec::new(),
        };
        let document: toml::Table = settings.document().unwrap().parse().unwrap();
        let text = |key: &str| document[key].as_str().unwrap().to_owned();
        assert_eq!(text("state_dir"), "/d/state");
        assert_eq!(text("run_dir"), "/r/agent");
        assert_eq!(text("images"), "/i \"x\"");
        assert_eq!(text("cgroup_parent"), "test-7");
        assert_eq!(document["network"]["bridge"].as_str(), Some("rolltop0"));
        assert_eq!(document["runtimes"]["runc"].as_str(), Some("/sbin/runc"));
        assert!(!document.contains_key("reserve_mib"), "the agent's default");
        assert!(!document.contains_key("listen"), "no broker may call");
        assert_eq!(document["deadlines"]["display_ms"].as_integer(), Some(700));
        assert_eq!(document["extra_dirs"][0].as_str(), Some("/srv"));
        assert_eq!(settings.bundle(3), Path::new("/r/agent/desktops/3/bundle"));
    }
}
