//! The helper's side: `rolltop-agent storage-helper`, which reads tasks from
//! standard input and answers there.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::AsFd as _,
        unix::{fs::MetadataExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use rolltop_image::{Broken, ImageRef, ImageStore, Listed, Published, Root};
use rolltop_overlay::{
    BaseError, BaseKey, BaseRoots, BaseSource, NameError, OpenPlan,
    nfs::{NfsOptions, NfsTarget, NfsUrl, NfsUse},
    open_root, open_shifted_root,
};

use super::{
    fault::{Fault, FaultKind},
    protocol::{Answer, Done, Export, Opening, Place, Task, Version},
};
use crate::desktop::sentence;

/// Serves until standard input, a Unix socket, ends. The work is done on another
/// thread: when the agent goes away in the middle of it, the process ends, and
/// takes the thread along, whatever that waits for.
///
/// # Errors
/// Standard input is no socket.
pub fn serve() -> io::Result<()> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut answers = stream.try_clone()?;
    let (tasks, to_do) = mpsc::channel::<String>();
    thread::Builder::new().name("storage-work".into()).spawn(move || {
        for line in to_do {
            let answer = match serde_json::from_str(&line) {
                Ok(task) => perform(task),
                Err(error) => Err(broken(&error)),
            };
            let mut answer = serde_json::to_vec(&answer).unwrap_or_default();
            answer.push(b'\n');
            if answers.write_all(&answer).is_err() {
                // The agent has gone; so will we.
                return;
            }
        }
    })?;
    for line in BufReader::new(stream).lines() {
        if tasks.send(line?).is_err() {
            break;
        }
    }
    Ok(())
}

fn perform(task: Task) -> Answer {
    match task {
        Task::Resolve { export, image } => resolve(&export, &image),
        Task::List { export } => list(&export),
        Task::Mount { export, bases, key, root, try_ids } => {
            mount(&export, &bases, &key, root, try_ids)
        }
        Task::Open(opening) => open(&opening),
        Task::Unmount { dir, key } => {
            on_mount(&dir, &key, |roots, key| roots.unmount(key))?;
            Ok(Done::Nothing)
        }
        Task::Abandon { dir, key } => {
            on_mount(&dir, &key, |roots, key| roots.abandon(key))?;
            Ok(Done::Nothing)
        }
        Task::Probe { export } => {
            let path = mount_export(&export, NfsUse::Names)?;
            path.metadata().map_err(|error| broken(&error))?;
            Ok(Done::Nothing)
        }
        Task::GiveUp { export } => {
            for key in [&export.names, &export.versions] {
                on_mount(&export.dir, key, |roots, key| roots.give_up(key))?;
            }
            Ok(Done::Nothing)
        }
    }
}

fn resolve(export: &Export, image: &str) -> Answer {
    let image: ImageRef = image.parse().map_err(|error| broken(&error))?;
    let (path, store) = store(export)?;
    let published = store.resolve(&image).map_err(|error| Fault::from(&error))?;
    Ok(Done::Resolved(Box::new(version(&path, &published, Vec::new())?)))
}

fn list(export: &Export) -> Answer {
    let (path, store) = store(export)?;
    let listing = store.list().map_err(|error| Fault::from(&error))?;
    let told = |listed: &Listed| {
        let tags = listed.tags.iter().map(ToString::to_string).collect();
        version(&path, &listed.published, tags)
    };
    let startable = listing.versions.iter().filter(|listed| listed.retired.is_none());
    let versions = startable.map(told).collect::<Result<_, _>>()?;
    let told = |broken: &Broken| (broken.path.clone(), sentence(&broken.error));
    Ok(Done::Listed(versions, listing.broken.iter().map(told).collect()))
}

fn mount(export: &Export, bases: &Path, key: &str, root: Place, try_ids: bool) -> Answer {
    let store = mount_export(export, NfsUse::Versions)?;
    let source = match root {
        Place::Erofs(inner) => BaseSource::Erofs(store.join(inner)),
        Place::Directory(inner) => BaseSource::Directory(store.join(inner)),
    };
    let (path, mappable) = on_mount(bases, key, |roots, key| {
        let path = roots.mount(key, &source)?;
        let mappable = try_ids.then(|| roots.can_be_id_mapped(key)).transpose()?;
        Ok((path, mappable))
    })?;
    Ok(Done::Mounted(path, mappable))
}

fn open(opening: &Opening) -> Answer {
    let plan = OpenPlan {
        lower: &opening.lower,
        overlay: &opening.overlay,
        mount_dir: &opening.mount_dir,
        id_map: opening.map.map(|map| map.ids()),
    };
    let opened = match opening.map {
        Some(map) if map.lower_is_shifted => open_shifted_root(&plan),
        Some(_) | None => open_root(&plan),
    };
    opened.map(|opened| Done::Opened(opened.root)).map_err(|error| Fault::from(&error))
}

/// The store, as the server has it now, and where it is mounted.
fn store(export: &Export) -> Result<(PathBuf, ImageStore), Fault> {
    let path = mount_export(export, NfsUse::Names)?;
    let store = ImageStore::open(&path).map_err(|error| Fault::from(&error))?;
    Ok((path, store))
}

fn mount_export(export: &Export, purpose: NfsUse) -> Result<PathBuf, Fault> {
    let key = match purpose {
        NfsUse::Names => &export.names,
        NfsUse::Versions => &export.versions,
    };
    let url: NfsUrl = export.url.parse().map_err(|error| broken(&error))?;
    let options = NfsOptions::parse(&export.options).map_err(|faults| {
        broken(&io::Error::other(faults.iter().map(ToString::to_string).collect::<String>()))
    })?;
    let source = BaseSource::Nfs(NfsTarget { url, options, purpose });
    on_mount(&export.dir, key, |roots, key| roots.mount(key, &source))
}

fn on_mount<T>(
    dir: &Path,
    key: &str,
    act: impl FnOnce(&BaseRoots, &BaseKey) -> Result<T, BaseError>,
) -> Result<T, Fault> {
    let key = BaseKey::try_from(key).map_err(|error: NameError| broken(&error))?;
    let acted = BaseRoots::open(dir).and_then(|roots| act(&roots, &key));
    acted.map_err(|error| Fault::from(&error))
}

/// A version with the path of its root in the store, wherever that is mounted.
fn version(store: &Path, published: &Published, tags: Vec<String>) -> Result<Version, Fault> {
    let inner =
        |path: &Path| path.strip_prefix(store).map(Path::to_owned).map_err(|error| broken(&error));
    let (root, owner) = match &published.root {
        Root::Erofs(path) => (Place::Erofs(inner(path)?), 0),
        Root::Directory(path) => {
            let owner = path.metadata().map_err(|error| broken(&error))?.uid();
            (Place::Directory(inner(path)?), owner)
        }
    };
    Ok(Version {
        name: published.name.to_string(),
        version: published.version.to_string(),
        manifest: published.manifest.to_toml(),
        root,
        owner,
        tags,
    })
}

fn broken(error: &dyn std::error::Error) -> Fault {
    Fault { kind: FaultKind::ImageBroken, text: sentence(error) }
}
