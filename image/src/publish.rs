//! Making a version out of a root.
//!
//! A version is prepared in a directory whose name begins with a dot, which no
//! reader looks at, and appears under its own name by one rename.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use thiserror::Error;

use crate::desktop::DesktopSpec;
use crate::digest::Digest;
use crate::form::RootForm;
use crate::init::Init;
use crate::inside;
use crate::lock::{self, Sharing};
use crate::manifest::{Manifest, RootKind, is_description};
use crate::name::{ImageName, Tag, VersionId};
use crate::shift::{ShiftError, shift};
use crate::stamp;
use crate::store::{ImageStore, MANIFEST, Published, StoreError, TAGS, VERSIONS, io_error};
use crate::tool::{self, ToolError};

pub(crate) const LOCK: &str = ".lock";
pub(crate) const HALF_MADE: &str = ".new-";

/// What a person decides about a version; the rest of its manifest is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestInput {
    /// The image.
    pub name: ImageName,
    /// One line for people; may be empty.
    pub description: String,
    /// How a desktop of it is brought up.
    pub desktop: DesktopSpec,
    /// Of the recipe it was built from, if it was.
    pub recipe_digest: Option<Digest>,
}

/// Why a version was not published. Nothing of it is left.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session command is missing in the root, or cannot be executed.
    #[error("the root {root} has no program {path}, which [session] command names")]
    NoSessionCommand {
        /// The root offered.
        root: PathBuf,
        /// The program, as seen from inside.
        path: String,
    },
    /// The init program is missing in the root, or cannot be executed.
    #[error("the root {root} has no program {path}, which [init] path names")]
    NoInit {
        /// The root offered.
        root: PathBuf,
        /// The program, as seen from inside.
        path: String,
    },
    /// The display server is missing in the root, or cannot be executed.
    #[error("the root {root} has no program {path}, which [display] server names")]
    NoDisplayServer {
        /// The root offered.
        root: PathBuf,
        /// The program, as seen from inside.
        path: String,
    },
    /// Its owners could not be moved.
    #[error(transparent)]
    Shift(#[from] ShiftError),
    /// An EROFS file made elsewhere that is damaged, or none.
    #[error("{path} is no sound EROFS file")]
    NotErofs {
        /// The file.
        path: PathBuf,
        /// What `fsck.erofs` said.
        #[source]
        source: ToolError,
    },
    /// A description a manifest cannot hold.
    #[error("the description {0:?} is not one line of at most 500 bytes")]
    Description(String),
    /// A clock before 1970.
    #[error("the machine's clock stands before 1970")]
    Clock,
    /// `mkfs.erofs` or `cp` failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl ImageStore {
    /// Publishes the tree at `root` as a new version. The tree is read, not
    /// changed or moved. Calls for the same image wait for one another.
    pub fn publish(
        &self,
        root: &Path,
        input: &ManifestInput,
        form: impl Into<RootForm>,
        now: SystemTime,
    ) -> Result<Published, PublishError> {
        let form = form.into();
        check_input(root, input)?;
        self.publish_by(input, form, now, |half_made, lock| write_root(root, half_made, form, lock))
    }

    /// Publishes an EROFS file made elsewhere as it is. `root` is where its
    /// content can be looked at.
    pub fn publish_erofs(
        &self,
        file: &Path,
        root: &Path,
        input: &ManifestInput,
        now: SystemTime,
    ) -> Result<Published, PublishError> {
        check_input(root, input)?;
        self.publish_by(input, RootKind::Erofs.into(), now, |half_made, lock| {
            let target = half_made.join(RootKind::Erofs.file_name());
            let mut cp = Command::new("cp");
            tool::run(cp.args(["--reflink=auto", "--"]).arg(file).arg(&target), lock)?;
            sealed_file(&target)
        })
    }

    fn publish_by(
        &self,
        input: &ManifestInput,
        form: RootForm,
        now: SystemTime,
        write: impl FnOnce(&Path, &File) -> Result<(Digest, u64), PublishError>,
    ) -> Result<Published, PublishError> {
        let seconds = now.duration_since(UNIX_EPOCH).map_err(|_| PublishError::Clock)?.as_secs();
        let lock = self.lock(&input.name)?;
        let versions = self.path.join(&input.name).join(VERSIONS);
        remove_half_made(&versions)?;

        let half_made = tempfile::Builder::new()
            .prefix(HALF_MADE)
            .tempdir_in(&versions)
            .map_err(io_error("make a directory in", &versions))?;
        let (digest, size_bytes) = write(half_made.path(), &lock)?;
        let manifest = Manifest {
            name: input.name.clone(),
            description: input.description.clone(),
            root: form.kind(),
            first_id: form.first_id(),
            digest,
            size_bytes,
            published_at: UNIX_EPOCH + std::time::Duration::from_secs(seconds),
            recipe_digest: input.recipe_digest,
            desktop: input.desktop.clone(),
        };
        write_manifest(half_made.path(), &manifest)?;
        let version = self.appear(&versions, half_made, seconds, &digest)?;
        Ok(self.version(&input.name, &version)?)
    }

    /// Lets a tag point at a version, whatever it pointed at before. Readers see
    /// the old or the new version, never neither.
    pub fn tag(&self, name: &ImageName, tag: &Tag, version: &VersionId) -> Result<(), StoreError> {
        self.version(name, version)?;
        let _lock = self.lock(name)?;
        // Once more: only under the lock it stays there, and in use.
        self.version(name, version)?;
        if self.retirement(name, version)?.is_some() {
            return Err(StoreError::Retired(name.clone(), version.clone()));
        }
        let tags = self.path.join(name).join(TAGS);
        // Under the lock nobody else uses this name; an interrupted call may have left it.
        let half_made = tags.join(HALF_MADE);
        match fs::remove_file(&half_made) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", half_made)(e));
            }
            _ => {}
        }
        let target = Path::new("..").join(VERSIONS).join(version);
        symlink(target, &half_made).map_err(io_error("make the link", &half_made))?;
        fs::rename(&half_made, tags.join(tag))
            .map_err(io_error("replace the tag", tags.join(tag)))?;
        sync(&tags)
    }

    /// Makes an image's directories and waits for its lock; dropping the file gives it up.
    pub(crate) fn lock(&self, name: &ImageName) -> Result<File, StoreError> {
        let image = self.path.join(name);
        for dir in [image.join(VERSIONS), image.join(TAGS)] {
            fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
        }
        let path = image.join(LOCK);
        let file = lock::open(&path).map_err(io_error("open", &path))?;
        lock::wait(&file, Sharing::Exclusive).map_err(io_error("lock", &path))?;
        Ok(file)
    }

    /// Gives a finished version its name. Two of one second and one content differ by a counter.
    fn appear(
        &self,
        versions: &Path,
        half_made: TempDir,
        seconds: u64,
        digest: &Digest,
    ) -> Result<VersionId, PublishError> {
        let stem = format!("{}-{}", stamp::utc(seconds), digest.short());
        let mut counter = 1_u32;
        loop {
            let text = if counter == 1 { stem.clone() } else { format!("{stem}-{counter}") };
            let version: VersionId = text
                .parse()
                .map_err(|source| StoreError::Name { path: versions.join(&text), source })?;
            let path = versions.join(&version);
            // A version's directory is never empty, so rename(2) replaces none. (NFS knows no RENAME_NOREPLACE.)
            match fs::rename(half_made.path(), &path) {
                Ok(()) => {
                    // It has another name now: there is nothing left to remove.
                    let _renamed = half_made.keep();
                    sync(versions)?;
                    return Ok(version);
                }
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => counter += 1,
                Err(e) => return Err(io_error("publish", path)(e).into()),
            }
        }
    }
}

