//! Recipes: how the root of an image is made.
//!
//! A recipe is a directory with `recipe.toml` and, if wanted, a tree `files/`
//! that is laid over the installed packages.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::desktop::DesktopSpec;
use crate::digest::{Digest, Hasher};
use crate::fields::{DocumentError, Faults, Section, text, texts};
use crate::manifest::{read_description, read_format, read_name};
use crate::name::{ImageName, ImageRef};
use crate::publish::ManifestInput;
use crate::spec::read_keep_services;
use crate::store::{ImageStore, StoreError};

const RECIPE: &str = "recipe.toml";
const FILES: &str = "files";
/// Part of every recipe's digest: raise it when the builder makes another root of the same recipe.
const BUILDER_GENERATION: u64 = 2;

/// How the root of an image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The recipe's own directory.
    pub dir: PathBuf,
    /// The image made.
    pub name: ImageName,
    /// One line for people.
    pub description: String,
    /// What it begins with.
    pub origin: Origin,
    /// Lines of `sources.list` to install from; none: those of this machine.
    pub sources: Vec<String>,
    /// Packages besides the minimal system, without what they recommend.
    pub packages: Vec<String>,
    /// Lines of `apt.conf`.
    pub apt_options: Vec<String>,
    /// Lines of `dpkg.cfg`.
    pub dpkg_options: Vec<String>,
    /// Run by `sh -e` in the root, after `files/` was copied in.
    pub commands: Vec<String>,
    /// Services that are not to be masked, though they make no sense in most containers.
    pub keep_services: Vec<String>,
    /// How a desktop of it is brought up.
    pub desktop: DesktopSpec,
}

/// What a root begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The minimal system of a Debian suite, such as `bookworm`.
    Suite(String),
    /// A copy of a published version of another image.
    Image(ImageRef),
}

/// One thing below `files/`, in the order in which it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Path from `files/`, and so from the root.
    pub(crate) path: PathBuf,
    pub(crate) kind: ExtraKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExtraKind {
    Directory,
    Link(PathBuf),
    File { executable: bool },
}

/// Why a recipe cannot be used.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// A file operation failed.
    #[error("cannot read {path}")]
    Read {
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Faults in `recipe.toml`.
    #[error("{path}: {source}")]
    Document {
        /// The file.
        path: PathBuf,
        /// Every fault in it.
        source: DocumentError,
    },
    /// It builds upon another image, and no store was given.
    #[error("the recipe builds upon another image: name the store it is in")]
    NoStore,
    /// The image it builds upon is not to be had.
    #[error("the recipe's `from`: {0}")]
    From(Box<StoreError>),
    /// Something below `files/` that is no file, directory or link.
    #[error("{0} is neither a file nor a directory nor a link")]
    Special(PathBuf),
}

