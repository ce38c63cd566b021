//! Versions that no recipe made, and what becomes of versions in use.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use rolltop_image::{
    ImageRef, ImageSpec, ImageStore, ImportOptions, ManifestInput, Published, RootKind, StoreError,
    import,
};
use rolltop_tests::client;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::crashes::murder;
use crate::stage::{Stage, attempt, demo, host, shell};

/// What an X desktop can do without; it makes the archive half as large.
const LEFT_OUT: [&str; 3] =
    ["--exclude=./usr/share/icons", "--exclude=./usr/share/doc", "--exclude=./usr/share/perl*"];

/// The demo's root as a tar file, by the demo's own mount.
fn archive(stage: &Stage) -> anyhow::Result<PathBuf> {
    let (point, file) = (stage.dir().join("demo"), stage.dir().join("demo.tar"));
    std::fs::create_dir(&point)?;
    let (root, at) = (text(stage.original().root.path())?, text(&point)?);
    host("mount", &["-t", "erofs", "-o", "ro,loop", root, at])?;
    let tar = ["--create", "--numeric-owner", "--directory", at, "--file", text(&file)?];
    let packed = host("tar", &[&tar[..], &LEFT_OUT, &["."]].concat());
    host("umount", &[at])?;
    packed.map(|()| file)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Publishes what is in an archive as `taken:stable`.
fn publish(stage: &Stage, store: &ImageStore) -> anyhow::Result<Published> {
    let desktop = stage.original().manifest.desktop.clone();
    let spec = ImageSpec { description: None, keep_services: Vec::new(), desktop };
    let options = ImportOptions { spec: Some(spec.clone()), ..ImportOptions::default() };
    let work = stage.dir().join("work");
    let taken = import(&archive(stage)?, &work, options, &mut |_| ())?;
    let input = ManifestInput {
        name: "taken".parse()?,
        description: "From an archive".to_owned(),
        desktop: spec.desktop,
        recipe_digest: None,
    };
    let now = SystemTime::now();
    let published = store.publish(&taken.root.path(), &input, RootKind::Directory, now)?;
    store.tag(&published.name, &"stable".parse()?, &published.version)?;
    Ok(published)
}

pub(crate) async fn an_imported_archive_is_a_desktop(stage: &Stage) -> anyhow::Result<()> {
    let store = ImageStore::open(stage.dir().join("images"))?;
    let published = publish(stage, &store)?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.image = "taken:stable".into();
    let desktop = client::start(&mut api, request.clone()).await?.desktop;
    ensure!(desktop.version == published.version.as_str(), "{}", desktop.version);
    let said = shell(&mut api, 1, "id -un; stat -c %s /etc/fstab; pgrep -c Xvnc || true").await?;
    ensure!(said.starts_with("user\n0\n"), "{said}");

    // In use, and known to be: whoever collects must leave it.
    let holders = store.holders()?;
    let ours = stage.settings()?.name;
    ensure!(
        holders.iter().any(|h| h.host == ours && h.version == published.version),
        "{holders:?}"
    );
    let (name, version) = (&published.name, &published.version);
    store.untag(name, &"stable".parse()?)?;
    match store.hide(name, version, &[]) {
        Err(StoreError::InUse { .. }) => {}
        other => bail!("it was hidden under a desktop: {other:?}"),
    }
    // Retired, it goes on; nothing new begins.
    store.retire(name, version, "for a test", SystemTime::now())?;
    shell(&mut api, 1, "cat /etc/hostname").await?;
    request.number = 2;
    request.request_id = "2-1".into();
    request.image = format!("taken@{version}");
    let Err(refused) = attempt(&mut api, request).await else { bail!("it was started") };
    let status = refused.downcast::<tonic::Status>()?;
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
    ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
    ensure!(reason.as_deref() == Some("IMAGE_RETIRED"), "{status:?}");

    client::stop(&mut api, 1, 1).await?;
    agent.purge().await?;
    ensure!(store.holders()?.is_empty(), "{:?}", store.holders()?);
    store.hide(name, version, &[])?.destroy()?;
    let gone = store.find(&format!("taken@{version}").parse::<ImageRef>()?);
    ensure!(matches!(gone, Err(StoreError::NoVersion(..))), "{gone:?}");
    Ok(())
}

pub(crate) async fn what_is_in_use_outlives_a_killed_agent(stage: &Stage) -> anyhow::Result<()> {
    let store = ImageStore::open(stage.dir().join("images"))?;
    let held = || anyhow::Ok(store.holders()?.len());
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    ensure!(held()? == 1, "a desktop runs");
    murder(agent).await?;
    ensure!(held()? == 1, "it runs without an agent");
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    ensure!(held()? == 1, "it was adopted");
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await?;
    ensure!(held()? == 0, "nothing is mounted any more");
    Ok(())
}
