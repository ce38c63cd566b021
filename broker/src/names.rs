//! Names that come from outside, checked at the door. Whatever becomes part
//! of a store key, a path on a host or a certificate has passed here.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A field that does not hold what it must.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {value} is not acceptable: {wanted}")]
pub struct BadField {
    /// The field, as the API names it.
    pub field: &'static str,
    /// What was sent: quoted, escaped, shortened.
    pub value: String,
    /// What would be right.
    pub wanted: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $wanted:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks it as the value of `field`.
            pub fn parse(field: &'static str, text: &str) -> Result<Self, BadField> {
                let valid: fn(&str) -> bool = $valid;
                match valid(text) {
                    true => Ok(Self(text.to_owned())),
                    false => Err(BadField::new(field, text, $wanted)),
                }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadField;
            fn try_from(text: String) -> Result<Self, BadField> {
                Self::parse($field, &text)
            }
        }

        impl FromStr for $name {
            type Err = BadField;
            fn from_str(text: &str) -> Result<Self, BadField> {
                Self::parse($field, text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name!(
    /// Who signs in, and the login name inside a desktop.
    UserName,
    "user",
    "a lower-case letter or '_', then lower-case letters, digits, '_' or '-'; 32 bytes at most",
    |text| {
        let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        (1..=32).contains(&text.len())
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && text.bytes().all(rest)
    }
);

name!(
    /// A pool.
    PoolName,
    "pool",
    "lower-case letters, digits and '-', beginning with a letter; 40 bytes at most",
    |text| (1..=40).contains(&text.len()) && is_label(text)
);

name!(
    /// A group of users.
    GroupName,
    "group",
    "a lower-case letter, then lower-case letters, digits, '.', '_' or '-'; 64 bytes at most",
    |text| {
        let rest = |b: u8| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        };
        (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().all(rest)
    }
);

name!(
    /// A host: one label of a host name, for it is part of a certificate.
    HostName,
    "name",
    "lower-case letters, digits and '-', beginning with a letter and not ending in '-'; 63 bytes at most",
    |text| (1..=63).contains(&text.len()) && is_label(text) && !text.ends_with('-')
);

name!(
    /// "image:tag" or "image@version".
    ImageRef,
    "image",
    "\"image:tag\" or \"image@version\" of letters, digits, '.', '_' and '-', not beginning with '.' or '-'; 128 bytes a part",
    |text| text.split_once(['@', ':']).is_some_and(|(image, rest)| is_image_word(image) && is_image_word(rest))
);

name!(
    /// The address of a host's agent.
    Endpoint,
    "endpoint",
    "\"https://ADDRESS:PORT\" with an IP address, an IPv6 one in brackets",
    |text| {
        text.strip_prefix("https://")
            .and_then(|address| address.parse::<SocketAddr>().ok())
            .is_some_and(|address| address.port() != 0)
    }
);

/// A desktop: at most one per user and pool. "pool/user".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DesktopId {
    /// The pool.
    pub pool: PoolName,
    /// The user.
    pub user: UserName,
}

// === impl BadField ===

impl BadField {
    /// `value` may be anything a client sent.
    pub fn new(field: &'static str, value: &str, wanted: impl Into<String>) -> Self {
        const SHOWN: usize = 40;
        let mut shown = format!("{:?}", value.chars().take(SHOWN).collect::<String>());
        if value.chars().nth(SHOWN).is_some() {
            shown = format!("{shown}… ({} bytes)", value.len());
        }
        Self { field, value: shown, wanted: wanted.into() }
    }
}

// === impl ImageRef ===

impl ImageRef {
    /// A version by its name.
    ///
    /// # Errors
    /// One of the two is no name.
    pub fn of_version(field: &'static str, image: &str, version: &str) -> Result<Self, BadField> {
        Self::parse(field, &format!("{image}@{version}"))
    }

    /// The image's name.
    pub fn image(&self) -> &str {
        self.0.split(['@', ':']).next().unwrap_or_default()
    }

    /// The version; none: it is a tag that says which.
    pub fn version(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, version)| version)
    }

