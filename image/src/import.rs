//! Roots that were made elsewhere: archives, container images, directories and
//! EROFS files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

use crate::archive::{ArchiveError, Guarded, Limits, Unpacked, Unpacker, Whiteouts, decompressed};
use crate::build::{BuildEvent, BuiltRoot};
use crate::oci::{ContainerImage, OciError};
use crate::prepare::{PrepareError, prepare};
use crate::spec::{ImageSpec, SpecError};
use crate::tool::{self, ToolError};
use crate::tree::Tree;

/// How an EROFS file is opened up: mounted in a mount namespace of its own,
/// which ends with the program, and copied with all that belongs to its files.
const COPY_OUT: &str = r#"mount -t erofs -o ro,loop,nodev,nosuid,noexec -- "$1" "$2" &&
    cp --archive --one-file-system -- "$2" "$3""#;

/// What is wanted of an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Which image, where there are several: its tag or name.
    pub reference: Option<String>,
    /// How much is unpacked at most.
    pub limits: Limits,
    /// What to start in the root; without it, the root must say so itself.
    pub spec: Option<ImageSpec>,
}

/// A root that was taken in and made fit for a container.
#[derive(Debug)]
pub struct Imported {
    /// The root. It is removed when this is dropped.
    pub root: BuiltRoot,
    /// What to start in it.
    pub spec: ImageSpec,
    /// What the container image says of itself, if it was one.
    pub description: Option<String>,
    /// What was in the archive.
    pub unpacked: Unpacked,
}

/// Why a root was not taken in. Nothing of it is left.
#[derive(Debug, Error)]
pub enum ImportError {
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
    /// A directory that is no container image.
    #[error(
        "{0} is a directory without oci-layout or manifest.json; \
         `rolltop image publish` takes a root that is a directory"
    )]
    NotAnImage(PathBuf),
    /// The archive was refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The container image was refused.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// Nothing says what to start.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The root cannot be made fit for a container.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Another program failed.
    #[error("{path} cannot be opened up")]
    Tool {
        /// What was given.
        path: PathBuf,
        /// What it said.
        #[source]
        source: ToolError,
    },
}

/// What a tar file holds, by the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Root,
    ContainerImage,
}

fn io_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError + use<> {
    let path = path.to_owned();
    move |source| ImportError::Io { verb, path, source }
}

