//! Nothing is lost.

use std::{
    io::{ErrorKind, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
};

use anyhow::{Context as _, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rolltop_proto::v1::{
    DeleteVolumeRequest, DesktopState, GetFenceRequest, GetHostRequest, ListVolumesRequest,
    OverlaySpec, StartHostDesktopRequest,
};
use rolltop_tests::{agent::Agent, client};
use tonic::Code;

use crate::{
    crashes::murder,
    stage::{Skipped, Stage, attempt, demo, eventually, get, gone, host, kept, shell},
    volumes::overlay,
};

pub(crate) async fn a_persistent_overlay_keeps_files(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "alice")).await?;
    shell(&mut api, 1, "echo precious > ~/file").await?;
    client::stop(&mut api, 1, 1).await?;
    // Under another number: what is on disk does not depend on it.
    client::start(&mut api, kept(77, 2, "alice")).await?;
    let listing = shell(&mut api, 77, "cat ~/file; stat -c %U:%u ~/file").await?;
    ensure!(listing == "precious\nuser:1000\n", "{listing}");
    client::stop(&mut api, 77, 2).await?;
    agent.purge().await?;
    // Not even a purge deletes it.
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 3).await?;
    agent.purge().await
}

pub(crate) async fn a_failed_start_does_not_harm_an_overlay(stage: &Stage) -> anyhow::Result<()> {
    let broken = stage.session("broken", "exit 1")?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "alice")).await?;
    shell(&mut api, 1, "echo precious > ~/file").await?;
    client::stop(&mut api, 1, 1).await?;
    let mut request = kept(1, 2, "alice");
    request.image = broken;
    let failed = attempt(&mut api, request).await?;
    ensure!(failed.state() == DesktopState::Failed);
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 3).await?;
    agent.purge().await
}

pub(crate) async fn an_overlay_has_one_writer(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "alice")).await?;
    let second = attempt(&mut api, kept(2, 1, "alice")).await?;
    let failure = second.failure.context("two desktops have one overlay")?;
    ensure!(failure.code == "OVERLAY_IN_USE", "{failure:?}");
    let mut disks = agent.storage().await?;
    let ask = || GetFenceRequest { id: overlay("alice") };
    ensure!(disks.get_fence(ask()).await?.into_inner().held);
    shell(&mut api, 1, "touch ~/still-mine").await?;
    client::stop(&mut api, 1, 1).await?;
    ensure!(!disks.get_fence(ask()).await?.into_inner().held, "nobody has it any more");
    let missing = GetFenceRequest { id: overlay("nobody") };
    let missing = disks.get_fence(missing).await.err().context("there is no such overlay")?;
    ensure!(missing.code() == Code::NotFound, "{missing}");
    agent.purge().await
}

pub(crate) async fn what_is_kept_has_a_name_of_its_own(stage: &Stage) -> anyhow::Result<()> {
    let told = async |kept: Option<&Path>| {
        let mut settings = stage.settings()?;
        if let Some(kept) = kept {
            settings.more.insert("kept_dir".into(), kept.to_string_lossy().into_owned().into());
            settings.more.insert("kept_sharing".into(), "shared".into());
        }
        let agent = Agent::start(settings).await?;
        let info = agent.api().await?.get_host(GetHostRequest::default()).await?.into_inner();
        agent.purge().await?;
        anyhow::Ok((info.storage_id, info.storage_shared))
    };
    let own = told(None).await?;
    ensure!(told(None).await? == own && !own.1, "{own:?}");
    let kept = stage.dir().join("kept-elsewhere");
    let shared = told(Some(&kept)).await?;
    ensure!(shared.1 && shared.0 != own.0, "{shared:?}, {own:?}");
    // Where the storage should be mounted, it is not: not the same, whatever
    // the directory is called.
    let away = stage.dir().join("kept-away");
    std::fs::rename(&kept, &away)?;
    ensure!(told(Some(&kept)).await?.0 != shared.0);
    std::fs::remove_dir_all(&kept)?;
    std::fs::rename(&away, &kept)?;
    ensure!(told(Some(&kept)).await? == shared);
    Ok(std::fs::remove_dir_all(&kept)?)
}

