//! The first step of a start: everything that lies on disk or is mounted.
//! Blocking; run it on a thread of its own.

use std::{
    fs::{self, DirBuilder},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{DirBuilderExt as _, chown},
    path::Path,
    time::Duration,
};

use nix::errno::Errno;
use oci_spec::runtime::Spec;
use rolltop_fail_points as fail_points;
use rolltop_image::{Init, Published, Ready};
use rolltop_overlay::{OverlayKind, Overlays};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use tracing::{info, warn};
use uuid::Uuid;

use super::{boot::Boot, disks::Disks, failure::StepError, home};
use crate::{
    address::{Addresses, Number},
    bundle::{self, Ingredients, InitKind},
    extra::ExtraBind,
    host::Host,
    paths::DesktopPaths,
    request::{DiskRates, StartRequest},
    storage::{Found, Ids, IdsKind, StorageError, choose},
    volumes::VolumeKey,
};

/// Of the tmpfs that a desktop shares with the agent: its session's output and
/// its display's socket. Bounded, because the desktop fills it, at the cost of its
/// own memory limit; large enough for what a session writes between two looks of
/// the agent, which keeps little of it.
const SHARED_OPTIONS: &str = "size=16m,nr_inodes=64,mode=0755";

/// A host name's longest part (RFC 1123).
const MAX_HOST_NAME: usize = 63;

/// Makes directories, mounts and the bundle. What a failure leaves half-made
/// is taken away by `release`. Returns what an init of the image's own is to be
/// heard by.
pub(super) fn make(
    host: &Host,
    request: &StartRequest,
    addresses: &Addresses,
    found: &Found,
    (overlays, kind): (&Overlays, &OverlayKind),
    home: Option<&home::Found>,
    watch: Duration,
) -> Result<Option<Boot>, StepError> {
    let account = request.account.as_ref();
    let paths = host.paths.desktop(request.number);
    check_space(host)?;
    check_free(host, kind)?;
    let base = host.storage.mount(found)?;
    fail_points::pass("mount base root");
    let config = &host.config;
    let first_of_all = config.network.addresses.first_id();
    let ids = choose(base.facts, addresses.first_id, first_of_all, config.identity_map)
        .map_err(StorageError::from)?;
    // It was made for ids of its own.
    make_desktop_dir(paths.dir(), ids.first)?;
    // Before the root, whose ids depend on it.
    let home = home
        .zip(account)
        .map(|(home, account)| home::mount(host, home, account, &paths, ids))
        .transpose()?;
    let (home, ids) = home.map_or((None, ids), |(home, ids)| (Some(home), ids));
    fail_points::pass("mount home");
    tell_ids(request.number, ids);
    let overlay = overlays.create(kind, request.overlay_size)?;
    fail_points::pass("create overlay");
    let mounts = paths.mounts();
    make_dir(&mounts, 0o711)?;
    let root = host.storage.open_root(&base, &overlay, mounts, ids, watch)?;
    fail_points::pass("open root");
    make_shared(&paths)?;
    if let Some(account) = account {
        let user = ids.container_map().outer(account.uid).ok_or(home::HomeError::Names)?;
        give_display_dir(&paths, user)?;
    }
    let init = &found.image.manifest.desktop.init;
    let boot = match init {
        Init::Builtin => None,
        Init::Own(_) => {
            let owner = ids.container_map().outer(0).ok_or(home::HomeError::Names)?;
            Some(Boot::listen(&paths.notify_socket(), owner)?)
        }
    };
    let disks = Disks::of(&paths, request.home.as_ref())?;
    if request.limits.disk != DiskRates::default() {
        disks.limit_write_back(&host.hierarchies, request.limits.disk)?;
    }
    let root = Root { path: &root, ids, home: home.as_deref(), disks };
    write_bundle(host, request, addresses, &found.image, &paths, &root)?;
    Ok(boot.filter(|_| matches!(init, Init::Own(own) if own.ready == Ready::Notify)))
}

/// A root that is open.
struct Root<'a> {
    path: &'a Path,
    ids: Ids,
    home: Option<&'a Path>,
    disks: Disks,
}

fn tell_ids(number: Number, ids: Ids) {
    let Ids { first, kind, kept } = ids;
    if let Some(uid) = kept {
        info!(%number, uid, "its home cannot be ID-mapped: the user has the id of the host");
    }
    match kind {
        IdsKind::Own | IdsKind::Shared => info!(%number, first_id = first, ids = %kind, "ids"),
        IdsKind::Identity => warn!(
            %number,
            ids = %kind,
            "its root cannot be ID-mapped: its ids are the host's own"
        ),
    }
}

fn check_space(host: &Host) -> Result<(), StepError> {
    let free = host.overlay_free_bytes().map_err(|source| {
        StepError::io("see how much is free at", host.paths.overlays().display(), source)
    })?;
    let reserve = host.live().reserve_bytes;
    if free < reserve {
        return Err(StepError::NoSpace { free_mib: free >> 20, reserve_mib: reserve >> 20 });
    }
    Ok(())
}

