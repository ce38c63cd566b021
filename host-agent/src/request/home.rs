//! A home beside the overlay, as a request asks for it.

use std::path::PathBuf;

use rolltop_overlay::{NameError, OverlayKind, OverlayName, OverlaySize};
use rolltop_proto::v1;
use serde::{Deserialize, Serialize};

use super::Faults;

/// Longest name of a file, bytes.
const MAX_FILE_NAME: usize = 255;

/// Where a user's files are, if not in the overlay. The form is also that of
/// the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Home {
    /// An ext4 of its own.
    Volume {
        /// Its name; checked.
        name: String,
        /// Size of a new one; checked.
        size_mib: i64,
    },
    /// A directory of the host.
    Directory {
        /// As the configuration names it.
        parent: PathBuf,
        /// One name.
        name: String,
    },
}

// === impl Home ===

impl Home {
    /// What the library calls the volume.
    ///
    /// # Errors
    /// A name that cannot be, in a record that was changed by hand.
    pub fn volume(&self) -> Result<Option<OverlayKind>, NameError> {
        match self {
            Self::Volume { name, .. } => {
                Ok(Some(OverlayKind::Home(OverlayName::try_from(name.as_str())?)))
            }
            Self::Directory { .. } => Ok(None),
        }
    }
}

pub(super) fn parse(given: v1::HomeSpec, faults: &mut Faults) -> Option<Home> {
    use v1::home_spec::Kind;
    match given.kind? {
        Kind::Volume(v1::HomeVolumeSpec { name, size_mib }) => {
            let named = faults.check("home.volume.name", OverlayName::try_from(name.as_str()));
            let sized = faults.check("home.volume.size_mib", OverlaySize::from_mib(size_mib));
            named.and(sized).map(|_| Home::Volume { name, size_mib })
        }
        Kind::Directory(v1::HomeDirectorySpec { parent, name }) => {
            if !parent.starts_with('/') || parent.contains('\0') {
                let shown = parent.escape_debug();
                faults.add("home.directory.parent", format!("`{shown}` is no absolute path"));
                return None;
            }
            if !is_one_name(&name) {
                let shown = name.escape_debug();
                faults.add("home.directory.name", format!("`{shown}` is no name of a directory"));
                return None;
            }
            Some(Home::Directory { parent: parent.into(), name })
        }
    }
}

fn is_one_name(name: &str) -> bool {
    (1..=MAX_FILE_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use v1::home_spec::Kind;

    use super::*;

    fn faults(kind: Kind) -> Vec<&'static str> {
        let mut faults = Faults::default();
        let parsed = parse(v1::HomeSpec { kind: Some(kind) }, &mut faults);
        assert_eq!(parsed.is_none(), !faults.0.is_empty());
        faults.0.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let directory = |parent: &str, name: &str| {
            let (parent, name) = (parent.to_owned(), name.to_owned());
            faults(Kind::Directory(v1::HomeDirectorySpec { parent, name }))
        };
        let volume = |name: &str, size_mib| {
            faults(Kind::Volume(v1::HomeVolumeSpec { name: name.into(), size_mib }))
        };
        for name in ["", ".", "..", "a/b", "../x", "/etc", "a\0", &"a".repeat(256)] {
            assert_eq!(directory("/srv/homes", name), ["home.directory.name"], "{name:?}");
        }
        for parent in ["", "srv", "../srv", "/srv\0"] {
            assert_eq!(directory(parent, "anna"), ["home.directory.parent"], "{parent:?}");
        }
        assert!(directory("/srv/homes", "anna").is_empty());
        assert_eq!(volume("../x", 0), ["home.volume.name", "home.volume.size_mib"]);
        assert!(volume("anna.2000", 64).is_empty());
    }
}