/// A file system whose server never answers, as one over NFS that has gone:
/// FUSE, with nobody who reads the kernel's questions.
struct Silent<'a> {
    dir: &'a Path,
    questions: Option<std::fs::File>,
}

impl<'a> Silent<'a> {
    fn mount(dir: &'a Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let needed = || Skipped { needed: "FUSE in the kernel (/dev/fuse)".into() };
        let questions = std::fs::File::options().read(true).write(true).open("/dev/fuse");
        let questions = questions.map_err(|_| needed())?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", questions.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("silent"), dir, Some("fuse"), flags, Some(options.as_str()))
            .map_err(|_| needed())?;
        Ok(Self { dir, questions: Some(questions) })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // With nobody left who could answer, what waits gets an error.
        drop(self.questions.take());
        if let Err(error) = umount2(self.dir, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.dir.display());
        }
    }
}

pub(crate) async fn storage_that_is_silent_holds_up_only_what_is_kept_there(
    stage: &Stage,
) -> anyhow::Result<()> {
    let dir = stage.dir().join("kept-silent");
    let silent = Silent::mount(&dir)?;
    let mut settings = stage.settings()?;
    settings.more.insert("kept_dir".into(), dir.to_string_lossy().into_owned().into());
    let mut nfs = toml::Table::new();
    nfs.insert("deadline_ms".into(), 300.into());
    settings.more.insert("nfs".into(), nfs.into());
    // It serves all the same.
    let agent = Agent::start(settings).await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    let info = api.get_host(GetHostRequest::default()).await?.into_inner();
    ensure!(info.storage_id.is_empty(), "nobody can know its name: {}", info.storage_id);
    client::start(&mut api, demo(1)).await?;
    // Many that want it wait with one thread, and none for long.
    for number in 2..6 {
        let refused = attempt(&mut api, kept(number, 1, "alice")).await?;
        let failure = refused.failure.context("started from storage that is silent")?;
        ensure!(failure.code == "STORAGE_UNREACHABLE", "{failure:?}");
        ensure!(failure.reason.contains("kept_dir"), "{failure:?}");
    }
    let asked = disks.list_volumes(ListVolumesRequest::default()).await;
    let refused = asked.err().context("storage that is silent was listed")?;
    ensure!(refused.code() == Code::Unavailable, "{refused}");
    ensure!(shell(&mut api, 1, "echo here").await? == "here\n");
    drop(silent);
    // It is found when it is back, without the agent being started again.
    eventually("its storage is back", async || {
        let asked = disks.clone().list_volumes(ListVolumesRequest::default()).await;
        Ok(asked.is_ok())
    })
    .await?;
    client::start(&mut api, kept(6, 1, "alice")).await?;
    let info = api.get_host(GetHostRequest::default()).await?.into_inner();
    ensure!(!info.storage_id.is_empty());
    client::stop(&mut api, 6, 1).await?;
    client::stop(&mut api, 1, 1).await?;
    agent.purge().await?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

pub(crate) async fn remains_on_silent_storage_go_when_it_answers(
    stage: &Stage,
) -> anyhow::Result<()> {
    let dir = stage.dir().join("kept-later");
    let mut settings = stage.settings()?;
    settings.more.insert("kept_dir".into(), dir.to_string_lossy().into_owned().into());
    let mut nfs = toml::Table::new();
    nfs.insert("deadline_ms".into(), 300.into());
    settings.more.insert("nfs".into(), nfs.into());
    let agent = Agent::start(settings.clone()).await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "alice")).await?;
    shell(&mut api, 1, "echo precious >~/file && sync ~/file").await?;
    // Both end at once, and then the storage is gone.
    let init = get(&mut api, 1).await?.init_pid;
    kill(Pid::from_raw(i32::try_from(agent.pid()?)?), Signal::SIGSTOP)?;
    kill(Pid::from_raw(init), Signal::SIGKILL)?;
    murder(agent).await?;
    let silent = Silent::mount(&dir)?;
    // It serves all the same, and tells what it waits for.
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let remains = get(&mut api, 1).await?;
    ensure!(remains.state() == DesktopState::Stopping, "{remains:?}");
    let refused = attempt(&mut api, kept(1, 2, "alice")).await;
    let refused = refused.err().context("its number was given away")?;
    ensure!(refused.to_string().contains("stopping"), "{refused}");
    client::start(&mut api, demo(2)).await?;
    ensure!(shell(&mut api, 2, "echo here").await? == "here\n");
    drop(silent);
    gone(&mut api, 1).await?;
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 3).await?;
    client::stop(&mut api, 2, 1).await?;
    agent.purge().await?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

