//! Small TOML files, replaced in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use super::StoreError;

/// A hundred servers with a certificate chain each fit in well.
const MAX_BYTES: u64 = 1 << 20;

/// Whether others may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    Open,
    /// Mode 0600; a file that others can read is refused.
    Secret,
}

/// Reads a file; one that does not exist reads as the default.
pub(super) fn read<T: DeserializeOwned + Default>(
    path: &Path,
    secrecy: Secrecy,
) -> Result<T, StoreError> {
    let failed = |source| StoreError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if secrecy == Secrecy::Secret && mode & 0o077 != 0 {
        return Err(StoreError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if length as u64 > MAX_BYTES {
        return Err(StoreError::TooLong { path: path.to_owned(), limit: MAX_BYTES });
    }
    toml::from_str(&text).map_err(|source| StoreError::Parse { path: path.to_owned(), source })
}

/// Replaces a file: after a crash there is the old one or the new one.
pub(super) fn write<T: Serialize>(
    path: &Path,
    value: &T,
    secrecy: Secrecy,
) -> Result<(), StoreError> {
    let text = toml::to_string_pretty(value)
        .map_err(|source| StoreError::Format { path: path.to_owned(), source })?;
    replace(path, text.as_bytes(), secrecy)
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let temporary = path.with_extension(format!("toml.{}", std::process::id()));
    let mode = if secrecy == Secrecy::Secret { 0o600 } else { 0o644 };
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a leftover harms nobody.
        fs::remove_file(&temporary).ok();
    }
    written?;
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a process with our number, which no longer runs.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use super::*;

    type Map = BTreeMap<String, String>;

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file.toml");
        let map = Map::from([("key".into(), "a \"quoted\"\nvalue".into())]);
        write(&path, &map, Secrecy::Secret).unwrap();
        assert_eq!(read::<Map>(&path, Secrecy::Secret).unwrap(), map);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left: {names:?}");
    }

    #[test]
    fn absent_reads_as_empty_and_broken_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        assert!(read::<Map>(&path, Secrecy::Open).unwrap().is_empty());
        fs::write(&path, "= nonsense").unwrap();
        let error = read::<Map>(&path, Secrecy::Open).unwrap_err().to_string();
        assert!(error.contains("file.toml is not valid"), "{error}");
        fs::write(&path, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(read::<Map>(&path, Secrecy::Open), Err(StoreError::TooLong { .. })));
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        write(&path, &Map::new(), Secrecy::Secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read::<Map>(&path, Secrecy::Secret).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        assert!(error.contains("640"), "{error}");
    }
}
