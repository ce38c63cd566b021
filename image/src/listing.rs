//! What a store holds, the broken included.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::name::{ImageName, NameError, Tag, VersionId};
use crate::retire::Retirement;
use crate::store::{ImageStore, Published, StoreError, TAGS, VERSIONS, io_error};

/// Everything a store holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// Versions that are sound, by image and age, oldest first.
    pub versions: Vec<Listed>,
    /// What is there and cannot be used.
    pub broken: Vec<Broken>,
}

/// A version and what was decided about it.
#[derive(Debug)]
pub struct Listed {
    /// The version.
    pub published: Published,
    /// In name order.
    pub tags: Vec<Tag>,
    /// Set where nothing new is to start from it.
    pub retired: Option<Retirement>,
}

/// Something in a store that cannot be used.
#[derive(Debug)]
pub struct Broken {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub error: StoreError,
}

// === impl ImageStore ===

impl ImageStore {
    /// Everything there is. What is broken is reported beside what is not.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for entry in names(&self.path).map_err(io_error("list", &self.path))? {
            match parse_name::<ImageName>(&self.path, &entry) {
                Ok(name) => self.list_image(&name, &mut listing),
                Err(broken) => listing.broken.push(broken),
            }
        }
        Ok(listing)
    }

    /// The images there are, in name order.
    pub(crate) fn images(&self) -> Result<Vec<ImageName>, StoreError> {
        let names = names(&self.path).map_err(io_error("list", &self.path))?;
        let path = |name: &ImageName| self.path.join(name).join(VERSIONS);
        let images = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(images.filter(|name| path(name).is_dir()).collect())
    }

    fn list_image(&self, name: &ImageName, listing: &mut Listing) {
        let versions = self.path.join(name).join(VERSIONS);
        let mut found = Vec::new();
        for entry in names_or_broken(&versions, listing) {
            let listed = parse_name::<VersionId>(&versions, &entry).and_then(|version| {
                let path = versions.join(&entry);
                self.version(name, &version)
                    .and_then(|published| Ok((self.retirement(name, &version)?, published)))
                    .map_err(|error| Broken { path, error })
            });
            match listed {
                Ok((retired, published)) => {
                    found.push(Listed { published, tags: Vec::new(), retired });
                }
                Err(broken) => listing.broken.push(broken),
            }
        }
        self.list_tags(name, &mut found, listing);
        found.sort_by(|a, b| {
            let key = |l: &Listed| (l.published.manifest.published_at, l.published.version.clone());
            key(a).cmp(&key(b))
        });
        listing.versions.append(&mut found);
    }

    fn list_tags(&self, name: &ImageName, found: &mut [Listed], listing: &mut Listing) {
        let tags = self.path.join(name).join(TAGS);
        for entry in names_or_broken(&tags, listing) {
            let pointed = parse_name::<Tag>(&tags, &entry).and_then(|tag| {
                let path = tags.join(&entry);
                let version = self
                    .tagged(name, &tag)
                    .map_err(|error| Broken { path: path.clone(), error })?;
                match found.iter_mut().find(|l| l.published.version == version) {
                    Some(listed) => Ok((listed, tag)),
                    None => {
                        Err(Broken { path, error: StoreError::NoVersion(name.clone(), version) })
                    }
                }
            });
            match pointed {
                Ok((listed, tag)) => listed.tags.push(tag),
                Err(broken) => listing.broken.push(broken),
            }
        }
    }
}

/// Names in a directory in order, without those that begin with a dot: locks and half-made things.
fn names(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names =
        fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !name.as_bytes().starts_with(b"."));
    names.sort();
    Ok(names)
}

fn names_or_broken(path: &Path, listing: &mut Listing) -> Vec<OsString> {
    match names(path) {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            listing.broken.push(Broken { path: path.to_owned(), error: io_error("list", path)(e) });
            Vec::new()
        }
    }
}

fn parse_name<N: FromStr<Err = NameError>>(dir: &Path, name: &OsStr) -> Result<N, Broken> {
    name.to_string_lossy().parse().map_err(|source| {
        let path = dir.join(name);
        Broken { path: path.clone(), error: StoreError::Name { path, source } }
    })
}
