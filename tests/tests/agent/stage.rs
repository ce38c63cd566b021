//! What each case plays on: an agent's settings, images made from `demo`, and
//! the machine's state before.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rolltop_image::{ImageStore, Manifest, Published};
use rolltop_proto::v1::{
    DesktopState, GetHostDesktopRequest, HostDesktop, ListHostDesktopsRequest,
    StartHostDesktopRequest, WatchHostDesktopsRequest, host_desktop_event::Event,
    start_host_desktop_response::Message,
};
use rolltop_tests::{
    agent::{Agent, Programs, Settings},
    client::{self, Api},
    images::BorrowedImages,
    machine::{Scope, Snapshot},
    patience::on_this_machine,
};
use tempfile::TempDir;

pub(crate) use rolltop_tests::client::exec;

/// One case.
pub(crate) type Case =
    for<'a> fn(&'a Stage) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// How long a condition may take to come true on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const RUNC: &str = "/usr/sbin/runc";

/// A case that cannot be played here.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// What is not there.
    pub(crate) needed: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "needs {}", self.needed)
    }
}

impl Error for Skipped {}

pub(crate) struct Stage {
    dir: TempDir,
    run: TempDir,
    name: String,
    original: Published,
    images: BorrowedImages,
    before: Snapshot,
}

/// What this machine lacks for the tests.
pub(crate) fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root".into());
    }
    if let Err(error) = programs() {
        return Some(format!("the programs ({error})"));
    }
    if env::var_os("ROLLTOP_TEST_IMAGES").is_none() {
        return Some("an image store with demo:stable, named by ROLLTOP_TEST_IMAGES".into());
    }
    None
}

fn programs() -> anyhow::Result<Programs> {
    if let Some(dir) = env::var_os("ROLLTOP_TEST_PROGRAMS") {
        return Programs::in_dir(Path::new(&dir));
    }
    // Tests lie in target/PROFILE/deps, programs in target/PROFILE.
    let this = env::current_exe()?;
    let profile = this.parent().and_then(Path::parent).context("this program lies nowhere")?;
    Programs::in_dir(profile)
}

impl Stage {
    pub(crate) fn set(name: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("rolltop-agent-test-").tempdir_in("/var/tmp")?;
        let run = tempfile::Builder::new().prefix("rolltop-").tempdir_in("/run")?;
        let original = store()?.resolve(&"demo:stable".parse()?)?;
        let images = BorrowedImages::create(&dir.path().join("images"))?;
        images.add(&original, |_| {})?;
        let before = snapshot(dir.path(), name)?;
        Ok(Self { dir, run, name: name.into(), original, images, before })
    }

