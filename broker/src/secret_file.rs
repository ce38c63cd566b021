//! Secrets in files.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Longer than any secret.
const MAX_BYTES: u64 = 64 << 10;
/// What everybody on the machine may do with a file.
const OTHERS: u32 = 0o007;

/// A secret cannot be read, or is none any more.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Everybody on the machine can read or write it.
    #[error("{} is open to everybody on this machine (mode {mode:o}); chmod o= it, and make a new secret", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is nothing in the first line.
    #[error("the first line of {} is empty", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
}

/// The first line of a file that is nobody else's.
///
/// # Errors
/// If it cannot be read, is open to others, or is empty.
pub fn first_line(path: &Path) -> Result<String, SecretFileError> {
    let read = |source| SecretFileError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(read)?;
    let mode = file.metadata().map_err(read)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(SecretFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(read)?;
    match text.lines().next().map(str::trim_end).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(SecretFileError::Empty { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_a_file_that_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let with = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            first_line(&path).map_err(|error| error.to_string())
        };
        assert_eq!(with("s3cret \nmore", 0o600).unwrap(), "s3cret");
        assert_eq!(with("s3cret", 0o440).unwrap(), "s3cret");
        assert!(with("s3cret", 0o644).unwrap_err().contains("mode 644"));
        assert!(with("\ns3cret", 0o600).unwrap_err().contains("is empty"));
        assert!(first_line(&dir.path().join("none")).is_err());
    }
}
