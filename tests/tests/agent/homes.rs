//! Homes beside the overlay: volumes, and directories of the host.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::{
    HomeDirectorySpec, HomeSpec, HomeVolumeSpec, StartHostDesktopRequest, VolumeCondition,
    VolumeId, VolumeKind, home_spec,
};
use rolltop_tests::{agent::Agent, client};

use crate::{
    crashes::murder,
    stage::{Stage, attempt, demo, exec, kept, shell},
    volumes::look,
};

fn volume(name: &str) -> Option<HomeSpec> {
    let volume = HomeVolumeSpec { name: name.into(), size_mib: 64 };
    Some(HomeSpec { kind: Some(home_spec::Kind::Volume(volume)) })
}

fn directory(parent: &Path, name: &str) -> Option<HomeSpec> {
    let parent = parent.display().to_string();
    let directory = HomeDirectorySpec { parent, name: name.into() };
    Some(HomeSpec { kind: Some(home_spec::Kind::Directory(directory)) })
}

fn with(
    home: Option<HomeSpec>,
    epoch: u64,
    request: StartHostDesktopRequest,
) -> StartHostDesktopRequest {
    let request_id = format!("{}-{epoch}", request.number);
    StartHostDesktopRequest { home, epoch, request_id, ..request }
}

pub(crate) async fn a_home_volume_outlives_overlays(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    client::start(&mut api, with(volume("anna"), 1, demo(1))).await?;
    // Filled from the image's skeleton, and the user's own.
    let listing =
        shell(&mut api, 1, "stat -c %U:%a ~; ls -A ~; echo precious > ~/file; echo x > /tmp/x")
            .await?;
    ensure!(listing.starts_with("user:700\n") && listing.contains(".bashrc"), "{listing}");
    let (device, _) = exec(&mut api, 1, false, "stat -c %d ~ /home").await?;
    let mut devices = device.split_whitespace();
    ensure!(devices.next() != devices.next(), "the home lies in the overlay: {device}");
    let id = Some(VolumeId { kind: VolumeKind::Home.into(), name: "anna".into() });
    let told = look(&mut disks, id.clone()).await?;
    ensure!(told.desktop == 1 && told.condition() == VolumeCondition::InUse, "{told:?}");
    let second = attempt(&mut api, with(volume("anna"), 1, demo(2))).await?;
    let failure = second.failure.context("two desktops have one home")?;
    ensure!(failure.code == "HOME_IN_USE", "{failure:?}");
    client::stop(&mut api, 1, 1).await?;

    // Another overlay, another number, an agent that was killed: the same home.
    client::start(&mut api, with(volume("anna"), 1, kept(7, 1, "other"))).await?;
    let listing =
        shell(&mut api, 7, "cat ~/file; stat -c %U ~/file; echo more >> ~/file; sync ~/file")
            .await?;
    ensure!(listing == "precious\nuser\n", "{listing}");
    murder(agent).await?;
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    ensure!(look(&mut disks, id).await?.desktop == 7, "the adopted desktop has lost its home");
    ensure!(shell(&mut api, 7, "cat ~/file").await? == "precious\nmore\n");
    client::stop(&mut api, 7, 1).await?;
    // Without one, the home in the overlay is the user's again.
    client::start(&mut api, kept(7, 2, "other")).await?;
    shell(&mut api, 7, "test ! -e ~/file && touch ~/mine").await?;
    client::stop(&mut api, 7, 2).await?;
    agent.purge().await
}

pub(crate) async fn a_home_directory_is_bound_and_belongs_to_its_user(
    stage: &Stage,
) -> anyhow::Result<()> {
    let homes = stage.dir().join("homes");
    for name in ["anna", "foreign"] {
        fs::create_dir_all(homes.join(name))?;
    }
    chown(homes.join("anna"), Some(1000), Some(1000))?;
    fs::set_permissions(homes.join("anna"), fs::Permissions::from_mode(0o700))?;
    fs::create_dir(stage.dir().join("secret"))?;
    chown(stage.dir().join("secret"), Some(1000), Some(1000))?;
    symlink("../secret", homes.join("link"))?;
    fs::write(homes.join("anna/file"), "from the host\n")?;
    chown(homes.join("anna/file"), Some(1000), Some(1000))?;
    let mut settings = stage.settings()?;
    settings.home_parents = vec![homes.clone()];
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;

    for (epoch, (name, parent, code)) in (1..).zip([
        ("link", homes.as_path(), "HOME_FAILED"),
        ("nobody", homes.as_path(), "HOME_MISSING"),
        ("foreign", homes.as_path(), "HOME_WRONG_OWNER"),
        ("secret", stage.dir(), "HOME_NOT_ALLOWED"),
    ]) {
        let request = with(directory(parent, name), epoch, demo(1));
        let failure = attempt(&mut api, request).await?.failure.context(name.to_owned())?;
        ensure!(failure.code == code, "{name}: {failure:?}");
    }
    // Two of them at once: they share it.
    for number in [1, 2] {
        client::start(&mut api, with(directory(&homes, "anna"), 9, demo(number))).await?;
    }
    ensure!(shell(&mut api, 1, "cat ~/file; stat -c %U ~").await? == "from the host\nuser\n");
    shell(&mut api, 1, "echo new > ~/new").await?;
    ensure!(shell(&mut api, 2, "cat ~/new").await? == "new\n");
    let made = homes.join("anna/new").metadata()?;
    ensure!((made.uid(), made.gid()) == (1000, 1000), "{made:?}");
    // The desktop's root has no rights there, and makes no programs for the host.
    let (_, code) =
        exec(&mut api, 1, true, "cp /bin/true /home/user/root && chmod u+s /home/user/root")
            .await?;
    ensure!(code != 0 && !homes.join("anna/root").exists());
    for number in [1, 2] {
        client::stop(&mut api, number, 9).await?;
    }
    ensure!(fs::read(homes.join("anna/file"))? == b"from the host\n");
    agent.purge().await
}