fn read_error(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RecipeError {
    let path = path.into();
    move |source| RecipeError::Read { path, source }
}

// === impl Recipe ===

impl Recipe {
    /// Reads the recipe in a directory; every fault in it is reported.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, RecipeError> {
        let dir = dir.into();
        let path = dir.join(RECIPE);
        let document = fs::read_to_string(&path).map_err(read_error(&path))?;
        Self::parse(dir, &document).map_err(|source| RecipeError::Document { path, source })
    }

    fn parse(dir: PathBuf, document: &str) -> Result<Self, DocumentError> {
        let faults = Faults::default();
        let mut top = Section::document(document, &faults)?;
        read_format(&mut top);
        let name = read_name(&mut top);
        let description = read_description(&mut top);
        let origin = read_origin(&mut top);
        let expected = "a list of package names";
        let packages = top.required("packages", expected, |v| texts(v, expected, is_package));
        let sources = top.optional("sources", |v| texts(v, SOURCES, is_source)).unwrap_or_default();
        let mut lines = |key, expected: &str| {
            top.optional(key, |v| texts(v, expected, is_line)).unwrap_or_default()
        };
        let apt_options = lines("apt_options", "a list of apt.conf lines");
        let dpkg_options = lines("dpkg_options", "a list of dpkg.cfg lines");
        let expected = "a list of shell commands";
        let commands =
            top.optional("commands", |v| texts(v, expected, is_command)).unwrap_or_default();
        let keep_services = read_keep_services(&mut top);
        let desktop = DesktopSpec::read(&mut top);
        top.finish();

        match (name, description, origin, packages, desktop) {
            (Some(name), Some(description), Some(origin), Some(packages), Some(desktop))
                if faults.is_empty() =>
            {
                Ok(Self {
                    dir,
                    name,
                    description,
                    origin,
                    sources,
                    packages,
                    apt_options,
                    dpkg_options,
                    commands,
                    keep_services,
                    desktop,
                })
            }
            _ => Err(faults.into_error()),
        }
    }

    /// What stands for this recipe in a manifest: it changes with everything
    /// that is written in the recipe and below `files/`, and not with times,
    /// owners, or what the package mirror offers today. Where the recipe builds
    /// upon another image, it changes with that image's root.
    ///
    /// # Errors
    /// A file cannot be read, or the image it builds upon is not in `store`.
    pub fn digest(&self, store: Option<&ImageStore>) -> Result<Digest, RecipeError> {
        let mut hasher = Hasher::new();
        hasher.number(BUILDER_GENERATION);
        if let Origin::Image(from) = &self.origin {
            // The tag may point elsewhere tomorrow.
            let store = store.ok_or(RecipeError::NoStore)?;
            let base = store.resolve(from).map_err(|e| RecipeError::From(Box::new(e)))?;
            hasher.field(base.manifest.digest.to_string().as_bytes());
        }
        hasher.field(std::env::consts::ARCH.as_bytes());
        let path = self.dir.join(RECIPE);
        hasher.field(&fs::read(&path).map_err(read_error(path))?);
        for extra in self.extras()? {
            hasher.field(extra.path.as_os_str().as_bytes());
            match &extra.kind {
                ExtraKind::Directory => hasher.number(0),
                ExtraKind::Link(target) => {
                    hasher.number(1);
                    hasher.field(target.as_os_str().as_bytes());
                }
                ExtraKind::File { executable } => {
                    hasher.number(2 + u64::from(*executable));
                    let path = self.extra_source(&extra);
                    hasher.field(&fs::read(&path).map_err(read_error(path))?);
                }
            }
        }
        Ok(hasher.digest())
    }

    /// What to publish a root built from this recipe with.
    pub fn manifest_input(&self, store: Option<&ImageStore>) -> Result<ManifestInput, RecipeError> {
        Ok(ManifestInput {
            name: self.name.clone(),
            description: self.description.clone(),
            desktop: self.desktop.clone(),
            recipe_digest: Some(self.digest(store)?),
        })
    }

    /// All below `files/`: a directory before what is in it, otherwise by name.
    pub(crate) fn extras(&self) -> Result<Vec<Extra>, RecipeError> {
        let mut extras = Vec::new();
        let files = self.dir.join(FILES);
        if files.is_dir() {
            walk(&files, Path::new(""), &mut extras)?;
        }
        Ok(extras)
    }

    pub(crate) fn extra_source(&self, extra: &Extra) -> PathBuf {
        self.dir.join(FILES).join(&extra.path)
    }
}

fn walk(files: &Path, inner: &Path, extras: &mut Vec<Extra>) -> Result<(), RecipeError> {
    let dir = files.join(inner);
    let entries = fs::read_dir(&dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(read_error(&dir))?;
    let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
    names.sort();
    for name in names {
        let path = inner.join(name);
        let source = files.join(&path);
        let meta = fs::symlink_metadata(&source).map_err(read_error(&source))?;
        if meta.is_dir() {
            extras.push(Extra { path: path.clone(), kind: ExtraKind::Directory });
            walk(files, &path, extras)?;
            continue;
        }
        let kind = if meta.is_symlink() {
            ExtraKind::Link(fs::read_link(&source).map_err(read_error(&source))?)
        } else if meta.is_file() {
            ExtraKind::File { executable: meta.permissions().mode() & 0o111 != 0 }
        } else {
            return Err(RecipeError::Special(source));
        };
        extras.push(Extra { path, kind });
    }
    Ok(())
}

fn read_origin(top: &mut Section<'_>) -> Option<Origin> {
    let suites = "a Debian suite such as \"bookworm\"";
    let suite = top.optional("suite", |v| text(v, suites, is_suite).map(str::to_owned));
    let images = "an image to build upon, as \"name:tag\" or \"name@version\"";
    let from = top.optional("from", |v| {
        text(v, images, |t| t.parse::<ImageRef>().is_ok())
            .and_then(|t| t.parse().map_err(|_| images.to_owned()))
    });
    match (suite, from) {
        (Some(_), Some(_)) => {
            top.fault("from", "either suite or from, not both");
            None
        }
        (Some(suite), None) => Some(Origin::Suite(suite)),
        (None, Some(from)) => Some(Origin::Image(from)),
        (None, None) => {
            // A wrong value was reported already.
            if !top.asked_for_any(&["suite", "from"]) {
                top.fault("suite", suites);
            }
            None
        }
    }
}

/// As in `sources.list`, of packages and not of their sources.
const SOURCES: &str = "a list of lines such as \"deb http://mirror.example/debian bookworm main\"";

fn is_source(text: &str) -> bool {
    text.starts_with("deb ") && is_line(text)
}

fn is_suite(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 40
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// As Debian policy 5.6.7 has it.
fn is_package(text: &str) -> bool {
    (2..=100).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn is_command(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

#[cfg(test)]
mod tests;
