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
/// holding path, type, mode, owner, group, and content, link target or device
/// number; times are left out.
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
