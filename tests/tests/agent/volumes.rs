//! What is done to kept disks, for real: grown, kept as it was, rolled back,
//! copied, streamed; by agents that die meanwhile.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail, ensure};
use rolltop_proto::v1::{
    CheckVolumeRequest, CloneVolumeRequest, CreateVolumeSnapshotRequest, ExportEnd,
    ExportVolumeRequest, GetVolumeRequest, GrowVolumeRequest, ImportVolumeChunk, ImportVolumeStart,
    ListVolumeSnapshotsRequest, ListVolumesRequest, RollBackVolumeRequest, TrimVolumeRequest,
    Volume, VolumeCondition, VolumeId, VolumeKind, VolumeResult, VolumeWork, export_chunk,
    import_volume_chunk, volume_work,
};
use rolltop_tests::{
    agent::Agent,
    client::{self, Api, Storage},
};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::{
    crashes::murder,
    stage::{Stage, attempt, eventually, get, host, kept, shell},
    storage::fill,
};

const MIB: i64 = 1 << 20;

pub(crate) fn overlay(name: &str) -> Option<VolumeId> {
    Some(VolumeId { kind: VolumeKind::Overlay.into(), name: name.into() })
}

/// How work ends.
pub(crate) async fn finish(mut work: Streaming<VolumeWork>) -> Result<VolumeResult, Status> {
    while let Some(step) = work.message().await? {
        if let Some(volume_work::Message::Result(result)) = step.message {
            return Ok(result);
        }
    }
    Err(Status::data_loss("the work ended without a result"))
}

pub(crate) async fn look(disks: &mut Storage, id: Option<VolumeId>) -> anyhow::Result<Volume> {
    Ok(disks.get_volume(GetVolumeRequest { id }).await?.into_inner())
}

async fn snapshot(disks: &mut Storage, name: &str, snapshot: &str) -> Result<VolumeResult, Status> {
    let request = CreateVolumeSnapshotRequest {
        id: overlay(name),
        name: snapshot.into(),
        request_id: format!("{name}@{snapshot}"),
        description: "by a test".into(),
    };
    finish(disks.create_snapshot(request).await?.into_inner()).await
}

async fn snapshots(disks: &mut Storage, name: &str) -> anyhow::Result<Vec<String>> {
    let request = ListVolumeSnapshotsRequest { id: overlay(name) };
    let found = disks.list_snapshots(request).await?.into_inner().snapshots;
    Ok(found.into_iter().map(|snapshot| snapshot.name).collect())
}

async fn roll_back(disks: &mut Storage, name: &str, to: &str) -> Result<VolumeResult, Status> {
    let request =
        RollBackVolumeRequest { id: overlay(name), snapshot: to.into(), ..Default::default() };
    finish(disks.roll_back_volume(request).await?.into_inner()).await
}

