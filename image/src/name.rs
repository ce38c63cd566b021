//! Names that become path components: images, tags, versions.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest name of any kind, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("{kind} is empty; use {rule}")]
    Empty {
        /// What was to be named.
        kind: &'static str,
        /// What would be right.
        rule: &'static str,
    },
    /// More bytes than [`MAX_NAME_BYTES`].
    #[error("{kind} has {bytes} bytes; at most {MAX_NAME_BYTES} are possible")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// How many bytes it had.
        bytes: usize,
    },
    /// A character outside of the alphabet, or one that may not come first.
    #[error("{kind} {text:?} cannot have {character:?} at byte {at}; use {rule}")]
    Character {
        /// What was to be named.
        kind: &'static str,
        /// The text refused.
        text: String,
        /// The first character that is wrong.
        character: char,
        /// Its place.
        at: usize,
        /// What would be right.
        rule: &'static str,
    },
    /// Neither `name:tag` nor `name@version`.
    #[error("{text:?} names no image; use \"name:tag\" or \"name@version\"")]
    NoSelector {
        /// The text refused, shortened.
        text: String,
    },
}

/// One kind of name: what it is called, its alphabet, and that in words.
struct Kind {
    what: &'static str,
    rule: &'static str,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
}

const IMAGE_NAME: Kind = Kind {
    what: "image name",
    rule: "lower-case letters, digits and '-', beginning with a letter or digit",
    first: is_lower_or_digit,
    rest: |c| is_lower_or_digit(c) || c == '-',
};
const TAG: Kind = Kind {
    what: "image tag",
    rule: "lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit",
    first: is_lower_or_digit,
    rest: is_version_char,
};
const HOST: Kind = Kind {
    what: "host name",
    rule: "letters, digits, '.', '_' and '-', beginning with a letter or digit",
    first: |c| c.is_ascii_alphanumeric(),
    rest: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
};
const VERSION: Kind = Kind { what: "image version", ..TAG };

fn is_lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_version_char(c: char) -> bool {
    is_lower_or_digit(c) || matches!(c, '.' | '_' | '-')
}

fn check(text: &str, kind: &Kind) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind: kind.what, rule: kind.rule });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { kind: kind.what, bytes: text.len() });
    }
    let wrong = text
        .char_indices()
        .find(|&(at, c)| !(if at == 0 { (kind.first)(c) } else { (kind.rest)(c) }));
    match wrong {
        None => Ok(text.to_owned()),
        Some((at, character)) => Err(NameError::Character {
            kind: kind.what,
            text: text.to_owned(),
            character,
            at,
            rule: kind.rule,
        }),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text, &$kind).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }
    };
}

name_type!(
    /// Name of an image: lower-case letters, digits and '-'. Safe as one path component.
    ImageName,
    IMAGE_NAME
);
name_type!(
    /// A movable pointer to a version, such as `stable`. Safe as one path component.
    Tag,
    TAG
);
name_type!(
    /// A host that uses images. Safe as one path component.
    HostName,
    HOST
);
name_type!(
    /// An immutable version of an image. Safe as one path component.
    VersionId,
    VERSION
);

/// Which version of an image is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The version the tag points at when asked.
    Tag(Tag),
    /// This version and no other.
    Version(VersionId),
}

/// An image as people write it: `name:tag` or `name@version`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    /// The image.
    pub name: ImageName,
    /// Which version of it.
    pub selector: Selector,
}

impl FromStr for ImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(at) = text.find([':', '@']) else {
            return Err(NameError::NoSelector {
                text: text.chars().take(MAX_NAME_BYTES).collect(),
            });
        };
        let (name, rest) = (&text[..at], &text[at + 1..]);
        let name = name.parse()?;
        let selector = if text.as_bytes()[at] == b':' {
            Selector::Tag(rest.parse()?)
        } else {
            Selector::Version(rest.parse()?)
        };
        Ok(Self { name, selector })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Tag(tag) => write!(f, "{}:{tag}", self.name),
            Selector::Version(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bad_components() -> Vec<String> {
        let long = "a".repeat(300);
        [
            "", ".", "..", "/", "a/b", "../a", " ", "a b", "a\0", "\0", "A", ".a", "-a", "a\n",
            "ä", "a:b", "a@b", &long,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn bad_names_are_refused() {
        for text in bad_components() {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
            assert!(text.parse::<VersionId>().is_err(), "{text:?}");
        }
        assert!("a.b".parse::<ImageName>().is_err());
        assert!("a".repeat(MAX_NAME_BYTES).parse::<ImageName>().is_ok());
        assert!("a".repeat(MAX_NAME_BYTES + 1).parse::<ImageName>().is_err());
    }

    #[test]
    fn bad_references_are_refused_on_either_side() {
        for text in bad_components() {
            for reference in [
                format!("{text}:stable"),
                format!("{text}@1"),
                format!("demo:{text}"),
                format!("demo@{text}"),
            ] {
                assert!(reference.parse::<ImageRef>().is_err(), "{reference:?}");
            }
        }
        assert!(matches!("demo".parse::<ImageRef>(), Err(NameError::NoSelector { .. })));
    }

    #[test]
    fn references_say_tag_or_version() {
        let tag: ImageRef = "demo:stable".parse().unwrap();
        assert_eq!(tag.selector, Selector::Tag("stable".parse().unwrap()));
        let version: ImageRef = "demo@2026.1_a-b".parse().unwrap();
        assert_eq!(version.selector, Selector::Version("2026.1_a-b".parse().unwrap()));
    }

    #[test]
    fn a_refusal_names_the_place_and_the_rule() {
        let error = "dEmo".parse::<ImageName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "image name \"dEmo\" cannot have 'E' at byte 1; use lower-case letters, digits and '-', \
             beginning with a letter or digit"
        );
    }

    proptest! {
        #[test]
        fn whatever_parses_is_one_harmless_path_component(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<VersionId>() {
                prop_assert!(!name.as_str().starts_with('.'));
                prop_assert!(!name.as_str().contains(['/', '\0']));
                prop_assert!(name.as_str().len() <= MAX_NAME_BYTES);
            }
        }

        #[test]
        fn references_survive_printing(name in "[a-z0-9][a-z0-9-]{0,20}", rest in "[a-z0-9][a-z0-9._-]{0,20}", tag: bool) {
            let text = format!("{name}{}{rest}", if tag { ':' } else { '@' });
            prop_assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        }
    }
}
