//! The home beside the overlay: a volume of its own, or a directory of the
//! host. Either is mounted in the desktop's own directory, and bound into the
//! container from there.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rolltop_overlay::{
    OpenError, OverlayKind, OverlaySize, Overlays, StoreError, VolumePlan, open_volume,
};
use rolltop_sys::{
    mount_attr::{MountChange, change_mount},
    user_namespace::{UserNamespaceError, namespace_of_one},
};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, fstat, open, openat2},
    mount::{
        MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree,
    },
};
use thiserror::Error;

use crate::{
    host::Host,
    paths::DesktopPaths,
    request::{Account, Home},
    storage::{Ids, UnmappedHomes},
};

/// Below the desktop's home directory; what closes a volume closes this too.
const POINT: &str = "disk";

/// A home that was looked for.
#[derive(Debug)]
pub(super) enum Found {
    /// A volume; made if it is missing.
    Volume(Arc<Overlays>, OverlayKind, OverlaySize),
    /// A directory that is there.
    Directory(OwnedFd, PathBuf),
}

/// Why a desktop has no home.
#[derive(Debug, Error)]
pub(super) enum HomeError {
    #[error("homes may not lie in {}: homes.parents of this host's agent does not name it", .0.display())]
    NotAllowed(PathBuf),
    #[error(
        "the home {} is not there; make it, and give it to the user: `install -d -m 700 -o {uid} -g {uid} {}`",
        path.display(), path.display()
    )]
    Missing { path: PathBuf, uid: u32 },
    #[error("the home {} belongs to uid {owner}, and the user has {uid} in every desktop", path.display())]
    WrongOwner { path: PathBuf, owner: u32, uid: u32 },
    #[error("the home {} cannot be used: it is a link, or no directory", .0.display())]
    NoDirectory(PathBuf),
    #[error("the home {} did not answer within {seconds} s; is its server there?", path.display())]
    Silent { path: PathBuf, seconds: u64 },
    #[error(
        "the file system of {} cannot map ids, as NFS cannot, and {reason}; use home volumes, or a \
         local directory",
        path.display()
    )]
    NotMapped { path: PathBuf, reason: &'static str },
    #[error("the home volume cannot be made")]
    Store(#[from] StoreError),
    #[error("the home volume cannot be opened")]
    Volume(#[from] OpenError),
    #[error("the names in the request cannot be used")]
    Names,
    #[error("cannot map the ids of the home")]
    Map(#[from] UserNamespaceError),
    #[error("cannot {verb} the home {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

// === impl HomeError ===

impl HomeError {
    /// Stable word for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed(_) => "HOME_NOT_ALLOWED",
            Self::Missing { .. } => "HOME_MISSING",
            Self::WrongOwner { .. } => "HOME_WRONG_OWNER",
            Self::Silent { .. } => "HOME_SILENT",
            Self::NotMapped { .. } => "HOME_NOT_MAPPED",
            Self::Store(StoreError::LargerThanDisk { .. }) => "HOME_TOO_LARGE",
            Self::Volume(OpenError::InUse(_)) => "HOME_IN_USE",
            Self::Volume(OpenError::Damaged(_)) => "HOME_DAMAGED",
            Self::NoDirectory(_)
            | Self::Store(_)
            | Self::Volume(_)
            | Self::Names
            | Self::Map(_)
            | Self::Io { .. } => "HOME_FAILED",
        }
    }
}

/// The directory of the host that `home` names, if it names one.
pub(super) fn directory(home: &Home) -> Option<PathBuf> {
    match home {
        Home::Volume { .. } => None,
        Home::Directory { parent, name } => Some(parent.join(name)),
    }
}

/// The volume that `home` names, if it names one.
pub(super) fn volume(home: &Home) -> Result<Option<(OverlayKind, OverlaySize)>, HomeError> {
    let Home::Volume { size_mib, .. } = home else { return Ok(None) };
    let kind = home.volume().ok().flatten().ok_or(HomeError::Names)?;
    let size = OverlaySize::from_mib(*size_mib).map_err(|_| HomeError::Names)?;
    Ok(Some((kind, size)))
}

/// Looks for the directory that is a home, without mounting anything. Blocking;
/// if its server does not answer, for as long as that takes.
pub(super) fn find(
    parents: &[PathBuf],
    home: &Home,
    account: &Account,
) -> Result<Found, HomeError> {
    let Home::Directory { parent, name } = home else { return Err(HomeError::Names) };
    if !parents.contains(parent) {
        return Err(HomeError::NotAllowed(parent.clone()));
    }
    let path = parent.join(name);
    let failed = |verb, error: rustix::io::Errno| HomeError::Io {
        verb,
        path: path.clone(),
        source: error.into(),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = open(parent, flags, Mode::empty()).map_err(|error| failed("find", error))?;
    // Whoever may write there must not lead us elsewhere.
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(&above, name.as_str(), flags | OFlags::NOFOLLOW, Mode::empty(), within);
    let found = found.map_err(|error| match error {
        rustix::io::Errno::NOENT => HomeError::Missing { path: path.clone(), uid: account.uid },
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => HomeError::NoDirectory(path.clone()),
        error => failed("open", error),
    })?;
    let owner = fstat(&found).map_err(|error| failed("look at", error))?.st_uid;
    if owner != account.uid {
        return Err(HomeError::WrongOwner { path, owner, uid: account.uid });
    }
    Ok(Found::Directory(found, path))
}

/// Mounts a home; the directory that is to be bound into the container, and the
/// ids the desktop must have with it. What a failure leaves half-made is taken
/// away by `release`.
pub(super) fn mount(
    host: &Host,
    found: &Found,
    account: &Account,
    paths: &DesktopPaths,
    ids: Ids,
) -> Result<(PathBuf, Ids), HomeError> {
    match found {
        Found::Volume(overlays, kind, size) => {
            let volume = overlays.create(kind, *size)?;
            let mount_dir = paths.home();
            let plan = VolumePlan { volume: &volume, mount_dir: &mount_dir, id_map: ids.map() };
            Ok((open_volume(&plan)?.data, ids))
        }
        Found::Directory(directory, path) => {
            let allowed = host.config.unmapped_homes;
            mount_directory(directory, path, account, paths, ids, allowed)
        }
    }
}

/// Only the user's own id is mapped: nobody in the desktop, its root least of
/// all, makes files that belong to others of the host, or set-uid ones. Where
/// the file system maps no ids, the user's is the same in the desktop and on the
/// host instead; what others may do there, its server says.
fn mount_directory(
    directory: &OwnedFd,
    path: &Path,
    account: &Account,
    paths: &DesktopPaths,
    mut ids: Ids,
    allowed: UnmappedHomes,
) -> Result<(PathBuf, Ids), HomeError> {
    let failed = |verb| {
        let path = path.to_owned();
        move |source: io::Error| HomeError::Io { verb, path, source }
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount =
        open_tree(directory, c"", flags).map_err(|e| failed("copy the mount of")(e.into()))?;
    let outer = ids.first.checked_add(account.uid).ok_or(HomeError::Names)?;
    let namespace = namespace_of_one(account.uid, outer)?;
    let mut change = MountChange {
        set: Some(MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV),
        propagation: Some(MountPropagationFlags::PRIVATE),
        id_map: Some(namespace.as_fd()),
        ..MountChange::default()
    };
    let mut mapped = change_mount(mount.as_fd(), &change);
    let is_refused = |error: &io::Error| error.raw_os_error() == Some(nix::libc::EINVAL);
    if mapped.as_ref().is_err_and(is_refused) {
        let path = path.to_owned();
        ids = ids
            .keep(account.uid, allowed)
            .map_err(|reason| HomeError::NotMapped { path, reason })?;
        change.id_map = None;
        mapped = change_mount(mount.as_fd(), &change);
    }
    mapped.map_err(failed("map the ids of"))?;
    let point = paths.home().join(POINT);
    for dir in [&paths.home(), &point] {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed("make a mount point for"))?,
        }
    }
    move_mount(&mount, c"", rustix::fs::CWD, &point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|e| failed("mount")(e.into()))?;
    Ok((point, ids))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn account(uid: u32) -> Account {
        Account { name: "anna".into(), uid, full_name: String::new() }
    }

    fn code(parents: &[PathBuf], parent: &Path, name: &str, uid: u32) -> &'static str {
        let home = Home::Directory { parent: parent.into(), name: name.into() };
        find(parents, &home, &account(uid)).map_or_else(|error| error.code(), |_| "found")
    }

    #[test]
    fn a_directory_is_found_where_it_may_be_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let homes = dir.path().join("homes");
        fs::create_dir_all(homes.join("anna")).unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        symlink("../secret", homes.join("link")).unwrap();
        symlink("anna", homes.join("inner")).unwrap();
        fs::write(homes.join("file"), "").unwrap();
        let uid = homes.metadata().unwrap().uid();
        let allowed = std::slice::from_ref(&homes);
        assert_eq!(code(allowed, &homes, "anna", uid), "found");
        assert_eq!(code(&[], &homes, "anna", uid), "HOME_NOT_ALLOWED");
        assert_eq!(code(allowed, dir.path(), "secret", uid), "HOME_NOT_ALLOWED");
        for name in ["link", "inner", "file"] {
            assert_eq!(code(allowed, &homes, name, uid), "HOME_FAILED", "{name}");
        }
        for name in ["..", "../secret", "/etc"] {
            assert_ne!(code(allowed, &homes, name, uid), "found", "{name}");
        }
        assert_eq!(code(allowed, &homes, "ben", uid), "HOME_MISSING");
        assert_eq!(code(allowed, &homes, "anna", uid + 1), "HOME_WRONG_OWNER");
    }
}