pub(crate) async fn only_an_explicit_call_deletes(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 1, "alice")).await?;
    let mut disks = agent.storage().await?;
    let delete = || DeleteVolumeRequest { id: overlay("alice") };
    let refused = disks.delete_volume(delete()).await.err().context("deleted while in use")?;
    ensure!(refused.code() == Code::FailedPrecondition, "{refused}");
    client::stop(&mut api, 1, 1).await?;
    let list = disks.list_volumes(ListVolumesRequest::default()).await?.into_inner().volumes;
    ensure!(
        list.len() == 1 && list[0].id == overlay("alice") && list[0].size_bytes == 256 << 20,
        "{list:?}"
    );
    disks.delete_volume(delete()).await?;
    let missing = disks.delete_volume(delete()).await.err().context("deleted twice")?;
    ensure!(missing.code() == Code::NotFound, "{missing}");
    agent.purge().await
}

pub(crate) async fn a_full_disk_is_said_and_leaves_nothing(stage: &Stage) -> anyhow::Result<()> {
    let mut settings = stage.settings()?;
    settings.reserve_mib = Some(0);
    let state = settings.dir.join("state");
    std::fs::create_dir_all(&state)?;
    let target = state.display().to_string();
    host("mount", &["-t", "tmpfs", "-o", "size=80m", "small", &target])?;
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let small = |number, name: &str| {
        let overlay = Some(OverlaySpec { persistent_name: name.into(), size_mib: 64 });
        StartHostDesktopRequest { overlay, ..demo(number) }
    };
    client::start(&mut api, small(1, "first")).await?;
    shell(&mut api, 1, "echo precious > ~/file").await?;
    client::stop(&mut api, 1, 1).await?;

    fill(&state.join("filler"))?;
    let failure = attempt(&mut api, small(2, "second")).await?.failure.context("it had room")?;
    ensure!(failure.code == "DISK_FULL", "{failure:?}");
    ensure!(failure.reason.contains("no space left"), "{failure:?}");
    let mut disks = agent.storage().await?;
    let kept = disks.list_volumes(ListVolumesRequest::default()).await?.into_inner().volumes;
    let names: Vec<_> = kept.iter().map(|volume| volume.id.clone()).collect();
    ensure!(names == [overlay("first")], "a half-made overlay is there: {names:?}");

    std::fs::remove_file(state.join("filler"))?;
    let again = StartHostDesktopRequest { epoch: 2, request_id: "2".into(), ..small(1, "first") };
    client::start(&mut api, again).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 2).await?;
    agent.purge().await?;
    host("umount", &[&target])
}

/// Writes until the disk is full.
pub(crate) fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let block = vec![1; 4096];
    loop {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) async fn an_overlay_larger_than_the_disk_is_refused(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.overlay = Some(OverlaySpec { persistent_name: String::new(), size_mib: 8 << 20 });
    let failure = attempt(&mut api, request).await?.failure.context("8 TiB were given")?;
    ensure!(failure.code == "OVERLAY_TOO_LARGE", "{failure:?}");
    agent.purge().await
}
