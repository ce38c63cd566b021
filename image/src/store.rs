//! Where published versions are kept.
//!
//! ```text
//! STORE/NAME/versions/VERSION/manifest.toml
//!                            /root.erofs, or root/
//! STORE/NAME/tags/TAG -> ../versions/VERSION
//! STORE/NAME/retired/VERSION     when and why
//! STORE/.hosts/HOST/NAME@VERSION since when that host uses it
//! STORE/NAME/.lock          held while something is published or tagged
//! ```
//!
//! The store's own path is trusted; everything below it is looked at without
//! following a link, so a version made by somebody else cannot point outside.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use thiserror::Error;

use crate::digest::Digest;
use crate::fields::DocumentError;
use crate::inside;
use crate::manifest::{Manifest, RootKind};
use crate::name::{ImageName, ImageRef, Selector, Tag, VersionId};

pub(crate) const VERSIONS: &str = "versions";
pub(crate) const TAGS: &str = "tags";
pub(crate) const MANIFEST: &str = "manifest.toml";
/// Largest manifest read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// A directory of published versions.
#[derive(Debug)]
pub struct ImageStore {
    pub(crate) path: PathBuf,
    pub(crate) dir: OwnedFd,
}

/// A version that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The image.
    pub name: ImageName,
    /// The version.
    pub version: VersionId,
    /// What is known about it.
    pub manifest: Manifest,
    /// Where its files are.
    pub root: Root,
}

/// Where the files of a version are, by absolute or store-relative host path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// An EROFS file.
    Erofs(PathBuf),
    /// A directory tree.
    Directory(PathBuf),
}

impl Root {
    /// The path of either.
    pub fn path(&self) -> &Path {
        match self {
            Self::Erofs(path) | Self::Directory(path) => path,
        }
    }
}

/// Why a store could not give what was asked of it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {verb} {path}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// No image of that name.
    #[error("there is no image {0}")]
    NoImage(ImageName),
    /// The image has no such tag.
    #[error("image {0} has no tag {1}")]
    NoTag(ImageName, Tag),
    /// The image has no such version.
    #[error("image {0} has no version {1}")]
    NoVersion(ImageName, VersionId),
    /// The version is not to be started any more.
    #[error(
        "version {1} of image {0} is retired; use a newer one, or take it back with `rolltop image retire --undo`"
    )]
    Retired(ImageName, VersionId),
    /// Tags point at a version that is to go.
    #[error(
        "version {version} of image {name} has the tags {}; let them point elsewhere with \
         `rolltop image tag`, or remove them with `rolltop image untag`",
        tag_list(tags)
    )]
    Tagged {
        /// The image.
        name: ImageName,
        /// The version.
        version: VersionId,
        /// What points at it.
        tags: Vec<Tag>,
    },
    /// Somebody uses a version that is to go.
    #[error("version {version} of image {name} is in use by {}", users.join(", "))]
    InUse {
        /// The image.
        name: ImageName,
        /// The version.
        version: VersionId,
        /// Who uses it.
        users: Vec<String>,
    },
    /// A tag that is not a link to a version next to it.
    #[error("tag {path} does not point at a version of its image but at {target:?}")]
    BadTag {
        /// The tag.
        path: PathBuf,
        /// Where it points.
        target: String,
    },
    /// A manifest with faults.
    #[error("{path}: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Every fault in it.
        source: DocumentError,
    },
    /// A manifest of another image.
    #[error("{path} is the manifest of image {found}, not of {expected}")]
    WrongName {
        /// The manifest.
        path: PathBuf,
        /// The image it speaks of.
        found: ImageName,
        /// The image it lies under.
        expected: ImageName,
    },
    /// A root of another form or size than its manifest says.
    #[error("{path} is not what its manifest says: expected {expected}, found {found}")]
    WrongRoot {
        /// The root.
        path: PathBuf,
        /// By the manifest.
        expected: String,
        /// In truth.
        found: String,
    },
    /// A file name that is no name of that kind.
    #[error("{path}: {source}")]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with its name.
        source: crate::name::NameError,
    },
}

fn tag_list(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ")
}

pub(crate) fn io_error(
    verb: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.into();
    move |source| StoreError::Io { verb, path, source }
}

// === impl ImageStore ===

