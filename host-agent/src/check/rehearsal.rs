//! A whole desktop, from nothing to nothing, by the agent's own code.
//!
//! The process moves to network and mount namespaces of its own first, so that
//! bridge, links and mounts are out of everybody's way and end with it. Control
//! groups and files, which are the host's, have names of their own.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rolltop_image::{
    DesktopSpec, Display, DisplayProtocol, ImageStore, Init, ManifestInput, RootKind, Session,
};
use rolltop_proto::v1;
use thiserror::Error;

use super::{Findings, Verdict};
use crate::{
    config::{Config, Mode, StoreLocation},
    desktop::{begin, sentence},
    host::Host,
    lifecycle::{EndReason, State},
    registry::Admission,
    request::StartRequest,
    view::{Phase, View},
};

const ITEM: &str = "rehearsal";
const MEND: &str = "mend what stands above, then run the check again";
/// The whole of it; each step has shorter deadlines of its own.
const LIMIT: Duration = Duration::from_secs(60);
/// The display of a rehearsal is a program of a few lines.
const DISPLAY_LIMIT: Duration = Duration::from_secs(10);
const PROGRAM: &str = "/bin/answer";
/// What a root has to have for the mounts of every desktop.
const DIRECTORIES: [&str; 8] = ["bin", "dev", "etc", "home", "proc", "run", "sys", "tmp"];

