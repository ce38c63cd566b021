//! What somebody says of a root that no recipe made: `image.toml`, format 1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::desktop::DesktopSpec;
use crate::fields::{DocumentError, Faults, Section, text, texts};
use crate::manifest::{is_description, read_format};
use crate::tree::Tree;

/// Where a root may have it itself.
pub const SPEC_IN_ROOT: &str = "/etc/rolltop/image.toml";
/// Largest one read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// How desktops of a root are brought up, and what may be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// One line for people, if it has one.
    pub description: Option<String>,
    /// Services that are not to be masked, though they make no sense in most containers.
    pub keep_services: Vec<String>,
    /// Init, session and display.
    pub desktop: DesktopSpec,
}

/// Why there is no such description of a root.
#[derive(Debug, Error)]
pub enum SpecError {
    /// Neither named nor in the root.
    #[error(
        "nothing says what to start in the root: name a file with [init], [session] and \
         [display] by --manifest, or put it into the root as {SPEC_IN_ROOT}"
    )]
    Missing,
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It has faults.
    #[error("{path}: {source}")]
    Document {
        /// The file.
        path: PathBuf,
        /// Every fault in it.
        source: DocumentError,
    },
}

// === impl ImageSpec ===

impl ImageSpec {
    /// Reads a file; every fault in it is reported.
    pub fn open(path: &Path) -> Result<Self, SpecError> {
        let document = fs::read_to_string(path)
            .map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        Self::parse(&document)
            .map_err(|source| SpecError::Document { path: path.to_owned(), source })
    }

    /// What the root at `root` has itself; links in it stay within.
    pub fn in_root(root: &Path) -> Result<Self, SpecError> {
        let path = PathBuf::from(SPEC_IN_ROOT);
        let document = Tree::open(root)
            .and_then(|tree| tree.read_text(SPEC_IN_ROOT, MAX_BYTES))
            .map_err(|source| SpecError::Read { path: path.clone(), source })?
            .ok_or(SpecError::Missing)?;
        Self::parse(&document).map_err(|source| SpecError::Document { path, source })
    }

    /// Reads the text; every fault in it is reported.
    pub fn parse(document: &str) -> Result<Self, DocumentError> {
        let faults = Faults::default();
        let mut top = Section::document(document, &faults)?;
        read_format(&mut top);
        let expected = "one line of at most 500 bytes";
        let description =
            top.optional("description", |v| text(v, expected, is_description).map(str::to_owned));
        let keep_services = read_keep_services(&mut top);
        let desktop = DesktopSpec::read(&mut top);
        top.finish();
        match desktop {
            Some(desktop) if faults.is_empty() => Ok(Self { description, keep_services, desktop }),
            _ => Err(faults.into_error()),
        }
    }
}

pub(crate) fn read_keep_services(top: &mut Section<'_>) -> Vec<String> {
    let expected = "a list of systemd units, such as \"systemd-resolved.service\"";
    top.optional("keep_services", |v| texts(v, expected, is_unit)).unwrap_or_default()
}

fn is_unit(text: &str) -> bool {
    text.len() <= 255
        && text.contains('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "@._-:\\".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "format = 1\ndescription = 'x'\nkeep_services = ['ssh.service']\n\
        [init]\npath = '/sbin/init'\n[session]\ncommand = ['/usr/bin/s']\n\
        [display]\nprotocol = 'vnc'\nsocket = 'vnc.sock'\nserver = '/usr/bin/Xvnc'\n";

    #[test]
    fn a_good_one_is_read() {
        let spec = ImageSpec::parse(GOOD).unwrap();
        assert_eq!(spec.keep_services, ["ssh.service"]);
        assert_eq!(spec.desktop.display.server.as_deref(), Some("/usr/bin/Xvnc"));
        assert_eq!(spec.description.as_deref(), Some("x"));
    }

    #[test]
    fn all_faults_are_told() {
        let bad = "format = 2\nkeep_services = ['a b']\nname = 'x'\n[init]\nkind = 'builtin'\n\
                   [display]\nprotocol = 'vnc'\nsocket = 'vnc.sock'\nserver = '../x'\n";
        let Err(DocumentError::Faults(faults)) = ImageSpec::parse(bad) else { panic!("accepted") };
        let mut keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["display.server", "format", "keep_services", "name", "session"]);
    }

    #[test]
    fn a_root_may_have_it_itself_but_not_by_a_link_outward() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(ImageSpec::in_root(dir.path()), Err(SpecError::Missing)));
        fs::create_dir_all(dir.path().join("etc/rolltop")).unwrap();
        let path = dir.path().join("etc/rolltop/image.toml");
        fs::write(&path, GOOD).unwrap();
        assert!(ImageSpec::in_root(dir.path()).is_ok());
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), GOOD).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(outside.path(), &path).unwrap();
        assert!(matches!(ImageSpec::in_root(dir.path()), Err(SpecError::Missing)));
    }
}
