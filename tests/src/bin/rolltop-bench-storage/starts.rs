//! The same desktop from every kind of base root, cold and warm.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use rolltop_image::{ImageRef, ImageStore, ManifestInput, Published, Root, RootKind};
use rolltop_tests::{
    agent::{Agent, Programs, Settings},
    bench::Report,
    client::{self, Api},
    display, rfb,
};

use crate::{Place, bare::command, reading::drop_caches};

const NUMBER: u32 = 1;
/// Emulated machines take their time.
const DRAWN_LIMIT: Duration = Duration::from_secs(300);

/// A kind of root, and the figures of it.
struct Kind {
    image: &'static str,
    cold: &'static str,
    warm: &'static str,
}

const HERE: [Kind; 2] = [
    Kind { image: "directory:bench", cold: "drawn cold: directory", warm: "drawn warm: directory" },
    Kind { image: "erofs:bench", cold: "drawn cold: EROFS", warm: "drawn warm: EROFS" },
];
const OVER_NFS: [Kind; 2] = [
    Kind {
        image: "directory:bench",
        cold: "drawn cold: NFS directory",
        warm: "drawn warm: NFS directory",
    },
    Kind {
        image: "erofs:bench",
        cold: "drawn cold: EROFS on NFS",
        warm: "drawn warm: EROFS on NFS",
    },
];

pub(crate) async fn measure(
    place: &Place<'_>,
    name: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(images) = &place.arguments.images else {
        report.failures.push("no desktop was started: --images names no store".into());
        return Ok(());
    };
    let original = ImageStore::open(images.canonicalize()?)?
        .resolve(&place.arguments.image.parse::<ImageRef>()?)?;
    let exported = place.arguments.nfs();
    let home = exported.map_or(place.dir, |(exported, _)| exported);
    publish(place, &original, &home.join("images"))?;
    start_all(place, name, &home.join("images"), &HERE, report).await?;
    if let Some((_, mounted)) = exported {
        start_all(place, name, &mounted.join("images"), &OVER_NFS, report).await?;
    }
    for kind in HERE[1..].iter().chain(&OVER_NFS) {
        report.compare(kind.cold, HERE[0].cold);
        report.compare(kind.warm, HERE[0].warm);
    }
    Ok(())
}

/// The same files as a directory and as an EROFS file.
fn publish(place: &Place<'_>, original: &Published, store: &Path) -> anyhow::Result<()> {
    let Root::Erofs(file) = &original.root else {
        anyhow::bail!("{} is a directory; use an image kept as an EROFS file", original.name)
    };
    let files = place.run.join("original");
    fs::create_dir(&files)?;
    let words = ["-t", "erofs", "-o", "ro,loop"].map(AsRef::as_ref);
    command("mount", words.into_iter().chain([file.as_os_str(), files.as_os_str()]))?;
    let store = ImageStore::create(store)?;
    let published = [("directory", RootKind::Directory), ("erofs", RootKind::Erofs)]
        .into_iter()
        .try_for_each(|(name, kind)| {
            let input = ManifestInput {
                name: name.parse()?,
                description: String::new(),
                desktop: original.manifest.desktop.clone(),
                recipe_digest: None,
            };
            let version = store.publish(&files, &input, kind, SystemTime::now())?;
            store.tag(&version.name, &"bench".parse()?, &version.version)?;
            anyhow::Ok(())
        });
    command("umount", [files.as_os_str()])?;
    published
}

async fn start_all(
    place: &Place<'_>,
    name: &str,
    images: &Path,
    kinds: &[Kind],
    report: &mut Report,
) -> anyhow::Result<()> {
    let programs = match &place.arguments.programs {
        Some(dir) => Programs::in_dir(&dir.canonicalize().context("no such --programs")?)?,
        None => Programs::beside_this_one()?,
    };
    let settings = Settings {
        programs,
        dir: place.dir.join("agent"),
        run_dir: place.run.join("agent"),
        images: images.into(),
        name: name.into(),
        runtimes: Default::default(),
        display_ms: Some(120_000),
        reserve_mib: None,
        more: Default::default(),
        credentials: None,
        home_parents: Vec::new(),
        environment: Vec::new(),
    };
    let agent = Agent::start(settings).await?;
    let started = rounds(place, &agent, kinds, report).await;
    agent.purge().await?;
    started
}

async fn rounds(
    place: &Place<'_>,
    agent: &Agent,
    kinds: &[Kind],
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut api = agent.api().await?;
    let mut epoch = 0;
    for round in 0..=place.arguments.long_rounds {
        for kind in kinds {
            for (name, cold) in [(kind.cold, true), (kind.warm, false)] {
                if cold {
                    drop_caches()?;
                }
                epoch += 1;
                let drawn = start(&mut api, kind.image, epoch).await?;
                // The first round mounts the roots and makes the template.
                if round > 0 {
                    report.add_time(name, drawn);
                }
            }
        }
    }
    Ok(())
}

async fn start(api: &mut Api, image: &str, epoch: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    client::start(api, client::volatile(NUMBER, epoch, image)).await?;
    let stream = display::connect(api, NUMBER, epoch).await?;
    let seen = rfb::watch(stream, begun, DRAWN_LIMIT).await?;
    client::stop(api, NUMBER, epoch).await?;
    Ok(seen.drawn)
}
