//! Which versions are in use, as hosts note it down in the store itself.
//!
//! A note stands until its host takes it back. It does not run out: desktops
//! outlive their agent, and a version must not vanish under them because
//! nobody renewed a note. How old a note is, is for people: a host that is
//! gone for good is forgotten by name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lock::{self, Sharing};
use crate::name::{HostName, ImageName, VersionId};
use crate::publish::{LOCK, sync};
use crate::store::{ImageStore, Published, StoreError, io_error};

/// Not seen as an image: its name begins with a dot.
const HOSTS: &str = ".hosts";
const HALF_MADE: &str = ".new";

/// That a host uses a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The host.
    pub host: String,
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: VersionId,
    /// When the host last said so.
    pub renewed_at: SystemTime,
}

/// Whether a use was noted down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It was: the version stays until it is released.
    InTheStore,
    /// The store is read-only here; only the broker knows of the use.
    Nowhere,
}

// === impl ImageStore ===

impl ImageStore {
    /// Notes that `host` uses a version. To be called before its root is
    /// mounted: when this returns, the version is there and stays.
    ///
    /// # Errors
    /// [`StoreError::NoVersion`] if it has been removed meanwhile.
    pub fn hold(&self, host: &HostName, published: &Published) -> Result<Noted, StoreError> {
        let (name, version) = (&published.name, &published.version);
        // Who removes a version has this lock alone.
        let path = self.path.join(name).join(LOCK);
        let _lock = match File::open(&path) {
            Ok(file) => {
                lock::wait(&file, Sharing::Shared).map_err(io_error("lock", &path))?;
                Some(file)
            }
            // Nothing was ever published here by a program that knows locks.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(io_error("open", path)(e)),
        };
        self.version(name, version)?;
        let dir = self.host_dir(host.as_str());
        match write_note(&dir, &note_name(name, version)) {
            Ok(()) => Ok(Noted::InTheStore),
            Err(e) if is_read_only(&e) => Ok(Noted::Nowhere),
            Err(e) => Err(io_error("note a use in", dir)(e)),
        }
    }

    /// Takes back whatever `host` has noted, but for `kept`.
    pub fn release_all_but(
        &self,
        host: &HostName,
        kept: &[(ImageName, VersionId)],
    ) -> Result<(), StoreError> {
        let dir = self.host_dir(host.as_str());
        let kept: Vec<String> =
            kept.iter().map(|(name, version)| note_name(name, version)).collect();
        // What a host half made when it died is its own to take away, too.
        for name in entries(&dir)? {
            if !kept.contains(&name) {
                match fs::remove_file(dir.join(&name)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(io_error("remove", dir.join(name))(e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Everything that hosts have noted.
    ///
    /// # Errors
    /// A note cannot be read: whoever removes versions must then remove none.
    pub fn holders(&self) -> Result<Vec<Holder>, StoreError> {
        let mut holders = Vec::new();
        for host in names(&self.path.join(HOSTS))? {
            let dir = self.host_dir(&host);
            for note in names(&dir)? {
                let path = dir.join(&note);
                let (image, version) = note.split_once('@').unwrap_or((&note, ""));
                let faulty = |source| StoreError::Name { path: path.clone(), source };
                let (image, version) =
                    (image.parse().map_err(faulty)?, version.parse().map_err(faulty)?);
                let renewed_at = match fs::metadata(&path).and_then(|meta| meta.modified()) {
                    Ok(time) => time,
                    // Taken back just now.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(io_error("read", path)(e)),
                };
                holders.push(Holder { host: host.clone(), image, version, renewed_at });
            }
        }
        Ok(holders)
    }

    fn host_dir(&self, host: &str) -> PathBuf {
        self.path.join(HOSTS).join(host)
    }
}

fn note_name(name: &ImageName, version: &VersionId) -> String {
    format!("{name}@{version}")
}

/// For so long a note needs no renewal: who starts one desktop after another
/// waits for no disk.
const FRESH: Duration = Duration::from_secs(3600);

/// The time of the file says when; its text is for people. Several may write the
/// same note at once.
fn write_note(dir: &Path, name: &str) -> io::Result<()> {
    let path = dir.join(name);
    let age = fs::metadata(&path).and_then(|meta| meta.modified()).map(|time| time.elapsed());
    if matches!(age, Ok(Ok(age)) if age < FRESH) {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let mut half_made = tempfile::Builder::new().prefix(HALF_MADE).tempfile_in(dir)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    writeln!(half_made, "in use since {seconds} seconds after 1970 at the latest")?;
    half_made.as_file().sync_all()?;
    half_made.persist(&path)?;
    sync(dir).map_err(io::Error::other)
}

/// By kind, not by number: whoever adds a path to an error takes the number away.
fn is_read_only(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), ReadOnlyFilesystem | PermissionDenied)
}

/// Names in a directory, without what is half made; none if there is no such directory.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = entries(dir)?;
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

fn entries(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(io_error("list", dir))?,
    };
    Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_note_the_same_use_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host1");
        std::thread::scope(|scope| {
            let writers: Vec<_> =
                (0..16).map(|_| scope.spawn(|| write_note(&host, "demo@1"))).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        assert_eq!(names(&host).unwrap(), ["demo@1"]);
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1, "nothing half-made is left");
    }

    #[test]
    fn what_a_dead_host_half_made_goes_with_its_notes() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::create(dir.path()).unwrap();
        let host: HostName = "host1".parse().unwrap();
        let notes = store.host_dir("host1");
        write_note(&notes, "demo@1").unwrap();
        fs::write(notes.join(".newXYZ"), "in u").unwrap();
        store.release_all_but(&host, &[("demo".parse().unwrap(), "1".parse().unwrap())]).unwrap();
        assert_eq!(entries(&notes).unwrap(), ["demo@1"]);
        store.release_all_but(&host, &[]).unwrap();
        assert!(entries(&notes).unwrap().is_empty());
    }

    #[test]
    fn a_host_s_own_directory_that_refuses_files_is_a_read_only_store() {
        // Nobody makes a file there, root neither.
        let error = write_note(Path::new("/sys/kernel"), "demo@1").unwrap_err();
        assert!(is_read_only(&error), "{error}");
        let error = write_note(Path::new("/dev/null/host1"), "demo@1").unwrap_err();
        assert!(!is_read_only(&error), "{error}");
    }
}