fn check_input(root: &Path, input: &ManifestInput) -> Result<(), PublishError> {
    if !is_description(&input.description) {
        return Err(PublishError::Description(input.description.clone()));
    }
    let dir = inside::open_dir(root).map_err(io_error("open the root", root))?;
    let has =
        |path: &str| inside::is_program(&dir, path).map_err(io_error("look for programs in", root));
    if let Init::Own(init) = &input.desktop.init
        && !has(&init.path)?
    {
        return Err(PublishError::NoInit { root: root.to_owned(), path: init.path.clone() });
    }
    let path = input.desktop.session.command.first().cloned().unwrap_or_default();
    if !has(&path)? {
        return Err(PublishError::NoSessionCommand { root: root.to_owned(), path });
    }
    if let Some(path) = &input.desktop.display.server
        && !has(path)?
    {
        return Err(PublishError::NoDisplayServer { root: root.to_owned(), path: path.clone() });
    }
    Ok(())
}

fn write_root(
    root: &Path,
    half_made: &Path,
    form: RootForm,
    lock: &File,
) -> Result<(Digest, u64), PublishError> {
    let target = half_made.join(form.kind().file_name());
    match form {
        RootForm::Erofs(compression) => {
            // Without -T: font and other caches compare the times of their files.
            let mut mkfs = Command::new("mkfs.erofs");
            mkfs.arg("--quiet").args(compression.options()).arg(&target).arg(root);
            tool::run(&mut mkfs, lock)?;
            sealed_file(&target)
        }
        RootForm::Directory(first) => {
            let mut cp = Command::new("cp");
            cp.args(["--archive", "--reflink=auto", "--one-file-system", "--"])
                .arg(root)
                .arg(&target);
            tool::run(&mut cp, lock)?;
            if let Some(first) = first {
                shift(&target, first)?;
            }
            let dir = inside::open_dir(&target).map_err(io_error("open", &target))?;
            rustix::fs::syncfs(&dir).map_err(|e| io_error("write out", &target)(e.into()))?;
            Ok(Digest::of_tree(&target).map_err(io_error("read", &target))?)
        }
    }
}

fn sealed_file(path: &Path) -> Result<(Digest, u64), PublishError> {
    seal(path, 0o444)?;
    let mut file = File::open(path).map_err(io_error("open", path))?;
    Ok(Digest::of_reader(&mut file).map_err(io_error("read", path))?)
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = dir.join(MANIFEST);
    File::create_new(&path)
        .and_then(|mut file| file.write_all(manifest.to_toml().as_bytes()))
        .map_err(io_error("write", &path))?;
    seal(&path, 0o444)?;
    seal(dir, 0o555)
}

/// Takes away the right to write and makes it last.
fn seal(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error("seal", path))?;
    sync(path)
}

pub(crate) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("write out", path))
}

/// Removes what interrupted calls left. Only under the image's lock.
fn remove_half_made(versions: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(versions).map_err(io_error("list", versions))? {
        let entry = entry.map_err(io_error("list", versions))?;
        if entry.file_name().as_encoded_bytes().starts_with(HALF_MADE.as_bytes()) {
            fs::remove_dir_all(entry.path()).map_err(io_error("remove", entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
