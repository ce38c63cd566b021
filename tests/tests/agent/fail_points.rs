//! The agent dies after each of its steps, and the next one after each of its
//! own: what lives is adopted, what is half-made goes, nothing is lost.
//!
//! Needs an agent with fail points; see `tests/programs`.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use rolltop_fail_points::{DIE_AT, TRACE};
use rolltop_proto::v1::{
    AssignHostDesktopRequest, DesktopState, HomeSpec, HomeVolumeSpec, Limits,
    ListHostDesktopsRequest, StartHostDesktopRequest, home_spec,
};
use rolltop_tests::{
    agent::{Agent, Settings},
    client::{self, Api},
};

use crate::stage::{Skipped, Stage, demo, exec, kept, shell};

/// Beside the ordinary programs.
const ARMED: &str = "fail-points/rolltop-agent";
/// Set: a death after every step, and a second one after every step of every
/// recovery; takes hours. Else after some of each name, and one of each recovery.
const ALL: &str = "ROLLTOP_TEST_ALL_FAILURES";
/// Places to die at instead, comma-separated, each `NAME#K`: to see one again.
const PLACES: &str = "ROLLTOP_TEST_DEATHS";
/// Lines of the agents' log told with a failure.
const LOG_LINES: usize = 60;
const KEPT: u32 = 1;
const VOLATILE: u32 = 2;
const WARM: u32 = 3;
/// Steps that change nothing outside of the agent.
const LOOKS: [&str; 10] = [
    "stat",
    "statfs",
    "statvfs",
    "list",
    "read",
    "open",
    "lock",
    "resolve",
    "look at",
    "list mounts below",
];
const READ: &str = "cat ~/file 2>/dev/null || echo 0";

/// What goes on over all lives.
struct Play<'a> {
    stage: &'a Stage,
    settings: Settings,
    epoch: Cell<u64>,
    /// What the user has written for certain, and what perhaps.
    written: Cell<u64>,
    attempted: Cell<u64>,
}

/// How one agent ended.
enum Fate {
    Lived,
    Died,
}

/// Settings of an agent that can be told where to die.
pub(crate) fn armed(stage: &Stage) -> anyhow::Result<Settings> {
    let mut settings = stage.settings()?;
    let armed = settings.programs.launcher.with_file_name(ARMED);
    if !armed.exists() {
        let needed = format!("{}, which tests/programs builds", armed.display());
        return Err(Skipped { needed }.into());
    }
    settings.programs.agent = armed;
    Ok(settings)
}

pub(crate) async fn it_may_die_after_every_step(stage: &Stage) -> anyhow::Result<()> {
    let settings = armed(stage)?;
    let play = Play {
        stage,
        settings,
        epoch: Cell::new(0),
        written: Cell::new(0),
        attempted: Cell::new(0),
    };
    // What is made once and kept is there from then on.
    play.recover(None).await?;
    let files = play.files()?;
    let (fate, steps) = play.once(None).await?;
    ensure!(matches!(fate, Fate::Lived), "it died without being told to");
    play.recover(Some(&files)).await?;
    let all = std::env::var_os(ALL).is_some();
    let chosen = std::env::var(PLACES).ok();
    let places = match &chosen {
        Some(chosen) => chosen.split(',').map(str::to_owned).collect(),
        None if all => steps,
        None => some_of_each(&steps),
    };
    let mut deaths = 0;
    for (index, place) in places.iter().enumerate() {
        let recovery = play.die(&[place], &files).await?;
        deaths += 1;
        let seconds: Vec<&String> = match recovery.len() {
            0 => Vec::new(),
            _ if all => recovery.iter().collect(),
            length => vec![&recovery[index % length]],
        };
        for second in seconds {
            play.die(&[place, second], &files).await?;
            deaths += 2;
        }
    }
    println!("  {deaths} deaths after {} steps", places.len());
    ensure!(chosen.is_some() || places.len() > 30, "these cannot be all steps: {places:?}");
    Ok(())
}

/// Of steps of the same name the first, the one in the middle and the last.
fn some_of_each(steps: &[String]) -> Vec<String> {
    let name = |step: &String| step.split('#').next().map(str::to_owned);
    let chosen = steps.iter().enumerate().filter(|(index, step)| {
        let count = |steps: &[String]| steps.iter().filter(|s| name(s) == name(step)).count();
        let (before, all) = (count(&steps[..*index]), count(steps));
        before == 0 || before == all / 2 || before + 1 == all
    });
    chosen.map(|(_, step)| step.clone()).collect()
}

