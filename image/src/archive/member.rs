//! One member of a tar file, as it is to be put into a tree.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Gid, Mode, Timespec, Uid};
use tar::{Entry, EntryType};

use super::ArchiveError;
use super::sparse;
use super::xattr::Record;
use crate::tree::InnerPath;

/// Longest target of a symbolic link: `PATH_MAX` with its closing zero byte.
const MAX_TARGET_BYTES: usize = 4095;

/// What is known of a member before its data is read.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: InnerPath,
    pub(crate) kind: Kind,
    pub(crate) owner: Owner,
    pub(crate) mode: Mode,
    pub(crate) modified: Timespec,
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
    pub(crate) attributes_skipped: u64,
    pub(crate) sparse: sparse::Header,
}

/// User and group, by number: names mean nothing in another root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) user: Uid,
    pub(crate) group: Gid,
}

#[derive(Debug)]
pub(crate) enum Kind {
    File,
    Directory,
    SymbolicLink(OsString),
    HardLink(InnerPath),
    Fifo,
    Device,
    /// Says something of the archive, not of a file.
    Remark,
}

// === impl Member ===

impl Member {
    pub(crate) fn read<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, ArchiveError> {
        let mut attributes = Vec::new();
        let mut attributes_skipped = 0;
        let mut sparse = sparse::Header::default();
        let mut modified = None;
        if let Some(records) = entry.pax_extensions().map_err(ArchiveError::Read)? {
            for record in records {
                let record = record.map_err(ArchiveError::Read)?;
                let (key, value) = (record.key_bytes(), record.value_bytes());
                sparse.take(key, value);
                if key == b"mtime" {
                    modified = std::str::from_utf8(value).ok().and_then(moment);
                }
                match Record::of(key, value) {
                    Record::Kept(name, value) => attributes.push((name, value)),
                    Record::Skipped => attributes_skipped += 1,
                    Record::Other => {}
                }
            }
        }
        let name = match sparse.name() {
            Some(name) => name.to_vec(),
            None => entry.path_bytes().into_owned(),
        };
        let path = InnerPath::new(&name)?;
        let header = entry.header();
        let bad = |source| ArchiveError::Member {
            verb: "read the header of",
            path: path.to_string(),
            source,
        };
        let owner = Owner {
            user: Uid::from_raw(id(header.uid().map_err(bad)?).ok_or_else(|| bad(too_large()))?),
            group: Gid::from_raw(id(header.gid().map_err(bad)?).ok_or_else(|| bad(too_large()))?),
        };
        let mode = Mode::from_raw_mode(header.mode().map_err(bad)? & 0o7777);
        let seconds = i64::try_from(header.mtime().map_err(bad)?).unwrap_or(0);
        let kind = kind(entry, &path)?;
        Ok(Self {
            path,
            kind,
            owner,
            mode,
            modified: modified.unwrap_or(Timespec { tv_sec: seconds, tv_nsec: 0 }),
            attributes,
            attributes_skipped,
            sparse,
        })
    }
}

fn kind<R: Read>(entry: &Entry<'_, R>, path: &InnerPath) -> Result<Kind, ArchiveError> {
    let refuse = |text: &str| ArchiveError::Member {
        verb: "unpack",
        path: path.to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, text),
    };
    let target = || entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    Ok(match entry.header().entry_type() {
        EntryType::Regular if entry.path_bytes().ends_with(b"/") => Kind::Directory, // before 1988
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = target().unwrap_or_default();
            if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
                return Err(refuse("a link that leads nowhere"));
            }
            Kind::SymbolicLink(OsString::from_vec(target))
        }
        EntryType::Link => Kind::HardLink(InnerPath::new(&target().unwrap_or_default())?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Block | EntryType::Char => Kind::Device,
        EntryType::XGlobalHeader => Kind::Remark,
        other if other.as_byte() == b'V' => Kind::Remark, // a volume's label
        _ => return Err(refuse("it is of an unknown type")),
    })
}

/// A user or group number; the highest means "none" to the kernel.
fn id(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|&id| id != u32::MAX)
}

fn too_large() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "an owner's number beyond 32 bits")
}

/// Seconds with an optional fraction, as PAX writes them. Before 1970 is 1970.
fn moment(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if seconds.starts_with('-') {
        return Some(Timespec { tv_sec: 0, tv_nsec: 0 });
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timespec { tv_sec: seconds.parse().ok()?, tv_nsec: nine.parse::<u32>().ok()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_fractions_or_not() {
        let parts = |text| moment(text).map(|m| (m.tv_sec, m.tv_nsec));
        assert_eq!(parts("12"), Some((12, 0)));
        assert_eq!(parts("12.5"), Some((12, 500_000_000)));
        assert_eq!(parts("12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(parts("-3.5"), Some((0, 0)));
        assert_eq!(parts("x"), None);
        assert_eq!(parts("1.x"), None);
    }

    #[test]
    fn the_highest_number_is_nobody() {
        assert_eq!(id(0), Some(0));
        assert_eq!(id(u64::from(u32::MAX) - 1), Some(u32::MAX - 1));
        assert_eq!(id(u64::from(u32::MAX)), None);
        assert_eq!(id(1 << 40), None);
    }
}
