//! SHA-256 digests of files and of directory trees.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
///
/// Of a file: of its bytes. Of a tree: of one record per entry in name order,
/// holding path, type, mode, owner, group, extended attributes, and content,
/// link target or device number; times are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no digest; use \"sha256:\" and 64 lower-case hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// Of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// What a hasher that was fed elsewhere has come to.
    pub(crate) fn from_sha256(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The first eight hexadecimal digits, for names.
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Of the rest of an open file; with the number of bytes read.
    pub(crate) fn of_reader(reader: &mut impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher(Sha256::new());
        let bytes = io::copy(reader, &mut hasher)?;
        Ok((hasher.digest(), bytes))
    }

    /// Of a tree, by lstat: links are not followed. With the bytes of its regular files.
    pub(crate) fn of_tree(root: &Path) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher(Sha256::new());
        let mut bytes = 0;
        walk(root, Path::new(""), &mut hasher, &mut bytes)?;
        Ok((hasher.digest(), bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refuse = || DigestError(text.chars().take(80).collect());
        let hex = text.strip_prefix("sha256:").ok_or_else(refuse)?;
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if hex.len() != 64 || !hex.as_bytes().iter().all(lower) {
            return Err(refuse());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Self(digest))
    }
}

/// Collects what is to be digested; each variable part is preceded by its length.
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    pub(crate) fn digest(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn walk(root: &Path, inner: &Path, hasher: &mut Hasher, bytes: &mut u64) -> io::Result<()> {
    let path = root.join(inner);
    let meta = fs::symlink_metadata(&path)?;
    hasher.field(inner.as_os_str().as_bytes());
    // The mode carries the file type.
    hasher.number(u64::from(meta.mode()));
    hasher.number(u64::from(meta.uid()));
    hasher.number(u64::from(meta.gid()));
    attributes(&path, hasher)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        let mut names = fs::read_dir(&path)?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        hasher.number(names.len() as u64);
        for name in names {
            walk(root, &inner.join(name), hasher, bytes)?;
        }
    } else if kind.is_symlink() {
        hasher.field(fs::read_link(&path)?.as_os_str().as_bytes());
    } else if kind.is_file() {
        hasher.number(meta.len());
        *bytes += io::copy(&mut File::open(&path)?, hasher)?;
    } else if kind.is_block_device() || kind.is_char_device() {
        hasher.number(meta.rdev());
    }
    Ok(())
}

/// Names and values of the attributes that a root may have, in name order. Those
/// of the machine's own security policy come and go with the place.
fn attributes(path: &Path, hasher: &mut Hasher) -> io::Result<()> {
    let mut list = vec![0; 64 << 10]; // XATTR_LIST_MAX
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let text = list.get(..length).unwrap_or_default();
    let mut names: Vec<&[u8]> =
        text.split(|&byte| byte == 0).filter(|name| is_digested(name)).collect();
    names.sort_unstable();
    hasher.number(names.len() as u64);
    let mut value = vec![0; 64 << 10]; // XATTR_SIZE_MAX
    for name in names {
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        hasher.field(name);
        hasher.field(value.get(..length).unwrap_or_default());
    }
    Ok(())
}

fn is_digested(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_")
        || name == b"security.capability"
}

#[cfg(test)]
mod tests {
    use rustix::fs::XattrFlags;

    use super::*;

    #[test]
    fn a_changed_attribute_is_another_tree() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let plain = Digest::of_tree(dir.path()).unwrap();
        let mut seen = vec![plain.0];
        for value in [b"1", b"2"] {
            match rustix::fs::setxattr(&file, "user.note", value, XattrFlags::empty()) {
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    println!("skipped: no extended attributes here");
                    return;
                }
                other => other.unwrap(),
            }
            let (digest, bytes) = Digest::of_tree(dir.path()).unwrap();
            assert!(!seen.contains(&digest) && bytes == 1);
            seen.push(digest);
        }
        rustix::fs::removexattr(&file, "user.note").unwrap();
        assert_eq!(Digest::of_tree(dir.path()).unwrap(), plain);
    }
}
