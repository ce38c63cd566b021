//! Names that become file names: parsed at the door, never checked again.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest name, in bytes.
pub const NAME_MAX_BYTES: usize = 128;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{field} {value:?} {problem}; a name has 1 to {NAME_MAX_BYTES} letters, digits, '.', '_' or '-'{extra}, and no '.' in front"
)]
pub struct NameError {
    /// What the name is for.
    pub field: &'static str,
    /// The name, cut to a size that can be shown.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
    /// What else is allowed, for the message.
    extra: &'static str,
}

/// The name of a persistent overlay or a home volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OverlayName(String);

/// The name of a snapshot of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

/// The key of a mounted base root, for example `demo@1f3c`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseKey(String);

// === impl OverlayName ===

impl OverlayName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for OverlayName {
    type Error = NameError;

    fn try_from(value: &str) -> Result<Self, NameError> {
        check("overlay name", value, b"", "").map(Self)
    }
}

impl TryFrom<String> for OverlayName {
    type Error = NameError;

    fn try_from(value: String) -> Result<Self, NameError> {
        Self::try_from(value.as_str())
    }
}

impl From<OverlayName> for String {
    fn from(name: OverlayName) -> Self {
        name.0
    }
}

impl fmt::Display for OverlayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SnapshotName ===

impl SnapshotName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for SnapshotName {
    type Error = NameError;

    fn try_from(value: &str) -> Result<Self, NameError> {
        check("snapshot name", value, b"", "").map(Self)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl BaseKey ===

impl BaseKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for BaseKey {
    type Error = NameError;

    fn try_from(value: &str) -> Result<Self, NameError> {
        check("base root key", value, b"@", ", '@'").map(Self)
    }
}

impl fmt::Display for BaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(
    field: &'static str,
    value: &str,
    also: &[u8],
    extra: &'static str,
) -> Result<String, NameError> {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte) || also.contains(&byte);
    let problem = if value.is_empty() {
        "is empty"
    } else if value.len() > NAME_MAX_BYTES {
        "is too long"
    } else if value.starts_with('.') {
        "starts with '.'"
    } else if !value.bytes().all(allowed) {
        "has a character that is not allowed"
    } else {
        return Ok(value.to_owned());
    };
    let shown: String = value.chars().take(NAME_MAX_BYTES / 2).collect();
    Err(NameError { field, value: shown, problem, extra })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bad_names_are_refused() {
        let long = "a".repeat(NAME_MAX_BYTES + 1);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/",
            "../x",
            "a b",
            " a",
            "a\0",
            "a\n",
            "a\\",
            "a,b",
            "a:b",
            "ä",
            "a@b",
            "*",
            &long,
            &"x".repeat(300),
        ] {
            let error = OverlayName::try_from(bad).unwrap_err();
            assert_eq!(error.field, "overlay name");
            assert!(error.to_string().len() < 500, "{error}");
        }
    }

    #[test]
    fn good_names_are_kept() {
        let longest = "a".repeat(NAME_MAX_BYTES);
        for good in ["a", "A.b_c-9", "a..b", "-x", "_", "x.", &longest] {
            assert_eq!(OverlayName::try_from(good).unwrap().as_str(), good);
        }
        assert_eq!(BaseKey::try_from("demo@12").unwrap().as_str(), "demo@12");
        assert!(BaseKey::try_from(".demo@12").is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_plain_path_component(value in "\\PC{0,140}") {
            if let Ok(name) = OverlayName::try_from(value.as_str()) {
                let path = std::path::Path::new("/base").join(name.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/base")));
                prop_assert_eq!(path.file_name().unwrap(), value.as_str());
            }
        }
    }
}
