//! Files of a container image, and their digests.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::OFlags;
use sha2::Digest as _;

use super::OciError;
use crate::digest::Digest;
use crate::inside;
use crate::tree::Tree;

/// Largest document (index, manifest, configuration) read.
const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// A file and what it must be.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) path: String,
    /// Unknown for layers of older `docker save` archives.
    digest: Option<Digest>,
    size: Option<u64>,
}

// === impl Blob ===

impl Blob {
    /// As a descriptor of an OCI layout names it.
    pub(super) fn described(digest: &str, size: u64) -> Result<Self, OciError> {
        let digest = self::digest("a descriptor", digest)?;
        let text = digest.to_string();
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        Ok(Self { path: format!("blobs/sha256/{hex}"), digest: Some(digest), size: Some(size) })
    }

    /// By its path; the digest where the name is one.
    pub(super) fn named(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        let digest = format!("sha256:{name}").parse().ok();
        Self { path: path.to_owned(), digest, size: None }
    }

    pub(super) fn open(&self, tree: &Tree) -> Result<File, OciError> {
        open(tree, &self.path)
    }

    /// Its text, after it has been verified.
    pub(super) fn document(&self, tree: &Tree) -> Result<String, OciError> {
        let text = document(tree, &self.path)?;
        self.check(&Digest::of_bytes(text.as_bytes()), text.len() as u64)?;
        Ok(text)
    }

    pub(super) fn check(&self, digest: &Digest, bytes: u64) -> Result<(), OciError> {
        if let Some(size) = self.size.filter(|&size| size != bytes) {
            return Err(OciError::Damaged {
                path: self.path.clone(),
                expected: format!("{size} bytes"),
                found: format!("{bytes} bytes"),
            });
        }
        match &self.digest {
            Some(expected) => compare(&self.path, "file", expected, digest),
            None => Ok(()),
        }
    }
}

pub(super) fn compare(
    path: &str,
    what: &str,
    expected: &Digest,
    found: &Digest,
) -> Result<(), OciError> {
    if expected == found {
        return Ok(());
    }
    Err(OciError::Damaged {
        path: path.to_owned(),
        expected: format!("{what} {expected}"),
        found: found.to_string(),
    })
}

pub(super) fn digest(place: &str, text: &str) -> Result<Digest, OciError> {
    text.parse().map_err(|source| OciError::Digest { path: place.to_owned(), source })
}

pub(super) fn has(tree: &Tree, path: &str) -> Result<bool, OciError> {
    tree.has(path).map_err(|source| OciError::Read { path: path.to_owned(), source })
}

/// A small text file of the image.
pub(super) fn document(tree: &Tree, path: &str) -> Result<String, OciError> {
    let failed = |source| OciError::Read { path: path.to_owned(), source };
    tree.read_text(path, MAX_DOCUMENT_BYTES)
        .map_err(failed)?
        .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn open(tree: &Tree, path: &str) -> Result<File, OciError> {
    let failed = |source| OciError::Read { path: path.to_owned(), source };
    let file = inside::open_in_root(tree.root(), path, OFlags::RDONLY | OFlags::NONBLOCK)
        .map_err(failed)?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok(file)
}

/// A reader that digests what passes.
pub(super) struct Digesting<R> {
    inner: R,
    hasher: sha2::Sha256,
    bytes: u64,
}

impl<R> Digesting<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of all that has passed.
    pub(super) fn digest(self) -> Digest {
        Digest::from_sha256(self.hasher)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }
}
