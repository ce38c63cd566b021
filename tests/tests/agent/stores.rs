//! Where roots come from, as far as that needs no NFS; the rest is tested in
//! virtual machines.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rolltop_proto::v1::ListImagesRequest;
use rolltop_tests::{agent::Agent, client, patience::on_this_machine};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use tonic::Code;

/// A connection on this machine is made at once, or not at all.
const QUEUE_LIMIT: Duration = Duration::from_millis(300);

use crate::stage::{Stage, attempt, demo, exec, host, shell};

pub(crate) async fn a_silent_server_holds_up_nobody(stage: &Stage) -> anyhow::Result<()> {
    let server = SilentServer::new()?;
    let mut settings = stage.settings()?;
    let url = format!("nfs://127.0.0.1:{}/images", server.port()?);
    settings.more = toml::toml! { nfs = { deadline_ms = 1500, helpers = 2 } };
    settings.more.insert("images".into(), vec![settings.images.display().to_string(), url].into());
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    // A crowd asks for what only that server could have.
    let begun = Instant::now();
    let mut crowd = tokio::task::JoinSet::new();
    for number in 10..20 {
        let mut api = api.clone();
        crowd.spawn(async move {
            let mut request = demo(number);
            request.image = "elsewhere:stable".into();
            attempt(&mut api, request).await
        });
    }
    // Meanwhile all others work.
    client::start(&mut api, demo(1)).await?;
    let images = api.list_images(ListImagesRequest {}).await?.into_inner().images;
    ensure!(images.iter().any(|image| image.image == "demo"), "{images:?}");
    client::stop(&mut api, 1, 1).await?;
    while let Some(refused) = crowd.join_next().await {
        let error = refused?.err().context("it came up")?;
        let status = error.downcast_ref::<tonic::Status>().context("no status")?;
        ensure!(status.code() == Code::Unavailable, "{status:?}");
        ensure!(status.message().contains("NFS server 127.0.0.1"), "{status:?}");
    }
    let limit = on_this_machine(Duration::from_secs(20));
    ensure!(begun.elapsed() < limit, "it took {:?}", begun.elapsed());
    agent.purge().await
}

pub(crate) async fn a_root_without_id_maps_has_those_of_the_host(
    stage: &Stage,
) -> anyhow::Result<()> {
    // Like NFS, a mounted overlay cannot be ID-mapped.
    let store = MappedNowhere::mount(stage)?;
    let mut settings = stage.settings()?;
    settings.images = store.images.clone().into();
    let agent = Agent::start(settings.clone()).await?;
    let mut api = agent.api().await?;
    let mut request = demo(1);
    request.image = "tree:stable".into();
    client::start(&mut api, request.clone()).await?;
    let map = shell(&mut api, 1, "cat /proc/self/uid_map").await?;
    let map: Vec<&str> = map.split_whitespace().collect();
    ensure!(map == ["0", "0", "65536"], "{map:?}");
    // No more than a name: root's power ends at the wall all the same.
    let (said, code) = exec(&mut api, 1, true, "mount -t tmpfs none /mnt").await?;
    ensure!(code != 0, "root in there can mount: {said}");
    let owner = shell(&mut api, 1, "touch ~/new && stat -c %u ~/new").await?;
    ensure!(owner.trim() != "0" && owner.trim() != "65534", "{owner}");
    client::stop(&mut api, 1, 1).await?;
    agent.end().await?;

    settings.more = toml::toml! { identity_map = "refuse" };
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    request.epoch = 2;
    request.request_id = "refused".into();
    let refused = attempt(&mut api, request).await?;
    let failure = refused.failure.context("it came up")?;
    ensure!(failure.code == "NO_IDS_OF_ITS_OWN", "{failure:?}");
    agent.purge().await?;
    store.unmount()
}

pub(crate) async fn directories_of_the_host_lie_over_roots(stage: &Stage) -> anyhow::Result<()> {
    let extra = stage.dir().join("extra");
    std::fs::create_dir_all(extra.join("below"))?;
    std::fs::write(extra.join("below/file"), "of the host\n")?;
    let mut settings = stage.settings()?;
    let over = format!("{}:/usr/lib/modules/${{kernel}}", extra.display());
    let dirs = vec![over, "/nowhere:/opt/nowhere:optional".into()];
    settings.more.insert("extra_dirs".into(), dirs.into());
    let agent = Agent::start(settings.clone()).await?;
    let mut api = agent.api().await?;
    client::start(&mut api, demo(1)).await?;
    let seen = shell(&mut api, 1, "cat /lib/modules/$(uname -r)/below/file").await?;
    ensure!(seen == "of the host\n", "{seen}");
    let (said, code) = exec(&mut api, 1, true, "touch /lib/modules/$(uname -r)/new").await?;
    ensure!(code != 0 && said.contains("Read-only"), "{said}");
    shell(&mut api, 1, "[ ! -e /opt/nowhere ]").await?;
    client::stop(&mut api, 1, 1).await?;
    agent.end().await?;

    let missing = vec!["/nowhere:/opt/nowhere".to_owned()];
    settings.more.insert("extra_dirs".into(), missing.into());
    let agent = Agent::start(settings).await?;
    let mut api = agent.api().await?;
    let failure = attempt(&mut api, demo(2)).await?.failure.context("it came up")?;
    ensure!(failure.code == "EXTRA_DIRECTORY_MISSING", "{failure:?}");
    ensure!(failure.reason.contains("/nowhere of this host"), "{failure:?}");
    agent.purge().await
}

/// A server that never takes a connection, though it is there: its queue is full.
struct SilentServer {
    listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl SilentServer {
    fn new() -> anyhow::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listen(&socket, 0)?;
        let listener = TcpListener::from(socket);
        let mut queue = Vec::new();
        // As soon as one waits, all do.
        while let Ok(stream) = TcpStream::connect_timeout(&listener.local_addr()?, QUEUE_LIMIT) {
            queue.push(stream);
        }
        Ok(Self { listener, _queue: queue })
    }

    fn port(&self) -> anyhow::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

/// A store with a directory as a root, on an overlay.
struct MappedNowhere {
    images: String,
    mounts: Vec<String>,
}

impl MappedNowhere {
    fn mount(stage: &Stage) -> anyhow::Result<Self> {
        let refused = stage.image("tree", |manifest| {
            manifest.root = rolltop_image::RootKind::Directory;
        });
        ensure!(refused.is_err(), "a manifest that does not fit its root must be refused");
        let version = std::fs::read_dir(stage.dir().join("images/tree/versions"))?;
        let version = version.into_iter().next().context("no version")??.path();
        std::fs::remove_file(version.join("root.erofs"))?;
        let text = |path: &Path| path.display().to_string();
        let dir = |name: &str| {
            let dir = stage.dir().join(name);
            std::fs::create_dir_all(&dir).map(|()| text(&dir))
        };
        let (root, empty) = (dir("images/tree/versions/root")?, dir("empty")?);
        std::fs::rename(&root, version.join("root"))?;
        let target = text(&version.join("root"));
        let (erofs, original) = (dir("erofs")?, text(stage.original().root.path()));
        host("mount", &["-t", "erofs", "-o", "ro,loop", &original, &erofs])?;
        let layers = format!("ro,lowerdir={erofs}:{empty}");
        host("mount", &["-t", "overlay", "-o", &layers, "none", &target])?;
        Ok(Self { images: text(&stage.dir().join("images")), mounts: vec![target, erofs] })
    }

    fn unmount(self) -> anyhow::Result<()> {
        self.mounts.iter().try_for_each(|mount| host("umount", &[mount]))
    }
}