/// Takes in the tar file of a root, an OCI image layout, or what `docker save`
/// wrote: as a file, compressed or not, or unpacked in a directory. It is
/// unpacked below `work_dir` and [prepared](crate::prepare()).
///
/// # Errors
/// See [`ImportError`]. Whatever the archive holds, nothing outside of the
/// root is read or written.
pub fn import(
    source: &Path,
    work_dir: &Path,
    options: ImportOptions,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Imported, ImportError> {
    let built = new_root(work_dir)?;
    let meta = source.metadata().map_err(io_error("read", source))?;
    let tree = Tree::open(&built.path()).map_err(io_error("open", &built.path()))?;
    let mut unpacker = Unpacker::new(&tree, options.limits);
    let mut description = None;
    if meta.is_dir() {
        if !ContainerImage::is_in(source) {
            return Err(ImportError::NotAnImage(source.to_owned()));
        }
        description = layers(source, &options, &mut unpacker, progress)?;
    } else {
        match content(source)? {
            Content::Root => {
                progress(BuildEvent::Step("unpacking the root"));
                unpacker.unpack(&mut open(source)?, Whiteouts::Plain)?;
            }
            Content::ContainerImage => {
                progress(BuildEvent::Step("unpacking the container image"));
                let image = built.beside("image");
                unpack_image(source, &image, options.limits)?;
                description = layers(&image, &options, &mut unpacker, progress)?;
                std::fs::remove_dir_all(&image).map_err(io_error("remove", &image))?;
            }
        }
    }
    let unpacked = unpacker.finish()?;
    report(&unpacked, progress);
    let spec = finish(&built, options.spec, progress)?;
    Ok(Imported { root: built, spec, description, unpacked })
}

/// Takes in a copy of a root that is a directory, or what an EROFS file holds.
/// A directory is [prepared](crate::prepare()); what is in a file is as it is.
///
/// # Errors
/// See [`ImportError`].
pub fn take_in(
    source: &Path,
    work_dir: &Path,
    spec: Option<ImageSpec>,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Imported, ImportError> {
    let built = BuiltRoot::create(work_dir, "copy").map_err(io_error("make", work_dir))?;
    progress(BuildEvent::Step("copying the root"));
    let is_dir = source.metadata().map_err(io_error("read", source))?.is_dir();
    let spec = if is_dir {
        let mut cp = Command::new("cp");
        cp.args(["--archive", "--reflink=auto", "--one-file-system", "--"]);
        tool::run(cp.arg(source).arg(built.path()), built.lock()).map_err(failed(source))?;
        finish(&built, spec, progress)?
    } else {
        copy_out(source, &built)?;
        spec.map_or_else(|| ImageSpec::in_root(&built.path()), Ok)?
    };
    Ok(Imported { root: built, spec, description: None, unpacked: Unpacked::default() })
}

/// Fills a root with what an EROFS file holds, extended attributes included.
pub(crate) fn copy_out(file: &Path, built: &BuiltRoot) -> Result<(), ImportError> {
    let mut fsck = Command::new("fsck.erofs");
    tool::run(fsck.arg(file), built.lock()).map_err(failed(file))?;
    let point = built.beside("mounted");
    std::fs::create_dir(&point).map_err(io_error("make", &point))?;
    let mut copy = Command::new("unshare");
    copy.args(["--mount", "--propagation=private", "sh", "-ec", COPY_OUT, "sh"]);
    tool::run(copy.arg(file).arg(&point).arg(built.path()), built.lock()).map_err(failed(file))
}

fn failed(path: &Path) -> impl FnOnce(ToolError) -> ImportError + use<> {
    let path = path.to_owned();
    move |source| ImportError::Tool { path, source }
}

fn new_root(work_dir: &Path) -> Result<BuiltRoot, ImportError> {
    let built = BuiltRoot::create(work_dir, "import").map_err(io_error("make", work_dir))?;
    let root = built.path();
    std::fs::create_dir(&root).map_err(io_error("make", &root))?;
    Ok(built)
}

fn finish(
    built: &BuiltRoot,
    spec: Option<ImageSpec>,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<ImageSpec, ImportError> {
    let root = built.path();
    let spec = spec.map_or_else(|| ImageSpec::in_root(&root), Ok)?;
    progress(BuildEvent::Step("making it fit for a container"));
    for change in prepare(&root, &spec.desktop, &spec.keep_services)? {
        progress(BuildEvent::Line(&change));
    }
    Ok(spec)
}

fn layers(
    dir: &Path,
    options: &ImportOptions,
    unpacker: &mut Unpacker<'_>,
    progress: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<Option<String>, ImportError> {
    let image = ContainerImage::open(dir, options.reference.as_deref())?;
    let all = image.layers();
    image.unpack(dir, unpacker, |number| {
        progress(BuildEvent::Step(&format!("applying layer {number} of {all}")));
    })?;
    Ok(image.description)
}

fn report(unpacked: &Unpacked, progress: &mut dyn FnMut(BuildEvent<'_>)) {
    let Unpacked { members, bytes, devices_skipped, attributes_skipped, whited_out } = unpacked;
    progress(BuildEvent::Line(&format!("{members} members, {bytes} bytes")));
    for (count, what) in [
        (devices_skipped, "devices were left out: a desktop gets its own"),
        (attributes_skipped, "extended attributes were left out: no root needs their kind"),
        (whited_out, "names were taken away by upper layers"),
    ] {
        if *count > 0 {
            progress(BuildEvent::Line(&format!("{count} {what}")));
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, ImportError> {
    File::open(path).and_then(decompressed).map_err(io_error("read", path))
}

/// Unpacks the archive that holds a container image, for its blobs.
fn unpack_image(source: &Path, dir: &Path, limits: Limits) -> Result<(), ImportError> {
    std::fs::create_dir(dir).map_err(io_error("make", dir))?;
    let tree = Tree::open(dir).map_err(io_error("open", dir))?;
    let mut unpacker = Unpacker::new(&tree, limits);
    unpacker.unpack(&mut open(source)?, Whiteouts::Plain)?;
    unpacker.finish()?;
    Ok(())
}

/// Looks at the names until one tells. A container image has a few that no root has.
fn content(path: &Path) -> Result<Content, ImportError> {
    let (reader, allowance) = Guarded::new(open(path)?);
    let mut archive = tar::Archive::new(reader);
    let mut is_image = false;
    let mut entries = archive.entries().map_err(ArchiveError::Read)?;
    loop {
        allowance.headers();
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(ArchiveError::Read)?;
        allowance.data();
        match told_by(&entry.path_bytes()) {
            Some(Content::Root) => return Ok(Content::Root),
            Some(Content::ContainerImage) => is_image = true,
            None => {}
        }
        io::copy(&mut entry, &mut io::sink()).map_err(ArchiveError::Read)?;
    }
    Ok(if is_image { Content::ContainerImage } else { Content::Root })
}

/// What one name tells of the whole; `None` if it may be in a container image.
fn told_by(name: &[u8]) -> Option<Content> {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let first = name.split(|&byte| byte == b'/').next().unwrap_or_default();
    let stem = first.strip_suffix(b".json").or(first.strip_suffix(b".tar")).unwrap_or(first);
    let is_hex = stem.len() == 64 && stem.iter().all(u8::is_ascii_hexdigit);
    match first {
        b"oci-layout" | b"manifest.json" => Some(Content::ContainerImage),
        b"" | b"." | b"blobs" | b"index.json" | b"repositories" | b"ingest" => None,
        _ if is_hex => None,
        _ => Some(Content::Root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_an_archive_holds() {
        let hex = "a".repeat(64);
        for (name, told) in [
            ("./", None),
            ("blobs/sha256/x", None),
            ("index.json", None),
            (&format!("{hex}/layer.tar") as &str, None),
            (&format!("./{hex}.json"), None),
            ("oci-layout", Some(Content::ContainerImage)),
            ("./manifest.json", Some(Content::ContainerImage)),
            ("bin", Some(Content::Root)),
            ("./usr/bin/sh", Some(Content::Root)),
        ] {
            assert_eq!(told_by(name.as_bytes()), told, "{name}");
        }
    }
}