impl Play<'_> {
    /// Dies at these places, one agent after the other. Returns the steps of the
    /// agent that cleaned up.
    async fn die(
        &self,
        places: &[&String],
        files: &BTreeSet<PathBuf>,
    ) -> anyhow::Result<Vec<String>> {
        let what = || format!("after death at {places:?}\n{}", self.log());
        let (first, others) = places.split_first().context("no place to die at")?;
        let (fate, _) = self.once(Some(first)).await.with_context(what)?;
        ensure!(matches!(fate, Fate::Died), "it did not pass {first}");
        for place in others {
            // How far a recovery has to go depends on how far the first got:
            // it may have nothing to do there this time.
            let _either = self.traced(Some(place)).await.with_context(what)?;
        }
        let steps = self.recover(Some(files)).await.with_context(what)?;
        Ok(steps)
    }

    /// The last words of the agents so far.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.settings.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// A whole life with three desktops, or as much of it as there is before the
    /// agent dies.
    async fn once(&self, place: Option<&String>) -> anyhow::Result<(Fate, Vec<String>)> {
        let (agent, _) = self.traced(place).await?;
        let fate = match agent {
            None => Fate::Died,
            Some(agent) => {
                let lived = self.live(&agent).await;
                if self.passed(place)? {
                    agent.ended().await?;
                    Fate::Died
                } else {
                    lived?;
                    agent.end().await?;
                    Fate::Lived
                }
            }
        };
        Ok((fate, self.steps()?))
    }

    async fn live(&self, agent: &Agent) -> anyhow::Result<()> {
        let mut api = agent.api().await?;
        let (kept, volatile) = (self.kept(), self.volatile());
        client::start(&mut api, kept.clone()).await?;
        self.write(&mut api).await?;
        client::start(&mut api, volatile.clone()).await?;
        client::stop(&mut api, KEPT, kept.epoch).await?;
        client::stop(&mut api, VOLATILE, volatile.epoch).await?;
        self.warm_life(&mut api).await
    }

    async fn volatile_life(&self, api: &mut Api) -> anyhow::Result<()> {
        let volatile = self.volatile();
        client::start(api, volatile.clone()).await?;
        client::stop(api, VOLATILE, volatile.epoch).await.map(drop)
    }

    /// One whose user finds the file as it was.
    async fn read_again(&self, api: &mut Api) -> anyhow::Result<()> {
        let kept = self.kept();
        client::start(api, kept.clone()).await?;
        let read: u64 = shell(api, KEPT, READ).await?.trim().parse()?;
        let (written, attempted) = (self.written.get(), self.attempted.get());
        ensure!((written..=attempted).contains(&read), "{read} is there, {written} was written");
        client::stop(api, KEPT, kept.epoch).await.map(drop)
    }

    /// One that was made ahead of its user.
    async fn warm_life(&self, api: &mut Api) -> anyhow::Result<()> {
        let warm = self.warm();
        client::start(api, warm.clone()).await?;
        let given = self.given(warm.epoch);
        client::assign(api, given.clone()).await?;
        client::stop(api, WARM, given.epoch).await?;
        Ok(())
    }

    async fn write(&self, api: &mut Api) -> anyhow::Result<()> {
        let next = self.attempted.get() + 1;
        self.attempted.set(next);
        shell(api, KEPT, &format!("echo {next} >~/new && sync ~/new && mv ~/new ~/file && sync ~"))
            .await?;
        self.written.set(next);
        Ok(())
    }

    /// A next agent that lives: it adopts and cleans up, both desktops can be
    /// had again, the user's file is there, and in the end nothing else.
    async fn recover(&self, files: Option<&BTreeSet<PathBuf>>) -> anyhow::Result<Vec<String>> {
        let (agent, steps) = self.traced(None).await?;
        let agent = agent.context("it died without being told to")?;
        let mut api = agent.api().await?;
        let adopted = api.list_desktops(ListHostDesktopsRequest {}).await?.into_inner().desktops;
        self.nothing_but(adopted.iter().map(|desktop| desktop.number))?;
        for mut desktop in adopted {
            if desktop.state() == DesktopState::Warm {
                let given = self.given(desktop.epoch);
                desktop = client::assign(&mut api, given).await?.desktop;
            }
            ensure!(desktop.state() == DesktopState::Running, "adopted: {desktop:?}");
            ensure!(exec(&mut api, desktop.number, false, "true").await?.1 == 0, "{desktop:?}");
            client::stop(&mut api, desktop.number, desktop.epoch).await?;
        }
        // Nobody counts these steps: all at once.
        let (mut one, mut other) = (agent.api().await?, agent.api().await?);
        tokio::try_join!(
            self.read_again(&mut api),
            self.volatile_life(&mut one),
            self.warm_life(&mut other)
        )?;
        self.nothing_but([])?;
        agent.purge().await?;
        self.stage.is_clear()?;
        if let Some(files) = files {
            let present = self.files()?;
            let changed: Vec<_> = present.symmetric_difference(files).collect();
            ensure!(changed.is_empty(), "files that should not be, or should: {changed:?}");
        }
        Ok(steps)
    }

    /// An agent that dies at `place`, and its steps until it served; none: it
    /// died before.
    async fn traced(&self, place: Option<&String>) -> anyhow::Result<(Option<Agent>, Vec<String>)> {
        match fs::remove_file(self.trace()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        let mut settings = self.settings.clone();
        settings.environment = vec![(TRACE.into(), self.trace().display().to_string())];
        settings.environment.extend(place.map(|place| (DIE_AT.into(), place.clone())));
        match Agent::start(settings).await {
            Ok(agent) => Ok((Some(agent), self.steps()?)),
            Err(_) if self.passed(place)? => Ok((None, self.steps()?)),
            Err(error) => Err(error),
        }
    }

    /// Whether the agent got to where it is to die.
    fn passed(&self, place: Option<&String>) -> anyhow::Result<bool> {
        let Some(place) = place else { return Ok(false) };
        Ok(self.all_steps()?.contains(place))
    }

    /// The steps that changed something: a death between them is one after the
    /// step before.
    fn steps(&self) -> anyhow::Result<Vec<String>> {
        let mut steps = self.all_steps()?;
        steps.retain(|step| !LOOKS.iter().any(|look| step.split('#').next() == Some(look)));
        Ok(steps)
    }

    fn all_steps(&self) -> anyhow::Result<Vec<String>> {
        let trace = match fs::read_to_string(self.trace()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            trace => trace?,
        };
        Ok(trace.lines().map(str::to_owned).collect())
    }

    fn trace(&self) -> PathBuf {
        self.stage.dir().join("steps")
    }

    fn kept(&self) -> StartHostDesktopRequest {
        let home = HomeVolumeSpec { name: "alice".into(), size_mib: 64 };
        let home = Some(HomeSpec { kind: Some(home_spec::Kind::Volume(home)) });
        // Rates, too, are made and have to go.
        let limits =
            Some(Limits { network_up_bits: 1 << 30, disk_ops: 100_000, ..Limits::default() });
        StartHostDesktopRequest { home, limits, ..kept(KEPT, self.next_epoch(), "alice") }
    }

    fn volatile(&self) -> StartHostDesktopRequest {
        let epoch = self.next_epoch();
        let request_id = format!("{VOLATILE}-{epoch}");
        StartHostDesktopRequest { epoch, request_id, ..demo(VOLATILE) }
    }

    fn warm(&self) -> StartHostDesktopRequest {
        let epoch = self.next_epoch();
        let request_id = format!("{WARM}-{epoch}");
        StartHostDesktopRequest { epoch, request_id, ..client::warm(demo(WARM)) }
    }

    /// Its user, who has a home.
    fn given(&self, warm_epoch: u64) -> AssignHostDesktopRequest {
        let home = HomeVolumeSpec { name: "bob".into(), size_mib: 64 };
        let home = Some(HomeSpec { kind: Some(home_spec::Kind::Volume(home)) });
        let assignment = client::assignment(WARM, self.next_epoch());
        AssignHostDesktopRequest { warm_epoch, home, ..assignment }
    }

    fn next_epoch(&self) -> u64 {
        self.epoch.set(self.epoch.get() + 1);
        self.epoch.get()
    }

    /// Desktops of these numbers have directories, and no others.
    fn nothing_but(&self, numbers: impl IntoIterator<Item = u32>) -> anyhow::Result<()> {
        let mut there = BTreeSet::new();
        for entry in fs::read_dir(self.settings.desktops())? {
            there.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let wanted: BTreeSet<String> = numbers.into_iter().map(|n| n.to_string()).collect();
        ensure!(there == wanted, "directories of {there:?}, desktops {wanted:?}");
        Ok(())
    }

    /// Everything the agent keeps on disk, by name.
    fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut dirs = vec![self.settings.dir.join("state"), self.settings.images.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in list(&dir)? {
                if fs::symlink_metadata(&entry)?.is_dir() {
                    dirs.push(entry.clone());
                }
                found.insert(entry);
            }
        }
        Ok(found)
    }
}

fn list(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
