//! What people call the data that is kept for them.

use std::fmt;

use rolltop_proto::v1::VolumeKind;
use serde::{Deserialize, Serialize};

use crate::names::{BadField, DesktopId, UserName};

/// Before the user in the name of a home. No pool's name holds a ':'.
const HOME: &str = "home:";
const WANTED: &str = "\"pool/user\", or \"pool\" for your own; \"home:user\", or \"home:\"";

/// Data of a desktop, or a home.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataId {
    /// What a persistent desktop keeps.
    Desktop(DesktopId),
    /// The home volume of a user.
    Home(UserName),
}

// === impl DataId ===

impl DataId {
    /// Reads "pool/user", "pool", "home:user" or "home:"; what names nobody is
    /// `caller`'s.
    ///
    /// # Errors
    /// Anything else, as the value of `field`.
    pub fn parse(field: &'static str, text: &str, caller: &UserName) -> Result<Self, BadField> {
        let wrong = |_| BadField::new(field, text, WANTED);
        match text.strip_prefix(HOME) {
            Some("") => Ok(Self::Home(caller.clone())),
            Some(user) => UserName::parse(field, user).map(Self::Home).map_err(wrong),
            None => DesktopId::parse(text, caller).map(Self::Desktop).map_err(wrong),
        }
    }

    /// Whose it is.
    pub fn user(&self) -> &UserName {
        match self {
            Self::Desktop(id) => &id.user,
            Self::Home(user) => user,
        }
    }

    /// What it is to a host.
    pub fn kind(&self) -> VolumeKind {
        match self {
            Self::Desktop(_) => VolumeKind::Overlay,
            Self::Home(_) => VolumeKind::Home,
        }
    }
}

impl fmt::Display for DataId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desktop(id) => id.fmt(f),
            Self::Home(user) => write!(f, "{HOME}{user}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, BadField> {
        DataId::parse("data", text, &"anna".parse().unwrap()).map(|id| id.to_string())
    }

    #[test]
    fn named_in_full_or_as_ones_own() {
        for (text, full) in [
            ("demo", "demo/anna"),
            ("demo/ben", "demo/ben"),
            ("home:", "home:anna"),
            ("home:ben", "home:ben"),
            ("home", "home/anna"),
        ] {
            assert_eq!(parse(text), Ok(full.to_owned()), "{text}");
            assert_eq!(parse(full), Ok(full.to_owned()), "{full}");
        }
        for text in ["", "/", "home:/", "home:..", "home:a/b", "demo/", "Demo", "demo/a/b", "x:"] {
            let refused = parse(text).unwrap_err();
            assert_eq!((refused.field, refused.wanted.as_str()), ("data", WANTED), "{text:?}");
        }
    }
}