/// What kept the rehearsal from taking place.
#[derive(Debug, Error)]
enum RehearsalError {
    /// The process cannot be set apart.
    #[error("cannot {0}")]
    Apart(&'static str, #[source] io::Error),
    /// Directories for it.
    #[error("cannot make a directory for it in {0}")]
    Directory(String, #[source] io::Error),
    /// The image it needs.
    #[error("cannot publish a small image")]
    Image(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The agent's parts.
    #[error("the agent cannot be set up")]
    Host(#[from] crate::host::HostError),
    /// The request.
    #[error("the desktop cannot be planned")]
    Plan(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("it did not end within {0:?}")]
    Deadline(Duration),
}

/// What the rehearsal showed.
struct Rehearsed {
    view: View,
    cannot_limit: Vec<String>,
    left: Vec<String>,
}

pub(super) fn run(config: &Config, findings: &mut Findings) {
    match rehearse(config) {
        Ok(Rehearsed { view, cannot_limit, left }) => {
            tell_rates(&cannot_limit, findings);
            tell(&view, &left, findings);
        }
        Err(error) => {
            let found = format!("not possible: {}", sentence(&error));
            findings.add(
                Verdict::Bad,
                ITEM,
                found,
                "mend what stands above, then run the check again",
            );
        }
    }
}

fn tell_rates(cannot_limit: &[String], findings: &mut Findings) {
    const RATES: &str = "rates";
    if cannot_limit.is_empty() {
        findings.good(RATES, "network and disks of desktops can be limited");
        return;
    }
    findings.add(
        Verdict::Weak,
        RATES,
        format!("desktops whose pool limits them will not start: {}", cannot_limit.join("; ")),
        "have a kernel with CONFIG_NET_SCH_TBF and CONFIG_BLK_DEV_THROTTLING, and the control \
         group controller io (version 2) or blkio (version 1)",
    );
}

fn tell(view: &View, left: &[String], findings: &mut Findings) {
    match &view.failure {
        Some(failure) => {
            let mut found =
                format!("{} ({}): {}", failure.phase.as_str(), failure.code, failure.reason);
            if let Some(last) = failure.output_tail.last() {
                found.push_str(": ");
                found.push_str(last);
            }
            findings.add(Verdict::Bad, ITEM, found, MEND);
        }
        None if view.state() == State::Gone && view.end == Some(EndReason::Logout) => {
            let done = |phase| {
                let mark = view.marks.iter().find(|mark| mark.phase == phase && mark.done);
                mark.map_or(0.0, |mark| mark.elapsed.as_secs_f64() * 1e3)
            };
            let (container, display) = (done(Phase::Container), done(Phase::Display));
            findings.good(
                ITEM,
                format!("a desktop came up (init after {container:.0} ms, display after {display:.0} ms), logged out and was taken down"),
            );
        }
        None => findings.add(
            Verdict::Bad,
            ITEM,
            format!("the desktop ended as {:?}, not by its logout", view.end),
            "report it, with the lines above: the watcher for logouts does not work here",
        ),
    }
    if !left.is_empty() {
        findings.add(
            Verdict::Bad,
            "teardown",
            left.join("; "),
            "take these away by hand, and report it",
        );
    }
}

fn rehearse(config: &Config) -> Result<Rehearsed, RehearsalError> {
    let apart = |verb| move |error: nix::Error| RehearsalError::Apart(verb, error.into());
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .map_err(apart("have namespaces of its own"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(apart("make its mounts its own"))?;
    // On the disk that overlays will be on: what it can and cannot do counts.
    let place = config.state_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let failed = |source| RehearsalError::Directory(place.display().to_string(), source);
    let dir = tempfile::Builder::new().prefix(".rehearsal-").tempdir_in(place).map_err(failed)?;
    // The root of a desktop's user namespace has to pass.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).map_err(failed)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| RehearsalError::Apart("start threads", source))?;
    let outcome = runtime.block_on(perform(of_its_own(config, dir.path()), dir.path()));
    drop(runtime);
    dir.close().map_err(failed)?;
    outcome
}

/// The configuration, but with directories and names of the rehearsal's own.
fn of_its_own(config: &Config, dir: &Path) -> Config {
    let mut config = config.clone();
    config.state_dir = dir.join("state");
    config.run_dir = dir.join("run");
    config.images = vec![StoreLocation::Directory(dir.join("images"))];
    config.extra_dirs = Vec::new();
    config.socket = dir.join("socket");
    config.listen = None;
    config.cgroup_parent = format!("{}-check-{}", config.cgroup_parent, std::process::id());
    config.deadlines.display = DISPLAY_LIMIT;
    if config.network.mode == Mode::Lan {
        // Where it takes place there is no LAN.
        config.network.mode = Mode::Nat;
        config.network.uplink = None;
    }
    config
}

async fn perform(config: Config, dir: &Path) -> Result<Rehearsed, RehearsalError> {
    publish(dir).map_err(RehearsalError::Image)?;
    let told = config.clone();
    let outcome = match tokio::time::timeout(LIMIT, desktop(config)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(RehearsalError::Deadline(LIMIT)),
    };
    let left: Vec<String> = Host::purge(&told).await.iter().map(|error| sentence(error)).collect();
    outcome.map(|(view, cannot_limit)| Rehearsed { view, cannot_limit, left })
}

/// Why rates that a pool may ask for cannot be had.
async fn cannot_limit(host: &Host) -> Vec<String> {
    let network = host.network.try_rate().await.err();
    let disks = (!host.hierarchies.can_throttle())
        .then(|| "no control group controller io or blkio".to_owned());
    network.iter().map(|error| sentence(error)).chain(disks).collect()
}

async fn desktop(config: Config) -> Result<(View, Vec<String>), RehearsalError> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| RehearsalError::Apart("become a reaper", error.into()))?;
    let host = Arc::new(Host::new(config).await?);
    let request = StartRequest::parse(v1::StartHostDesktopRequest {
        request_id: "rehearsal".into(),
        number: 1,
        epoch: 1,
        label: "check/rehearsal".into(),
        account: Some(v1::Account { name: "rehearsal".into(), ..v1::Account::default() }),
        image: "rehearsal:check".into(),
        overlay: Some(v1::OverlaySpec { size_mib: 64, ..v1::OverlaySpec::default() }),
        // All three, so that all three controllers are tried.
        limits: Some(v1::Limits {
            memory_mib: 64,
            cpu_millis: 1000,
            pids: 32,
            ..v1::Limits::default()
        }),
        ..v1::StartHostDesktopRequest::default()
    })
    .map_err(|faults| RehearsalError::Plan(format!("{faults:?}").into()))?;
    let (start, view) =
        host.plan(request).await.map_err(|error| RehearsalError::Plan(error.into()))?;
    let admitted = host.registry.admit(view).map_err(|error| RehearsalError::Plan(error.into()))?;
    let (Admission::New(desktop) | Admission::Joined(desktop)) = admitted;
    begin(&host, Arc::clone(&desktop), start);
    let view = desktop.ended().await;
    Ok((view, cannot_limit(&host).await))
}

/// Publishes a root with one program, the agent's own init, which can answer
/// as a display does.
fn publish(dir: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = dir.join("root");
    for name in DIRECTORIES {
        fs::create_dir_all(root.join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    let program = root.join(&PROGRAM[1..]);
    fs::write(&program, rolltop_init::PROGRAM)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let input = ManifestInput {
        name: "rehearsal".parse()?,
        description: String::new(),
        desktop: DesktopSpec {
            init: Init::Builtin,
            session: Session {
                command: vec![PROGRAM.into(), "answer".into()],
                environment: Default::default(),
            },
            display: Display {
                protocol: DisplayProtocol::Vnc,
                socket: "vnc.sock".into(),
                server: None,
            },
        },
        recipe_digest: None,
    };
    let store = ImageStore::create(dir.join("images"))?;
    let published = store.publish(&root, &input, RootKind::Directory, SystemTime::now())?;
    store.tag(&published.name, &"check".parse()?, &published.version)?;
    Ok(())
}
