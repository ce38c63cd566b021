//! What every measurement stands on: images, an agent, numbers for desktops.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context as _;
use rolltop_image::{ImageRef, ImageStore};
use rolltop_proto::v1::ListHostDesktopsRequest;
use rolltop_tests::{
    agent::{Agent, Programs, Settings},
    client::{self, Api},
    images::BorrowedImages,
};
use tokio::process::Command;

use crate::{arguments::Arguments, peers, shell};

/// Runtime name of `runc` in the agent's configuration.
pub(crate) const RUNC: &str = "runc";

/// An X server and nothing else: the lightest session that has a display.
const SMALL_SESSION: [&str; 16] = [
    "/usr/bin/Xvnc",
    ":1",
    "-rfbport",
    "-1",
    "-rfbunixpath",
    "/run/rolltop/display/vnc.sock",
    "-rfbunixmode",
    "0600",
    "-SecurityTypes",
    "None",
    "-geometry",
    "1280x800",
    "-nolisten",
    "tcp",
    "-extension",
    "GLX",
];

/// A running agent with images.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    pub(crate) api: Api,
    /// The desktop people would see.
    pub(crate) demo: String,
    /// The same root with [`SMALL_SESSION`].
    pub(crate) small: String,
    /// Where references work; on the same disk as the agent.
    pub(crate) scratch: PathBuf,
    /// The image's root, mounted for the references.
    pub(crate) base: PathBuf,
    /// Name of control groups; unique on this machine.
    pub(crate) name: String,
    epochs: AtomicU64,
}

impl Stage {
    pub(crate) async fn set(arguments: &Arguments, name: &str, dir: &Path) -> anyhow::Result<Self> {
        let store = ImageStore::open(arguments.images()?)?;
        let original = store.resolve(&arguments.image.parse::<ImageRef>()?)?;
        let images = BorrowedImages::create(&dir.join("images"))?;
        let demo = images.add(&original, |_| {})?;
        let small_name = "small".parse()?;
        let small = images.add(&original, |manifest| {
            manifest.name = small_name;
            manifest.desktop.session.command = SMALL_SESSION.map(str::to_owned).into();
        })?;

        let programs = match &arguments.programs {
            Some(dir) => Programs::in_dir(&dir.canonicalize().context("no such --programs")?)?,
            None => Programs::beside_this_one()?,
        };
        let settings = Settings {
            programs,
            dir: dir.join("agent"),
            run_dir: Path::new("/run").join(name),
            images: images.dir().into(),
            name: name.into(),
            runtimes: BTreeMap::from([(RUNC.into(), arguments.runc.clone())]),
            display_ms: None,
            reserve_mib: None,
            more: toml::toml! { max_desktops = 5000 },
            credentials: None,
            home_parents: Vec::new(),
            environment: Vec::new(),
        };
        let agent = Agent::start(settings).await?;
        let api = agent.api().await?;
        let scratch = dir.join("references");
        let base = scratch.join("base");
        std::fs::create_dir_all(&base)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "erofs", "-o", "ro,loop"]).arg(original.root.path()).arg(&base);
        shell::run(&mut mount).await?;
        let epochs = AtomicU64::new(1);
        Ok(Self { agent, api, demo, small, scratch, base, name: name.into(), epochs })
    }

    /// A number for each use: an agent refuses the same one again.
    pub(crate) fn epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes everything away, desktops that an error left running included.
    pub(crate) async fn strike(mut self) -> anyhow::Result<()> {
        let running = self.api.list_desktops(ListHostDesktopsRequest {}).await?;
        for desktop in running.into_inner().desktops {
            client::stop(&mut self.api, desktop.number, desktop.epoch).await?;
        }
        peers::sweep(&self).await?;
        shell::run(Command::new("umount").arg(&self.base)).await?;
        self.agent.purge().await?;
        std::fs::remove_dir_all(Path::new("/run").join(&self.name))?;
        Ok(())
    }
}
