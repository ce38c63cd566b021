//! Paths inside a tree, as archives and tables write them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Longest path: the kernel's `PATH_MAX` with its closing zero byte.
const MAX_PATH_BYTES: usize = 4095;
/// Longest name: `NAME_MAX`.
const MAX_NAME_BYTES: usize = 255;
/// Most names in a path. Real roots stay far below; walks hold a descriptor for each.
const MAX_NAMES: usize = 256;

/// A path from the root of a tree: names only. Empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InnerPath(PathBuf);

/// A path that no file in a tree can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InnerPathError {
    /// It climbs.
    #[error("path {0:?} has a \"..\"")]
    Climbs(String),
    /// It has a zero byte.
    #[error("path {0:?} has a zero byte")]
    Zero(String),
    /// Longer than the kernel takes.
    #[error("path {0:?}… is longer than 4095 bytes or 256 names, or a name in it than 255 bytes")]
    TooLong(String),
}

impl InnerPath {
    /// Of bytes; a leading `/`, `./` and doubled slashes are of no account.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, InnerPathError> {
        let shown = || String::from_utf8_lossy(bytes).chars().take(80).collect();
        if bytes.contains(&0) {
            return Err(InnerPathError::Zero(shown()));
        }
        let mut path = PathBuf::new();
        for name in bytes.split(|&b| b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(InnerPathError::Climbs(shown())),
                name if name.len() > MAX_NAME_BYTES => {
                    return Err(InnerPathError::TooLong(shown()));
                }
                name => path.push(OsStr::from_bytes(name)),
            }
        }
        if path.as_os_str().len() > MAX_PATH_BYTES || path.iter().count() > MAX_NAMES {
            return Err(InnerPathError::TooLong(shown()));
        }
        Ok(Self(path))
    }

    /// Of a path that is written in this program.
    pub(crate) fn fixed(path: &str) -> Self {
        debug_assert!(Self::new(path.as_bytes()).is_ok(), "{path}");
        Self(PathBuf::from(path))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    #[cfg(test)]
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory, `.` for the root, and the last name.
    pub(crate) fn split(&self) -> Option<(&Path, &OsStr)> {
        let name = self.0.file_name()?;
        let dir = self.0.parent().filter(|dir| !dir.as_os_str().is_empty());
        Some((dir.unwrap_or(Path::new(".")), name))
    }

    /// The directory it lies in; `None` if that is the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let dir = self.0.parent().filter(|dir| !dir.as_os_str().is_empty())?;
        Some(Self(dir.to_owned()))
    }

    /// A name next to it.
    pub(crate) fn with_name(&self, name: &OsStr) -> Self {
        Self(self.0.with_file_name(name))
    }

    /// A name below it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> Self {
        Self(self.0.join(name))
    }
}

impl std::fmt::Display for InnerPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_climb_is_taken_from_the_root() {
        for (written, meant) in [
            ("", ""),
            ("/", ""),
            ("./", ""),
            ("././/.", ""),
            ("etc/passwd", "etc/passwd"),
            ("./etc/passwd", "etc/passwd"),
            ("/etc//./passwd/", "etc/passwd"),
            ("...", "..."),
            ("a/..b", "a/..b"),
        ] {
            assert_eq!(
                InnerPath::new(written.as_bytes()).unwrap().as_path(),
                Path::new(meant),
                "{written}"
            );
        }
    }

    #[test]
    fn what_climbs_or_cannot_be_is_refused() {
        for bad in ["..", "../x", "a/../b", "/..", "a/..", "a\0b"] {
            assert!(InnerPath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(InnerPath::new(&[b'x'; 256]).is_err());
        assert!(InnerPath::new("x/".repeat(257).as_bytes()).is_err());
        assert!(InnerPath::new("x/".repeat(256).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_has_plain_names_only(bytes in prop::collection::vec(
            prop_oneof![Just(b'.'), Just(b'/'), Just(0_u8), any::<u8>()], 0..60)) {
            if let Ok(path) = InnerPath::new(&bytes) {
                prop_assert!(!path.as_path().is_absolute());
                for part in path.as_path().components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)), "{path}");
                }
            }
        }
    }
}
