//! Moving all owners of a tree up, so that a user namespace that begins there
//! sees them as they were.
//!
//! For trees on storage that the kernel cannot ID-map: directories on NFS.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::inside;
use crate::tree::{InnerPath, Place, Tree};

/// How many ids one desktop has: what its user namespace maps.
const IDS: u32 = 65_536;
const CAPABILITY: &str = "security.capability";
/// `VFS_CAP_REVISION_2` and `_3` of linux/capability.h, and the bit that goes with either.
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const EFFECTIVE: u32 = 1;
const REVISION_2_BYTES: usize = 20;

/// The first of the 65,536 ids that a tree's owners are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirstId(u32);

/// An id at which no range can begin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no first id; use a number from 65536 to 4294901758")]
pub struct FirstIdError(String);

/// Why the owners of a tree could not be moved.
#[derive(Debug, Error)]
pub enum ShiftError {
    /// Something belongs to an id that no desktop has.
    #[error("{path} belongs to {id}; a desktop has the ids below 65536 only")]
    Range {
        /// Inside the tree.
        path: String,
        /// User or group.
        id: u32,
    },
    /// A call failed.
    #[error("cannot {verb} {path} of {root}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Inside the tree.
        path: String,
        /// The tree.
        root: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

// === impl FirstId ===

impl FirstId {
    /// Checks a number: the range must not be the host's own, and end before
    /// the two highest ids, which are special.
    pub fn new(first: u32) -> Option<Self> {
        (IDS..=u32::MAX - 1 - IDS).contains(&first).then_some(Self(first))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for FirstId {
    type Err = FirstIdError;

    fn from_str(text: &str) -> Result<Self, FirstIdError> {
        let refuse = || FirstIdError(text.chars().take(20).collect());
        text.parse().ok().and_then(Self::new).ok_or_else(refuse)
    }
}

impl fmt::Display for FirstId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Moves the owners of all that is in the tree at `root`, which must not have
/// been moved before: modes, set-id bits and file capabilities stay.
pub(crate) fn shift(root: &Path, first: FirstId) -> Result<(), ShiftError> {
    let failed = |verb, path: &InnerPath| {
        let path = path.to_string();
        move |source| ShiftError::Io { verb, path, root: root.to_owned(), source }
    };
    let top = InnerPath::fixed("");
    let tree = Tree::open(root).map_err(failed("open", &top))?;
    let stat = rustix::fs::fstat(tree.root()).map_err(|e| failed("examine", &top)(e.into()))?;
    let (user, group) = moved(&stat, &top, first)?;
    dress(tree.root(), &stat, user, group, None).map_err(failed("move", &top))?;
    // Files of several names, which are met more than once.
    let mut linked = HashSet::new();
    // A stack of our own: each step opens by path, so nothing is held on the way down.
    let mut directories = vec![top];
    while let Some(dir) = directories.pop() {
        let names = match dir.is_root() {
            true => tree.root_names(),
            false => tree.names(&dir),
        };
        for name in names.map_err(failed("list", &dir))? {
            let path = dir.join(name);
            let place = tree.place(&path).map_err(failed("open", &path))?;
            let Some(stat) = place.stat().map_err(failed("examine", &path))? else { continue };
            let is_dir = inside::file_type(&stat) == FileType::Directory;
            if !is_dir && stat.st_nlink > 1 && !linked.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            let (user, group) = moved(&stat, &path, first)?;
            match inside::file_type(&stat) {
                FileType::Directory | FileType::RegularFile => {
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                    let file = place.open(flags).map_err(failed("open", &path))?;
                    let capable = (!is_dir).then_some(first);
                    dress(&file, &stat, user, group, capable).map_err(failed("move", &path))?;
                    if is_dir {
                        directories.push(path);
                    }
                }
                kind => move_unopened(&place, kind, &stat, user, group)
                    .map_err(|e| failed("move", &path)(e.into()))?,
            }
        }
    }
    Ok(())
}

fn moved(stat: &Stat, path: &InnerPath, first: FirstId) -> Result<(Uid, Gid), ShiftError> {
    for id in [stat.st_uid, stat.st_gid] {
        if id >= IDS {
            return Err(ShiftError::Range { path: path.to_string(), id });
        }
    }
    Ok((Uid::from_raw(first.get() + stat.st_uid), Gid::from_raw(first.get() + stat.st_gid)))
}

/// The change of owner takes set-id bits and capabilities away: they are put back after it.
fn dress(
    file: impl AsFd,
    stat: &Stat,
    user: Uid,
    group: Gid,
    first: Option<FirstId>,
) -> io::Result<()> {
    let capability = match first {
        Some(first) => capability(&file)?.map(|value| rooted(&value, first)),
        None => None,
    };
    rustix::fs::fchown(&file, Some(user), Some(group))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    if let Some(value) = capability {
        rustix::fs::fsetxattr(&file, CAPABILITY, &value, XattrFlags::empty())?;
    }
    Ok(())
}

fn move_unopened(
    place: &Place<'_>,
    kind: FileType,
    stat: &Stat,
    user: Uid,
    group: Gid,
) -> Result<(), Errno> {
    let (dir, name) = (&place.dir, place.name);
    rustix::fs::chownat(dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind == FileType::Symlink {
        return Ok(());
    }
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())
}

fn capability(file: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 64];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Capabilities of revision 2 count for the host's root only. Revision 3 names
/// the root of the user namespace for which they are meant.
fn rooted(value: &[u8], first: FirstId) -> Vec<u8> {
    let magic = value.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if value.len() != REVISION_2_BYTES || magic & !EFFECTIVE != REVISION_2 {
        return value.to_vec();
    }
    let magic = REVISION_3 | (magic & EFFECTIVE);
    [&magic.to_le_bytes(), value.get(4..).unwrap_or_default(), &first.get().to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    const RANGE: FirstId = FirstId(131_072);
    /// cap_net_raw=ep in revision 2.
    const RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn ranges_are_nobody_elses() {
        for (text, good) in [
            ("65536", true),
            ("100000", true),
            ("4294901758", true),
            ("4294901759", false),
            ("65535", false),
            ("0", false),
            ("-1", false),
            ("4294967296", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<FirstId>().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn owners_move_and_all_else_stays() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("home/user")).unwrap();
        chown(root.join("home/user"), Some(1000), Some(1001)).unwrap();
        fs::write(root.join("su"), "x").unwrap();
        fs::set_permissions(root.join("su"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(root.join("su"), root.join("also-su")).unwrap();
        fs::write(root.join("ping"), "x").unwrap();
        rustix::fs::setxattr(root.join("ping"), CAPABILITY, &RAW, XattrFlags::empty()).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let passwd = fs::metadata("/etc/passwd").unwrap();
        shift(root, RANGE).unwrap();
        let owner = |path: &str| {
            let meta = fs::symlink_metadata(root.join(path)).unwrap();
            (meta.uid(), meta.gid())
        };
        assert_eq!(owner(""), (131_072, 131_072));
        assert_eq!(owner("home/user"), (132_072, 132_073));
        for path in ["su", "also-su", "link", "home"] {
            assert_eq!(owner(path), (131_072, 131_072), "{path}");
        }
        assert_eq!(fs::metadata(root.join("su")).unwrap().mode() & 0o7777, 0o4755);
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(root.join("ping"), CAPABILITY, &mut value[..]).unwrap();
        // The kernel shows revision 3 to whoever is not of that namespace.
        assert_eq!(length, 24);
        assert_eq!(value[20..24], 131_072_u32.to_le_bytes());
        assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), passwd.uid());
    }

    #[test]
    fn an_owner_beyond_the_range_is_named() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("odd"), "").unwrap();
        chown(dir.path().join("odd"), Some(70_000), None).unwrap();
        let error = shift(dir.path(), RANGE).unwrap_err().to_string();
        assert_eq!(error, "/odd belongs to 70000; a desktop has the ids below 65536 only");
    }

    #[test]
    fn only_revision_two_is_rewritten() {
        let rooted_raw = rooted(&RAW, RANGE);
        assert_eq!(rooted_raw[..4], [1, 0, 0, 3]);
        assert_eq!(rooted_raw[4..20], RAW[4..20]);
        assert_eq!(rooted(b"odd", RANGE), b"odd");
        assert_eq!(rooted(&rooted_raw, RANGE), rooted_raw);
    }
}
