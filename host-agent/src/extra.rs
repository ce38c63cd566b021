//! Directories of the host that desktops see over their roots, read-only, such
//! as the host's kernel modules.
//!
//! They are bind mounts and not more layers of the overlay: a layer would have
//! to begin at `/`, and could not be kept from hiding what it has no business
//! with. Which ones there are is said by the host's configuration and never by
//! an image, which could name the host's secrets.

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Replaced by the release of the running kernel.
const KERNEL: &str = "${kernel}";

/// What desktops need of their own there, or the host keeps from them.
const NOT_OVER: [&str; 7] = ["/dev", "/home", "/proc", "/run", "/sys", "/tmp", "/etc"];

/// One such directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraDir {
    host: String,
    inside: String,
    optional: bool,
}

/// One that is there, placeholders filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraBind {
    /// On the host.
    pub host: PathBuf,
    /// In the desktop.
    pub inside: PathBuf,
}

/// Text that names no such directory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtraDirError {
    /// Not of the right form.
    #[error("is not HOST_DIR, HOST_DIR:DIR_INSIDE, or one of them with :optional")]
    Form,
    /// Not absolute, or with `..`.
    #[error("{0:?} is not an absolute path without `.`, `..`, `//` and unknown placeholders")]
    Path(String),
    /// Over something of a desktop's own.
    #[error("cannot lie over {0}, which is each desktop's own")]
    Place(&'static str),
}

/// It is not there.
#[derive(Debug, Error)]
#[error("the directory {} of this host, which extra_dirs names, cannot be used", host.display())]
pub struct ExtraDirMissing {
    /// With placeholders filled in.
    pub host: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

// === impl ExtraDir ===

impl ExtraDir {
    /// Where it is seen, placeholders as they are written.
    pub fn inside(&self) -> &str {
        &self.inside
    }

    /// The directory as it is now; none if it is optional and not there.
    ///
    /// # Errors
    /// It is no directory.
    pub fn find(&self, kernel: &str) -> Result<Option<ExtraBind>, ExtraDirMissing> {
        let fill = |text: &str| PathBuf::from(text.replace(KERNEL, kernel));
        let (host, inside) = (fill(&self.host), fill(&self.inside));
        match host.metadata() {
            Ok(found) if found.is_dir() => Ok(Some(ExtraBind { host, inside })),
            Err(error) if self.optional && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(_) => Err(ExtraDirMissing { host, source: io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(ExtraDirMissing { host, source }),
        }
    }
}

impl FromStr for ExtraDir {
    type Err = ExtraDirError;

    fn from_str(text: &str) -> Result<Self, ExtraDirError> {
        let (paths, optional) = match text.strip_suffix(":optional") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        let (host, inside) = paths.split_once(':').unwrap_or((paths, paths));
        if inside.contains(':') {
            return Err(ExtraDirError::Form);
        }
        for path in [host, inside] {
            check(path)?;
        }
        let over = |place: &&&str| Path::new(inside).starts_with(place);
        if let Some(place) = NOT_OVER.iter().find(over) {
            return Err(ExtraDirError::Place(place));
        }
        if inside == "/" {
            return Err(ExtraDirError::Place("/"));
        }
        Ok(Self { host: host.to_owned(), inside: inside.to_owned(), optional })
    }
}

fn check(path: &str) -> Result<(), ExtraDirError> {
    let bad = || ExtraDirError::Path(path.to_owned());
    // Nothing but plain names after the root, and as it is written.
    let mut parts = Path::new(path).components();
    let plain = parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)));
    let as_written = Path::new(path).components().collect::<PathBuf>().as_os_str() == path;
    let rest = path.replace(KERNEL, "");
    if plain && as_written && !rest.contains('$') && !rest.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(bad())
    }
}

impl fmt::Display for ExtraDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, inside, optional } = self;
        f.write_str(host)?;
        if host != inside {
            write!(f, ":{inside}")?;
        }
        f.write_str(if *optional { ":optional" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dir(text: &str) -> Result<ExtraDir, ExtraDirError> {
        text.parse()
    }

    #[test]
    fn forms() {
        for text in [
            "/lib/modules/${kernel}",
            "/lib/modules/${kernel}:optional",
            "/srv/fonts:/usr/share/fonts/site",
            "/srv/fonts:/usr/share/fonts/site:optional",
        ] {
            assert_eq!(dir(text).unwrap().to_string(), text);
        }
        let path = |text: &str| ExtraDirError::Path(text.to_owned());
        for (text, expected) in [
            ("", path("")),
            ("lib", path("lib")),
            ("/a/../b", path("/a/../b")),
            ("/a//b", path("/a//b")),
            ("/a/", path("/a/")),
            ("/a/${home}", path("/a/${home}")),
            ("/a:b", path("b")),
            ("/a:/b:/c", ExtraDirError::Form),
            ("/a:/b:ro", ExtraDirError::Form),
            ("/a:/", ExtraDirError::Place("/")),
            ("/a:/proc/x", ExtraDirError::Place("/proc")),
            ("/etc", ExtraDirError::Place("/etc")),
            (":optional", path("")),
        ] {
            assert_eq!(dir(text).unwrap_err(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_unless_optional() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().display();
        std::fs::create_dir(place.path().join("6.1")).unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let modules = dir(&format!("{path}/${{kernel}}:/lib/modules/${{kernel}}")).unwrap();
        let found = modules.find("6.1").unwrap().unwrap();
        assert_eq!(found.host, place.path().join("6.1"));
        assert_eq!(found.inside, Path::new("/lib/modules/6.1"));
        let error = modules.find("6.2").unwrap_err();
        assert!(error.to_string().contains("/6.2 of this host"), "{error}");
        let optional = dir(&format!("{path}/${{kernel}}:/m:optional")).unwrap();
        assert_eq!(optional.find("6.2").unwrap(), None);
        assert!(optional.find("file").is_err(), "there, but no directory");
    }

    proptest! {
        #[test]
        fn nothing_that_parses_leads_elsewhere(text in "[/a-z.$:{}]{0,20}") {
            if let Ok(dir) = dir(&text) {
                prop_assert!(dir.inside().starts_with('/') && dir.inside().len() > 1);
                prop_assert!(!dir.inside().split('/').any(|part| part == ".."));
            }
        }
    }
}