impl ImageStore {
    /// Opens a store that is there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = dir.into();
        let dir = inside::open_dir(&path).map_err(io_error("open the image store", &path))?;
        Ok(Self { path, dir })
    }

    /// Opens a store, made first if it is missing.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = dir.into();
        // Looked for first: an NFS client does not ask the server whether a
        // directory is there before it refuses to make it on a read-only mount.
        if !path.is_dir() {
            fs::create_dir_all(&path).map_err(io_error("make the image store", &path))?;
        }
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version to start for a reference now; not a retired one. Cheap: reads
    /// one link, one manifest and the root's size.
    pub fn resolve(&self, image: &ImageRef) -> Result<Published, StoreError> {
        let found = self.find(image)?;
        match self.retirement(&found.name, &found.version)? {
            None => Ok(found),
            Some(_) => Err(StoreError::Retired(found.name, found.version)),
        }
    }

    /// The version a reference means now, retired or not.
    pub fn find(&self, image: &ImageRef) -> Result<Published, StoreError> {
        match &image.selector {
            Selector::Version(version) => self.version(&image.name, version),
            Selector::Tag(tag) => self.version(&image.name, &self.tagged(&image.name, tag)?),
        }
    }

    /// The newest version built from the recipe of this digest.
    pub fn find_by_recipe(&self, digest: &Digest) -> Result<Option<Published>, StoreError> {
        let of_recipe = |p: &Published| p.manifest.recipe_digest.as_ref() == Some(digest);
        let found = self.list()?.versions.into_iter().map(|v| v.published).filter(of_recipe);
        Ok(found.max_by_key(|p| p.manifest.published_at))
    }

    /// Reads the whole root of a version and compares it with its digest.
    pub fn verify(&self, published: &Published) -> Result<(), StoreError> {
        let path = published.root.path();
        let read = match &published.root {
            Root::Erofs(path) => {
                fs::File::open(path).and_then(|mut file| Digest::of_reader(&mut file))
            }
            Root::Directory(path) => Digest::of_tree(path),
        };
        let (digest, size_bytes) = read.map_err(io_error("read", path))?;
        let manifest = &published.manifest;
        if (digest, size_bytes) == (manifest.digest, manifest.size_bytes) {
            return Ok(());
        }
        Err(StoreError::WrongRoot {
            path: path.to_owned(),
            expected: format!("{} of {} bytes", manifest.digest, manifest.size_bytes),
            found: format!("{digest} of {size_bytes} bytes"),
        })
    }

    /// Where a tag points.
    pub(crate) fn tagged(&self, name: &ImageName, tag: &Tag) -> Result<VersionId, StoreError> {
        let inner = Path::new(name.as_str()).join(TAGS);
        let path = self.path.join(&inner).join(tag);
        let no_tag = || match self.has_image(name) {
            true => StoreError::NoTag(name.clone(), tag.clone()),
            false => StoreError::NoImage(name.clone()),
        };
        let tags = match inside::open_beneath(&self.dir, &inner, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(tags) => tags,
            Err(e) if inside::is_absent(&e) => return Err(no_tag()),
            Err(e) => return Err(io_error("open", self.path.join(&inner))(e)),
        };
        let target = match rustix::fs::readlinkat(&tags, tag.as_str(), Vec::new()) {
            Ok(target) => target,
            Err(rustix::io::Errno::NOENT) => return Err(no_tag()),
            Err(e) => return Err(io_error("read the link", path)(e.into())),
        };
        let text = String::from_utf8_lossy(target.as_bytes()).into_owned();
        text.strip_prefix("../versions/")
            .and_then(|version| version.parse().ok())
            .ok_or(StoreError::BadTag { path, target: text })
    }

    fn has_image(&self, name: &ImageName) -> bool {
        inside::open_beneath(&self.dir, name, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Reads one version and checks that its root is what the manifest says.
    pub(crate) fn version(
        &self,
        name: &ImageName,
        version: &VersionId,
    ) -> Result<Published, StoreError> {
        let inner = Path::new(name.as_str()).join(VERSIONS).join(version);
        let path = self.path.join(&inner);
        let dir = match inside::open_beneath(&self.dir, &inner, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(e) if inside::is_absent(&e) && !self.has_image(name) => {
                return Err(StoreError::NoImage(name.clone()));
            }
            Err(e) if inside::is_absent(&e) => {
                return Err(StoreError::NoVersion(name.clone(), version.clone()));
            }
            Err(e) => return Err(io_error("open", path)(e)),
        };
        let manifest = read_manifest(&dir, &path)?;
        if manifest.name != *name {
            let path = path.join(MANIFEST);
            return Err(StoreError::WrongName {
                path,
                found: manifest.name,
                expected: name.clone(),
            });
        }
        let root = check_root(&dir, &path, &manifest)?;
        Ok(Published { name: name.clone(), version: version.clone(), manifest, root })
    }
}

fn read_manifest(dir: &OwnedFd, path: &Path) -> Result<Manifest, StoreError> {
    let path = path.join(MANIFEST);
    // Non-blocking: a FIFO in its place must not hang the reader.
    let text = inside::open_beneath(dir, MANIFEST, OFlags::RDONLY | OFlags::NONBLOCK)
        .and_then(|file| inside::read_text(file, MAX_MANIFEST_BYTES))
        .map_err(io_error("read", &path))?;
    Manifest::parse(&text).map_err(|source| StoreError::Manifest { path, source })
}

fn check_root(dir: &OwnedFd, path: &Path, manifest: &Manifest) -> Result<Root, StoreError> {
    let path = path.join(manifest.root.file_name());
    let file = inside::open_beneath(dir, manifest.root.file_name(), OFlags::PATH)
        .map_err(io_error("open", &path))?;
    let stat = rustix::fs::fstat(&file).map_err(|e| io_error("examine", &path)(e.into()))?;
    let wrong = |expected: String, found: String| StoreError::WrongRoot {
        path: path.clone(),
        expected,
        found,
    };
    match (manifest.root, inside::file_type(&stat)) {
        (RootKind::Directory, FileType::Directory) => Ok(Root::Directory(path)),
        (RootKind::Erofs, FileType::RegularFile) => {
            if u64::try_from(stat.st_size) == Ok(manifest.size_bytes) {
                return Ok(Root::Erofs(path));
            }
            Err(wrong(format!("{} bytes", manifest.size_bytes), format!("{} bytes", stat.st_size)))
        }
        (RootKind::Directory, other) => Err(wrong("a directory".to_owned(), format!("{other:?}"))),
        (RootKind::Erofs, other) => Err(wrong("a regular file".to_owned(), format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests;