fn extra_dirs(host: &Host) -> Result<Vec<ExtraBind>, StepError> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let found = host.config.extra_dirs.iter().map(|dir| dir.find(&kernel));
    Ok(found.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

/// What is being done to a kept overlay is said better than that it is locked.
fn check_free(host: &Host, kind: &OverlayKind) -> Result<(), StepError> {
    let busy = VolumeKey::of(kind).and_then(|key| host.jobs.busy(&key));
    busy.map_or(Ok(()), |busy| Err(busy.into()))
}

fn make_shared(paths: &DesktopPaths) -> Result<(), StepError> {
    let shared = paths.shared();
    make_dir(&shared, 0o711)?;
    let failed = |verb| {
        let shared = shared.clone();
        move |source: rustix::io::Errno| StepError::io(verb, shared.display(), source.into())
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = std::ffi::CString::new(SHARED_OPTIONS).unwrap_or_default();
    mount("tmpfs", &shared, "tmpfs", flags, options.as_c_str()).map_err(failed("mount"))?;
    fail_points::pass("mount shared directory");
    mount_change(&shared, MountPropagationFlags::PRIVATE).map_err(failed("make private"))?;
    make_dir(&paths.display_dir(), 0o700)
}

/// The display's socket will be this user's, of the host's ids.
pub(super) fn give_display_dir(paths: &DesktopPaths, user: u32) -> Result<(), StepError> {
    let display = paths.display_dir();
    chown(&display, Some(user), Some(user))
        .map_err(|source| StepError::io("give away", display.display(), source))
}

fn write_bundle(
    host: &Host,
    request: &StartRequest,
    addresses: &Addresses,
    image: &Published,
    paths: &DesktopPaths,
    root: &Root<'_>,
) -> Result<(), StepError> {
    let dir = paths.bundle();
    make_dir(&dir, 0o711)?;
    let host_name = host_name(&request.label);
    let init = match &image.manifest.desktop.init {
        Init::Builtin => InitKind::Builtin,
        Init::Own(own) => InitKind::Own(&own.path),
    };
    let mut spec = bundle::container(&Ingredients {
        paths,
        root: root.path,
        init_program: &host.paths.init_program(),
        init,
        host_name: &host_name,
        ids: root.ids.container_map(),
        extra_dirs: &extra_dirs(host)?,
        limits: request.limits,
        disks: root.disks.numbers(),
        home: request.account.as_ref().map(|account| account.name.as_str()).zip(root.home),
        own_watches: host.runtimes.is_built_in(request.runtime.as_deref()),
    })?;
    if let Some(init) = spec.process_mut() {
        host.confinement.confine(init);
    }
    write_names(&dir, &request.label, &addresses.ips())?;
    let machine = match &request.account {
        Some(_) => request.label.clone(),
        // Not yet anybody's, and unlike any other.
        None => format!("{}#{}", request.number, request.epoch),
    };
    write_machine_id(&dir, &machine)?;
    write(&dir.join("resolv.conf"), &host.resolv_conf)?;
    write_spec(&dir.join("config.json"), &spec)
}

/// What a desktop with this label calls itself. The files are bound into its
/// container: what is there is written over, not replaced.
pub(super) fn write_names(dir: &Path, label: &str, ips: &[IpAddr]) -> Result<(), StepError> {
    let host_name = host_name(label);
    write(&dir.join("hostname"), format!("{host_name}\n"))?;
    write(&dir.join("hosts"), hosts(&host_name, ips))
}

/// One without a link knows itself by its loopback.
fn hosts(host_name: &str, ips: &[IpAddr]) -> String {
    let alone = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let own = if ips.is_empty() { &alone } else { ips };
    let own = own.iter().map(|ip| format!("{ip} {host_name}\n"));
    ["127.0.0.1 localhost\n".into(), "::1 localhost\n".into()].into_iter().chain(own).collect()
}

/// The same desktop is the same machine to its programs, each time.
pub(super) fn write_machine_id(dir: &Path, of: &str) -> Result<(), StepError> {
    let machine_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, of.as_bytes());
    write(&dir.join("machine-id"), format!("{}\n", machine_id.simple()))
}

fn write_spec(path: &Path, spec: &Spec) -> Result<(), StepError> {
    let json = serde_json::to_vec(spec)
        .map_err(|error| StepError::io("write", path.display(), error.into()))?;
    write(path, json)
}

fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), StepError> {
    fs::write(path, contents).map_err(|source| StepError::io("write", path.display(), source))?;
    fail_points::pass("write bundle file");
    Ok(())
}

/// Makes the desktop's own directory, which only the root of its user namespace
/// may pass: other users of the host have no way to what is mounted below.
pub(super) fn make_desktop_dir(path: &Path, first_id: u32) -> Result<(), StepError> {
    make_dir(path, 0o710)?;
    chown(path, None, Some(first_id))
        .map_err(|source| StepError::io("give away", path.display(), source))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StepError> {
    let made = DirBuilder::new().mode(mode).create(path);
    fail_points::pass("make directory");
    match made {
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(()),
        other => other.map_err(|source| StepError::io("make", path.display(), source)),
    }
}

/// "demo/alice" as a host name: "demo-alice".
pub(super) fn host_name(label: &str) -> String {
    let mut name: String = label
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(MAX_HOST_NAME)
        .collect();
    name = name.trim_matches('-').to_owned();
    if name.is_empty() { "desktop".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn labels_become_host_names() {
        for (label, expected) in [
            ("demo/alice", "demo-alice"),
            ("Demo Keep/bob_1", "demo-keep-bob-1"),
            ("", "desktop"),
            ("///", "desktop"),
            ("ä", "desktop"),
        ] {
            assert_eq!(host_name(label), expected);
        }
        assert!(host_name(&"x".repeat(300)).len() <= 63);
    }
}