async fn grow(disks: &mut Storage, name: &str, size_mib: i64) -> Result<VolumeResult, Status> {
    let request = GrowVolumeRequest { id: overlay(name), size_mib };
    finish(disks.grow_volume(request).await?.into_inner()).await
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Everything in the agent's directory of disks.
fn files(agent: &Agent) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![agent.settings().dir.join("state/overlays")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// A desktop "alice" with a file, stopped.
async fn keep_a_file(api: &mut Api) -> anyhow::Result<()> {
    client::start(api, kept(1, 1, "alice")).await?;
    shell(api, 1, "echo precious > ~/file && sync").await?;
    client::stop(api, 1, 1).await?;
    Ok(())
}

pub(crate) async fn a_disk_grows_and_is_never_shrunk(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    keep_a_file(&mut api).await?;
    let grown = grow(&mut disks, "alice", 512).await?.volume.context("no volume")?;
    ensure!(grown.size_bytes == 512 * MIB, "{grown:?}");
    let refused = grow(&mut disks, "alice", 128).await.err().context("it was shrunk")?;
    ensure!(reason(&refused) == "OVERLAY_SHRINKS", "{refused}");
    client::start(&mut api, kept(1, 2, "alice")).await?;
    let listing = shell(&mut api, 1, "cat ~/file; df -m --output=size / | tail -1").await?;
    let size_mib: i64 = listing.split_whitespace().last().context("no size")?.parse()?;
    ensure!(listing.starts_with("precious\n") && size_mib > 400, "{listing}");
    // In use: it grows where the kernel lets this process, or says why not.
    let used = look(&mut disks, overlay("alice")).await?;
    ensure!(used.condition() == VolumeCondition::InUse && used.desktop == 1, "{used:?}");
    ensure!(used.used_bytes.is_some_and(|bytes| bytes > 0), "{used:?}");
    match grow(&mut disks, "alice", 768).await {
        Ok(_) => {
            let told = get(&mut api, 1).await?.overlay.context("no overlay")?;
            ensure!(told.size_bytes == 768 * MIB, "{told:?}");
        }
        Err(refused) => ensure!(reason(&refused) == "GROW_STOPPED", "{refused}"),
    }
    shell(&mut api, 1, "echo more >> ~/file").await?;
    client::stop(&mut api, 1, 2).await?;
    let missing = grow(&mut disks, "nobody", 512).await.err().context("nothing grew")?;
    ensure!(missing.code() == Code::NotFound, "{missing}");
    agent.purge().await
}

pub(crate) async fn a_snapshot_of_a_running_desktop_has_what_was_synced(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    client::start(&mut api, kept(1, 1, "alice")).await?;
    shell(&mut api, 1, "echo one > ~/file && sync ~/file").await?;
    let made = snapshot(&mut disks, "alice", "first").await?;
    let told = made.snapshot.context("no snapshot")?;
    ensure!(told.name == "first" && told.description == "by a test", "{told:?}");
    // Asked again for the same request: there is still one.
    snapshot(&mut disks, "alice", "first").await?;
    let other = CreateVolumeSnapshotRequest {
        id: overlay("alice"),
        name: "first".into(),
        ..Default::default()
    };
    let taken = finish(disks.create_snapshot(other).await?.into_inner()).await;
    ensure!(reason(&taken.err().context("made twice")?) == "SNAPSHOT_EXISTS");
    shell(&mut api, 1, "echo two > ~/file && sync ~/file").await?;
    let refused = roll_back(&mut disks, "alice", "first").await.err().context("in use")?;
    ensure!(reason(&refused) == "OVERLAY_IN_USE", "{refused}");
    client::stop(&mut api, 1, 1).await?;

    // Back, and forth again to what was before.
    let before = roll_back(&mut disks, "alice", "first").await?.snapshot.context("not kept")?;
    ensure!(before.automatic, "{before:?}");
    client::start(&mut api, kept(1, 2, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "one\n");
    client::stop(&mut api, 1, 2).await?;
    roll_back(&mut disks, "alice", &before.name).await?;
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "two\n");
    client::stop(&mut api, 1, 3).await?;
    let unknown = roll_back(&mut disks, "alice", "nosuch").await.err().context("to nothing")?;
    ensure!(reason(&unknown) == "SNAPSHOT_UNKNOWN", "{unknown}");
    agent.purge().await
}

pub(crate) async fn a_clone_lives_beside_its_original(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    keep_a_file(&mut api).await?;
    // Of one that is in use, too.
    client::start(&mut api, kept(1, 2, "alice")).await?;
    let request =
        CloneVolumeRequest { id: overlay("alice"), to: overlay("bob"), ..Default::default() };
    let made = finish(disks.clone_volume(request.clone()).await?.into_inner()).await?;
    ensure!(made.volume.context("no volume")?.id == overlay("bob"));
    let again = finish(disks.clone_volume(request).await?.into_inner()).await;
    ensure!(reason(&again.err().context("cloned over it")?) == "OVERLAY_EXISTS");
    client::start(&mut api, kept(2, 1, "bob")).await?;
    shell(&mut api, 2, "grep precious ~/file && echo bob > ~/file").await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    let checked =
        finish(disks.check_volume(CheckVolumeRequest { id: overlay("bob") }).await?.into_inner());
    let told = checked.await?.check.context("no result")?;
    ensure!(told.condition() == VolumeCondition::InUse, "{told:?}");
    client::stop(&mut api, 1, 2).await?;
    client::stop(&mut api, 2, 1).await?;
    for name in ["alice", "bob"] {
        let request = CheckVolumeRequest { id: overlay(name) };
        let told = finish(disks.check_volume(request).await?.into_inner()).await?;
        let told = told.check.context("no result")?;
        ensure!(told.condition() == VolumeCondition::Sound, "{name}: {told:?}");
        let request = TrimVolumeRequest { id: overlay(name) };
        finish(disks.trim_volume(request).await?.into_inner()).await?;
    }
    agent.purge().await
}

/// A whole export: its bytes, and how it ended.
async fn export(disks: &mut Storage, name: &str) -> anyhow::Result<(Vec<u8>, ExportEnd)> {
    let request = ExportVolumeRequest { id: overlay(name), ..Default::default() };
    let mut chunks = disks.export_volume(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        match chunk.message {
            Some(export_chunk::Message::Data(data)) => bytes.extend(data),
            Some(export_chunk::Message::End(end)) => return Ok((bytes, end)),
            Some(export_chunk::Message::Head(_)) | None => {}
        }
    }
    bail!("the export is not whole")
}

async fn import(
    disks: &mut Storage,
    name: &str,
    bytes: &[u8],
    end: Option<ExportEnd>,
) -> Result<Volume, Status> {
    use import_volume_chunk::Message;
    let start = Message::Start(ImportVolumeStart { id: overlay(name) });
    let data = bytes.chunks(1 << 20).map(|chunk| Message::Data(chunk.to_vec()));
    let messages: Vec<_> = [start].into_iter().chain(data).chain(end.map(Message::End)).collect();
    let chunks = messages.into_iter().map(|message| ImportVolumeChunk { message: Some(message) });
    Ok(disks.import_volume(tokio_stream::iter(chunks)).await?.into_inner())
}

pub(crate) async fn a_disk_goes_out_and_comes_back(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    keep_a_file(&mut api).await?;
    let before = files(&agent)?;
    let (bytes, end) = export(&mut disks, "alice").await?;
    ensure!(end.bytes == bytes.len() as i64 && (bytes.len() as i64) < 64 * MIB, "{end:?}");
    ensure!(files(&agent)? == before, "an export leaves something");

    let cut = bytes.len() / 2;
    let mut damaged = bytes.clone();
    damaged[cut] ^= 1;
    let wrong = ExportEnd { sha256: "0".repeat(64), ..end.clone() };
    for (what, bytes, end) in [
        ("no end", bytes.as_slice(), None),
        ("half of it", &bytes[..cut], Some(end.clone())),
        ("a flipped bit", damaged.as_slice(), Some(end.clone())),
        ("another sum", bytes.as_slice(), Some(wrong)),
        ("no archive", b"nonsense".as_slice(), None),
    ] {
        let refused = import(&mut disks, "bob", bytes, end).await;
        ensure!(refused.is_err(), "{what} was imported");
        ensure!(files(&agent)? == before, "{what} leaves something: {:?}", files(&agent)?);
    }
    import(&mut disks, "bob", &bytes, Some(end.clone())).await?;
    let taken = import(&mut disks, "alice", &bytes, Some(end)).await.err().context("over it")?;
    ensure!(reason(&taken) == "OVERLAY_EXISTS", "{taken}");
    client::start(&mut api, kept(2, 1, "bob")).await?;
    client::start(&mut api, kept(1, 2, "alice")).await?;
    ensure!(shell(&mut api, 2, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 2).await?;
    client::stop(&mut api, 2, 1).await?;
    agent.purge().await
}

pub(crate) async fn a_reader_who_leaves_ends_an_export(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    client::start(&mut api, kept(1, 1, "alice")).await?;
    // More than fits into what may be on its way.
    shell(&mut api, 1, "head -c 60000000 /dev/urandom > ~/noise && sync").await?;
    client::stop(&mut api, 1, 1).await?;
    let before = files(&agent)?;
    let request = ExportVolumeRequest { id: overlay("alice"), ..Default::default() };
    let mut chunks = disks.export_volume(request).await?.into_inner();
    chunks.message().await?.context("no head")?;
    chunks.message().await?.context("no data")?;
    let busy = grow(&mut disks, "alice", 512).await.err().context("two at once")?;
    ensure!(reason(&busy) == "OVERLAY_BUSY" && busy.code() == Code::Aborted, "{busy}");
    ensure!(busy.message().contains("is being exported"), "{busy}");
    let failure = attempt(&mut api, kept(1, 2, "alice")).await?.failure.context("it started")?;
    ensure!(failure.code == "OVERLAY_BUSY", "{failure:?}");
    drop(chunks);
    eventually("the export ends", async || {
        Ok(look(&mut disks, overlay("alice")).await?.work.is_none())
    })
    .await?;
    ensure!(files(&agent)? == before, "{:?}", files(&agent)?);
    client::start(&mut api, kept(1, 3, "alice")).await?;
    client::stop(&mut api, 1, 3).await?;
    agent.purge().await
}

pub(crate) async fn a_damaged_disk_is_refused_and_kept(stage: &Stage) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    keep_a_file(&mut api).await?;
    snapshot(&mut disks, "alice", "whole").await?;
    let path = agent.settings().dir.join("state/overlays/persistent/alice.ext4");
    let mut bytes = fs::read(&path)?;
    bytes[..4096].fill(0xff);
    fs::write(&path, &bytes)?;
    let failure = attempt(&mut api, kept(1, 2, "alice")).await?.failure.context("it started")?;
    ensure!(failure.code == "OVERLAY_DAMAGED", "{failure:?}");
    ensure!(failure.reason.contains("the file is kept as it is"), "{failure:?}");
    ensure!(fs::read(&path)? == bytes, "the file was touched");
    let told =
        finish(disks.check_volume(CheckVolumeRequest { id: overlay("alice") }).await?.into_inner());
    let told = told.await?.check.context("no result")?;
    ensure!(told.condition() == VolumeCondition::Damaged, "{told:?}");
    // What the sentence advises.
    roll_back(&mut disks, "alice", "whole").await?;
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 3).await?;
    agent.purge().await
}

pub(crate) async fn a_snapshot_without_room_leaves_nothing(stage: &Stage) -> anyhow::Result<()> {
    let mut settings = stage.settings()?;
    settings.reserve_mib = Some(0);
    let state = settings.dir.join("state");
    fs::create_dir_all(&state)?;
    let target = state.display().to_string();
    host("mount", &["-t", "tmpfs", "-o", "size=300m", "small", &target])?;
    let agent = Agent::start(settings).await?;
    let (mut api, mut disks) = (agent.api().await?, agent.storage().await?);
    keep_a_file(&mut api).await?;
    fill(&state.join("filler"))?;
    let before = files(&agent)?;
    let full = snapshot(&mut disks, "alice", "s").await.err().context("it had room")?;
    ensure!(reason(&full) == "DISK_FULL" && full.code() == Code::ResourceExhausted, "{full}");
    ensure!(files(&agent)? == before && snapshots(&mut disks, "alice").await?.is_empty());
    fs::remove_file(state.join("filler"))?;
    snapshot(&mut disks, "alice", "s").await?;
    client::start(&mut api, kept(1, 2, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file").await? == "precious\n");
    client::stop(&mut api, 1, 2).await?;
    agent.purge().await?;
    host("umount", &[&target])
}

pub(crate) async fn an_agent_killed_at_work_leaves_nothing_half_made(
    stage: &Stage,
) -> anyhow::Result<()> {
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    keep_a_file(&mut api).await?;
    client::start(&mut api, kept(1, 2, "alice")).await?;
    shell(&mut api, 1, "head -c 40000000 /dev/urandom > ~/noise && sync").await?;
    let before = files(&agent)?;
    let mut agent = agent;
    for moment_ms in [0, 5, 15, 40] {
        let mut disks = agent.storage().await?;
        let working = tokio::spawn(async move { snapshot(&mut disks, "alice", "s").await });
        tokio::time::sleep(std::time::Duration::from_millis(moment_ms)).await;
        murder(agent).await?;
        // Its connection broke, or it was done.
        let _either = working.await?;
        agent = stage.agent().await?;
        api = agent.api().await?;
        // Nobody is held still, and whatever is there is whole.
        shell(&mut api, 1, "echo alive > ~/alive && sync ~/alive").await?;
        let mut disks = agent.storage().await?;
        for name in snapshots(&mut disks, "alice").await? {
            let request = CloneVolumeRequest {
                id: overlay("alice"),
                snapshot: name.clone(),
                to: overlay("copy"),
                ..Default::default()
            };
            finish(disks.clone_volume(request).await?.into_inner()).await?;
            let request = CheckVolumeRequest { id: overlay("copy") };
            let told = finish(disks.check_volume(request).await?.into_inner()).await?;
            let told = told.check.context("no result")?;
            ensure!(told.condition() != VolumeCondition::Damaged, "{told:?}");
            for (id, snapshot) in [("copy", None), ("alice", Some(name))] {
                remove(&mut disks, id, snapshot).await?;
            }
        }
        ensure!(files(&agent)? == before, "killed after {moment_ms} ms: {:?}", files(&agent)?);
    }
    let mut disks = agent.storage().await?;
    client::stop(&mut api, 1, 2).await?;
    let request = ExportVolumeRequest { id: overlay("alice"), ..Default::default() };
    let mut chunks = disks.export_volume(request).await?.into_inner();
    chunks.message().await?.context("no head")?;
    murder(agent).await?;
    let agent = stage.agent().await?;
    ensure!(files(&agent)? == before, "killed while it exported: {:?}", files(&agent)?);
    let mut disks = agent.storage().await?;
    let there = disks.list_volumes(ListVolumesRequest::default()).await?.into_inner().volumes;
    ensure!(there.len() == 1 && there[0].work.is_none(), "{there:?}");
    let mut api = agent.api().await?;
    client::start(&mut api, kept(1, 3, "alice")).await?;
    ensure!(shell(&mut api, 1, "cat ~/file ~/alive").await? == "precious\nalive\n");
    client::stop(&mut api, 1, 3).await?;
    agent.purge().await
}

async fn remove(disks: &mut Storage, id: &str, snapshot: Option<String>) -> anyhow::Result<()> {
    use rolltop_proto::v1::{DeleteVolumeRequest, DeleteVolumeSnapshotRequest};
    match snapshot {
        None => drop(disks.delete_volume(DeleteVolumeRequest { id: overlay(id) }).await?),
        Some(name) => {
            let request = DeleteVolumeSnapshotRequest { id: overlay(id), name };
            disks.delete_snapshot(request).await?;
        }
    }
    Ok(())
}
