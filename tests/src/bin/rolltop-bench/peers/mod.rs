//! What desktops are compared with: other ways to have a container, each doing
//! less than the agent does.

mod floor;
mod forerunner;
mod nspawn;
mod podman;
mod runc;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use futures_util::future::join_all;
use rolltop_tests::{bench::Report, machine::control_groups};
use tokio::process::Command;

use self::{floor::Floor, forerunner::Forerunner, nspawn::Nspawn, podman::Podman, runc::Runc};
use crate::{arguments::Arguments, names, shell, stage::Stage};

/// Of one peer at once.
pub(crate) const SLOTS: u32 = 50;

/// One container of a peer, from nothing to nothing.
#[derive(Debug)]
pub(crate) struct Once {
    /// Until its init was running.
    pub(crate) init: Duration,
    /// From then until nothing of it was left; none: it ended by itself.
    pub(crate) released: Option<Duration>,
    /// Parts of `init`.
    pub(crate) parts: Vec<(&'static str, Duration)>,
}

/// A way to have a container.
#[derive(Debug)]
pub(crate) enum Peer {
    /// The bare system calls.
    Floor(Floor),
    Runc(Runc),
    Forerunner(Forerunner),
    Podman(Podman),
    Nspawn(Nspawn),
}

/// What peers have in common: a root that is joined already, for those that do
/// not make their own. With the ids of the host: they write into it.
#[derive(Debug)]
pub(crate) struct Ground {
    root: PathBuf,
}

impl Ground {
    async fn prepare(stage: &Stage) -> anyhow::Result<Self> {
        let dir = stage.scratch.join("ground");
        let [upper, work, root] = ["upper", "work", "root"].map(|name| dir.join(name));
        for dir in [&upper, &work, &root] {
            fs::create_dir_all(dir)?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            stage.base.display(),
            upper.display(),
            work.display()
        );
        let mut join = Command::new("mount");
        join.args(["-t", "overlay", "overlay", "-o", &options]).arg(&root);
        shell::run(&mut join).await?;
        Ok(Self { root })
    }
}

/// Takes away what [`all`] made, and what an interrupted round left.
///
/// # Errors
/// Something is in use.
pub(crate) async fn sweep(stage: &Stage) -> anyhow::Result<()> {
    let root = stage.scratch.join("ground/root");
    if root.exists() {
        shell::run(Command::new("umount").arg(&root)).await?;
    }
    Forerunner::sweep(stage).await?;
    Floor::sweep(stage).await?;
    // Some leave control groups behind. The inner ones come later in the set.
    for peer in ["lxc", "podman", "nspawn", "floor"] {
        for group in control_groups(&format!("{}-{peer}", stage.name))?.iter().rev() {
            fs::remove_dir(group).with_context(|| format!("cannot remove {group}"))?;
        }
    }
    Ok(())
}

/// Those that are installed; and a line for each that is not.
///
/// # Errors
/// What one of them needs cannot be made.
pub(crate) async fn all(
    arguments: &Arguments,
    stage: &Stage,
    donor: u32,
) -> anyhow::Result<(Vec<Peer>, Vec<String>)> {
    let ground = Ground::prepare(stage).await?;
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    let mut add = |found: Result<Peer, &str>| match found {
        Ok(peer) => peers.push(peer),
        Err(program) => missing.push(format!("skipped: {program} is not installed")),
    };
    add(Ok(Peer::Floor(Floor::prepare(arguments, stage).await?)));
    add(Ok(Peer::Runc(Runc::prepare(arguments, stage, donor)?)));
    add(Ok(Peer::Forerunner(Forerunner::prepare(stage).await?)));
    add(Podman::prepare(arguments, stage, &ground).map(Peer::Podman).ok_or("podman"));
    add(Nspawn::prepare(stage, &ground)?.map(Peer::Nspawn).ok_or("systemd-nspawn"));
    Ok((peers, missing))
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) => names::FLOOR,
            Self::Runc(_) => names::RUNC,
            Self::Forerunner(_) => names::FORERUNNER,
            Self::Podman(_) => names::PODMAN,
            Self::Nspawn(_) => names::NSPAWN,
        }
    }

    /// Whether it is worth to be measured beside every step of a crowd.
    pub(crate) fn is_close(&self) -> bool {
        matches!(self, Self::Floor(_) | Self::Runc(_))
    }

    async fn once(&self, slot: u32) -> anyhow::Result<Once> {
        match self {
            Self::Floor(floor) => floor.once(slot).await,
            Self::Runc(runc) => runc.once(slot).await,
            Self::Forerunner(forerunner) => forerunner.once(slot).await,
            Self::Podman(podman) => podman.once(slot).await,
            Self::Nspawn(nspawn) => nspawn.once(slot).await,
        }
    }

    /// One alone; figures begin with `situation`.
    ///
    /// # Errors
    /// It fails.
    pub(crate) async fn measure(
        &self,
        situation: &str,
        figures: &mut Report,
    ) -> anyhow::Result<()> {
        let name = self.name();
        let once = self.once(0).await?;
        figures.add_time(names::init(situation, name), once.init);
        if situation.is_empty() {
            for (part, time) in once.parts {
                figures.add_time(format!("{name}: {part}"), time);
            }
            if let Some(time) = once.released {
                figures.add_time(names::released(name), time);
            }
        }
        Ok(())
    }

    /// [`SLOTS`] at once.
    ///
    /// # Errors
    /// One fails.
    pub(crate) async fn crowd(&self, situation: &str, figures: &mut Report) -> anyhow::Result<()> {
        for once in join_all((0..SLOTS).map(|slot| self.once(slot))).await {
            figures.add_time(names::init(situation, self.name()), once?.init);
        }
        Ok(())
    }
}