    /// Everything must be as it was before. Any agent must have been purged.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        self.is_clear()
    }

    /// Whether everything is as it was before.
    pub(crate) fn is_clear(&self) -> anyhow::Result<()> {
        let after = snapshot(self.dir.path(), &self.name)?;
        let changes = after.since(&self.before);
        let list: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
        ensure!(changes.is_empty(), "the machine is not as it was: {}", list.join(", "));
        Ok(())
    }

    /// After a failure: whatever runs is taken down, so that the next case
    /// begins on a machine as it should be.
    pub(crate) async fn abandon(self) -> anyhow::Result<()> {
        let settings = self.settings()?;
        if settings.config().exists() {
            // The agent was killed when the case failed, and may yet be ending.
            eventually("what the case left is purged", async || {
                let mut purge = Command::new(&settings.programs.agent);
                let output = purge.arg("--config").arg(settings.config()).arg("purge").output()?;
                Ok(output.status.success())
            })
            .await?;
        }
        // What a case itself has mounted.
        let mounts = mounts_below(self.dir.path())?;
        for mount in mounts.iter().rev() {
            host("umount", &[mount])?;
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let runc = Path::new(RUNC);
        let runtimes = runc.exists().then(|| ("runc".to_owned(), runc.to_owned()));
        Ok(Settings {
            programs: programs()?,
            dir: self.dir.path().join("agent"),
            run_dir: self.run.path().to_owned(),
            images: self.images.dir().to_owned(),
            name: self.name.clone(),
            runtimes: BTreeMap::from_iter(runtimes),
            display_ms: None,
            reserve_mib: None,
            more: Default::default(),
            credentials: None,
            home_parents: Vec::new(),
            environment: Vec::new(),
        })
    }

    pub(crate) async fn agent(&self) -> anyhow::Result<Agent> {
        Agent::start(self.settings()?).await
    }

    /// An image `name` like `demo`, but for what `change` does.
    pub(crate) fn image(
        &self,
        name: &str,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<String> {
        let name = name.parse()?;
        self.images.add(&self.original, |manifest| {
            manifest.name = name;
            change(manifest);
        })
    }

    /// Another version of `demo`, which no tag points at yet.
    pub(crate) fn version(
        &self,
        version: &str,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<Published> {
        self.images.add_version(&self.original, &version.parse()?, change)
    }

    /// An image whose session is this shell command.
    pub(crate) fn session(&self, name: &str, command: &str) -> anyhow::Result<String> {
        self.image(name, |manifest| {
            manifest.desktop.session.command = ["/bin/sh", "-c", command].map(str::to_owned).into();
        })
    }

    /// The same of `demo-systemd`, whose init is systemd.
    pub(crate) fn systemd(
        &self,
        name: &str,
        change: impl FnOnce(&mut Manifest),
    ) -> anyhow::Result<String> {
        let (name, needed) = (name.parse()?, "an image demo-systemd:stable beside demo:stable");
        let original = store()?
            .resolve(&"demo-systemd:stable".parse()?)
            .map_err(|_| Skipped { needed: needed.into() })?;
        self.images.add(&original, |manifest| {
            manifest.name = name;
            change(manifest);
        })
    }

    pub(crate) fn original(&self) -> &Published {
        &self.original
    }
}

/// What the tests' images are made from.
fn store() -> anyhow::Result<ImageStore> {
    let store = env::var_os("ROLLTOP_TEST_IMAGES").context("no ROLLTOP_TEST_IMAGES")?;
    Ok(ImageStore::open(PathBuf::from(store))?)
}

fn snapshot(dir: &Path, name: &str) -> anyhow::Result<Snapshot> {
    Snapshot::take(Scope { loop_files: dir, control_groups: name })
}

/// A request for a volatile demo desktop.
pub(crate) fn demo(number: u32) -> StartHostDesktopRequest {
    let mut request = client::volatile(number, 1, "demo:stable");
    if let Some(overlay) = &mut request.overlay {
        overlay.size_mib = 256;
    }
    request
}

/// The same with a persistent overlay.
pub(crate) fn kept(number: u32, epoch: u64, name: &str) -> StartHostDesktopRequest {
    let mut request = demo(number);
    request.epoch = epoch;
    request.request_id = format!("{number}-{epoch}");
    if let Some(overlay) = &mut request.overlay {
        overlay.persistent_name = name.into();
    }
    request
}

/// Starts a desktop; whatever comes of it.
pub(crate) async fn attempt(
    api: &mut Api,
    request: StartHostDesktopRequest,
) -> anyhow::Result<HostDesktop> {
    let mut answers = api.start_desktop(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if let Some(Message::Desktop(desktop)) = answer.message {
            return Ok(desktop);
        }
    }
    bail!("the answer ended without a desktop")
}

/// Output of a command that must succeed.
pub(crate) async fn shell(api: &mut Api, number: u32, command: &str) -> anyhow::Result<String> {
    let (output, code) = exec(api, number, false, command).await?;
    ensure!(code == 0, "`{command}` in desktop {number} exited with {code}: {output}");
    Ok(output)
}

/// Succeeds when the window manager catches SIGTERM (bit 14 of its mask): before
/// that the signal would kill it, which is no logging out.
const TAKES_SIGNALS: &str =
    "grep -Eq '^SigCgt:.*[4-7c-f][0-9a-f]{3}$' /proc/$(pgrep -x jwm)/status";

/// Ends the session's window manager, as its menu's "log out" does. It may not
/// run yet: the display answers before it.
pub(crate) async fn log_out(api: &mut Api, number: u32) -> anyhow::Result<()> {
    eventually("the window manager takes signals", async || {
        Ok(exec(api, number, false, TAKES_SIGNALS).await?.1 == 0)
    })
    .await?;
    // Its own end may come with the desktop's.
    exec(api, number, false, "pkill jwm").await.map(drop)
}

/// Waits until desktop `number` is no more.
pub(crate) async fn gone(api: &mut Api, number: u32) -> anyhow::Result<()> {
    eventually(&format!("desktop {number} is gone"), async || {
        let all = api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner();
        Ok(all.desktops.iter().all(|desktop| desktop.number != number))
    })
    .await
}

/// What is told last of desktop `number`, which `end` ends.
pub(crate) async fn last_word(
    api: &mut Api,
    number: u32,
    end: impl AsyncFnOnce(&mut Api) -> anyhow::Result<()>,
) -> anyhow::Result<HostDesktop> {
    let mut events = api.watch_desktops(WatchHostDesktopsRequest::default()).await?.into_inner();
    end(api).await?;
    let last = async {
        while let Some(event) = events.message().await? {
            if let Some(Event::Desktop(desktop)) = event.event
                && desktop.number == number
                && matches!(desktop.state(), DesktopState::Gone | DesktopState::Failed)
            {
                return Ok(desktop);
            }
        }
        bail!("the agent hung up")
    };
    let last = tokio::time::timeout(PATIENCE, last).await;
    let last = last.with_context(|| format!("desktop {number} did not end"))??;
    gone(api, number).await?;
    Ok(last)
}

pub(crate) async fn get(api: &mut Api, number: u32) -> anyhow::Result<HostDesktop> {
    Ok(api.get_desktop(GetHostDesktopRequest { number }).await?.into_inner())
}

/// Waits until `condition` holds; a sentence if it does not.
pub(crate) async fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let patience = on_this_machine(PATIENCE);
    let deadline = Instant::now() + patience;
    while !condition().await? {
        ensure!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A network namespace with nothing in it, beside the host's.
pub(crate) struct Elsewhere(Child);

impl Elsewhere {
    pub(crate) fn make() -> anyhow::Result<Self> {
        // `cat` ends with this process, and the namespace with it.
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let elsewhere = Self(holder.spawn()?);
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + on_this_machine(Duration::from_secs(5));
        while std::fs::read_link(format!("/proc/{}/ns/net", elsewhere.pid()?))? == own {
            ensure!(Instant::now() < deadline, "no network namespace");
            std::thread::yield_now();
        }
        Ok(elsewhere)
    }

    /// A process in it.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.0.id())?)
    }

    /// Runs a program there; it must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        host("nsenter", &[&["--net", "--target", &pid], arguments].concat())
    }

    /// Joins it to the host by a pair of links: one here, one there.
    pub(crate) fn join(&self, here: &str, there: &str) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let peer = ["type", "veth", "peer", "name", there, "netns", &pid];
        host("ip", &[&["link", "add", here], &peer[..]].concat())
    }

    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// Runs a program on the host; it must succeed.
pub(crate) fn host(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} {arguments:?} failed: {said}");
    Ok(())
}

fn mounts_below(dir: &Path) -> anyhow::Result<Vec<String>> {
    let dir = dir.display().to_string();
    let table = std::fs::read_to_string("/proc/self/mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(points.filter(|point| point.starts_with(&dir)).map(str::to_owned).collect())
}