    /// Whether it means this version, at which these tags point.
    pub fn means(&self, image: &str, version: &str, tags: &[String]) -> bool {
        self.image() == image
            && match self.version() {
                Some(wanted) => wanted == version,
                None => {
                    let tag = self.0.split_once(':').map(|(_, tag)| tag);
                    tags.iter().any(|known| Some(known.as_str()) == tag)
                }
            }
    }
}

// === impl DesktopId ===

impl DesktopId {
    /// Reads "pool/user", or "pool" for `caller`'s own.
    pub fn parse(text: &str, caller: &UserName) -> Result<Self, BadField> {
        const FIELD: &str = "desktop";
        let (pool, user) = match text.split_once('/') {
            Some((pool, user)) => (pool, UserName::parse(FIELD, user)),
            None => (text, Ok(caller.clone())),
        };
        let wrong = |_| BadField::new(FIELD, text, "\"pool/user\", or \"pool\" for your own");
        Ok(Self { pool: PoolName::parse(FIELD, pool).map_err(wrong)?, user: user.map_err(wrong)? })
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn from_key(text: &str) -> Option<Self> {
        let (pool, user) = text.split_once('/')?;
        Some(Self { pool: pool.parse().ok()?, user: user.parse().ok()? })
    }
}

impl fmt::Display for DesktopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.user)
    }
}

fn is_label(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_image_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTILE: [&str; 12] =
        ["", ".", "..", "../x", "a/b", "a b", "a\0b", "A", "é", "-a", "a\n", "a\u{202e}b"];

    #[test]
    fn hostile_names_are_refused_with_a_hint() {
        let long = "a".repeat(300);
        for text in HOSTILE.into_iter().chain([long.as_str()]) {
            assert!(UserName::parse("name", text).is_err(), "user {text:?}");
            assert!(PoolName::parse("name", text).is_err(), "pool {text:?}");
            assert!(HostName::parse("name", text).is_err(), "host {text:?}");
            assert!(ImageRef::parse("image", text).is_err(), "image {text:?}");
            assert!(Endpoint::parse("endpoint", text).is_err(), "endpoint {text:?}");
        }
        let refused = UserName::parse("name", &long).unwrap_err();
        assert_eq!(refused.field, "name");
        assert!(refused.value.ends_with("… (300 bytes)"), "{}", refused.value);
    }

    #[test]
    fn good_names_pass() {
        for text in ["a", "_x", "anna-2", "a_b"] {
            assert!(UserName::parse("name", text).is_ok(), "{text}");
        }
        for text in ["demo:stable", "demo@2026-01-01.1", "A_b:v1"] {
            assert!(ImageRef::parse("image", text).is_ok(), "{text}");
        }
        for text in ["https://127.0.0.1:7443", "https://[::1]:1"] {
            assert!(Endpoint::parse("endpoint", text).is_ok(), "{text}");
        }
        for text in [
            "http://127.0.0.1:1",
            "https://127.0.0.1",
            "https://127.0.0.1:0",
            "https://h:1",
            "https://1.2.3.4:5/x",
        ] {
            assert!(Endpoint::parse("endpoint", text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_is_meant_by_tag_or_version() {
        let tags = ["stable".to_owned()];
        let means = |text: &str| {
            ImageRef::parse("image", text).unwrap().means("demo", "2026-01-01.1", &tags)
        };
        assert!(means("demo:stable") && means("demo@2026-01-01.1"));
        for text in ["demo:next", "demo@stable", "demo:2026-01-01.1", "demos:stable"] {
            assert!(!means(text), "{text}");
        }
        let pinned = ImageRef::of_version("image", "demo", "2").unwrap();
        assert_eq!((pinned.image(), pinned.version()), ("demo", Some("2")));
        assert!(ImageRef::of_version("image", "demo", "../2").is_err());
    }

    #[test]
    fn a_desktop_is_named_in_full_or_by_its_pool() {
        let caller: UserName = "anna".parse().unwrap();
        let id = |text| DesktopId::parse(text, &caller).map(|id| id.to_string());
        assert_eq!(id("demo"), Ok("demo/anna".into()));
        assert_eq!(id("demo/ben"), Ok("demo/ben".into()));
        for text in ["", "/", "demo/", "/ben", "demo/ben/x", "demo/..", "../ben"] {
            assert_eq!(id(text).unwrap_err().field, "desktop", "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn accepted_names_are_safe_in_keys_and_paths(text in "\\PC{0,50}") {
            if let Ok(name) = UserName::parse("name", &text) {
                prop_assert!(!name.as_str().contains(['/', '.', ' ', '\0']) && name.as_str().len() <= 32);
            }
            if let Ok(name) = PoolName::parse("name", &text) {
                prop_assert!(!name.as_str().contains(['/', '.', ' ', '\0', '_']) && name.as_str().len() <= 40);
            }
        }

        #[test]
        fn a_key_reads_back(pool in "[a-z][a-z0-9-]{0,39}", user in "[a-z_][a-z0-9_-]{0,31}") {
            let id = DesktopId { pool: pool.parse().unwrap(), user: user.parse().unwrap() };
            prop_assert_eq!(DesktopId::from_key(&id.to_string()), Some(id));
        }
    }
}
