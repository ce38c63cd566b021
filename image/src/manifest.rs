//! The manifest of a published version: `manifest.toml`, format 1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use toml::{Table, Value};

use crate::desktop::DesktopSpec;
use crate::digest::Digest;
use crate::fields::{DocumentError, Faults, Section, text};
use crate::name::ImageName;
use crate::shift::FirstId;

/// The only format there is.
pub(crate) const FORMAT: i64 = 1;
/// Longest description, in bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: usize = 500;
/// Largest time stamp taken, seconds since 1970: the end of the year 9999.
pub(crate) const MAX_UNIX_SECONDS: u64 = 253_402_300_799;

/// What is known about one published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image it is a version of.
    pub name: ImageName,
    /// One line for people; may be empty.
    pub description: String,
    /// In what form the root is kept.
    pub root: RootKind,
    /// The id that root has in it, where its owners were moved up for the
    /// desktops of that range; `None` where they are as inside.
    pub first_id: Option<FirstId>,
    /// Of the EROFS file, or of the tree: see [`Digest`].
    pub digest: Digest,
    /// Bytes of the EROFS file, or of all regular files in the tree.
    pub size_bytes: u64,
    /// When it was published; whole seconds.
    pub published_at: SystemTime,
    /// Of the recipe it was built from, if it was.
    pub recipe_digest: Option<Digest>,
    /// How a desktop of it is brought up.
    pub desktop: DesktopSpec,
}

/// In what form a root is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKind {
    /// One EROFS file, `root.erofs`.
    Erofs,
    /// A directory, `root`.
    Directory,
}

impl RootKind {
    /// The word for it in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Directory => "directory",
        }
    }

    /// Its file name in a version's directory.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Erofs => "root.erofs",
            Self::Directory => "root",
        }
    }
}

// === impl Manifest ===

impl Manifest {
    /// Reads a manifest; every fault in it is reported.
    pub fn parse(document: &str) -> Result<Self, DocumentError> {
        let faults = Faults::default();
        let mut top = Section::document(document, &faults)?;
        read_format(&mut top);
        let name = read_name(&mut top);
        let description = read_description(&mut top);
        let published_at = top.required("published_at", "seconds since 1970", |v| {
            match v.as_integer().and_then(|s| u64::try_from(s).ok()) {
                Some(seconds) if seconds <= MAX_UNIX_SECONDS => {
                    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
                }
                _ => Err("seconds since 1970, as a whole number".to_owned()),
            }
        });
        let recipe_digest = top.optional("recipe_digest", read_digest);
        let root = top.section("root").and_then(read_root);
        let desktop = DesktopSpec::read(&mut top);
        top.finish();

        match (name, description, published_at, root, desktop) {
            (Some(name), Some(description), Some(published_at), Some(root), Some(desktop))
                if faults.is_empty() =>
            {
                Ok(Self {
                    name,
                    description,
                    root: root.kind,
                    first_id: root.first_id,
                    digest: root.digest,
                    size_bytes: root.size_bytes,
                    published_at,
                    recipe_digest,
                    desktop,
                })
            }
            _ => Err(faults.into_error()),
        }
    }

    /// The manifest as text; [`Manifest::parse`] reads it back.
    pub fn to_toml(&self) -> String {
        // Times before 1970 cannot be written; publishing refuses them.
        let seconds = self.published_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut top = Table::new();
        let mut put = |key: &str, value: Value| top.insert(key.to_owned(), value);
        put("format", Value::Integer(FORMAT));
        put("name", Value::String(self.name.to_string()));
        put("description", Value::String(self.description.clone()));
        put("published_at", Value::Integer(seconds.cast_signed()));
        if let Some(digest) = &self.recipe_digest {
            put("recipe_digest", Value::String(digest.to_string()));
        }
        let mut root = Table::from_iter([
            ("kind".into(), Value::String(self.root.as_str().to_owned())),
            ("digest".into(), Value::String(self.digest.to_string())),
            ("size_bytes".into(), Value::Integer(self.size_bytes.cast_signed())),
        ]);
        if let Some(first) = self.first_id {
            root.insert("first_id".into(), Value::Integer(first.get().into()));
        }
        put("root", Value::Table(root));
        self.desktop.write(&mut top);
        top.to_string()
    }
}

pub(crate) fn read_format(top: &mut Section<'_>) {
    top.required("format", "format = 1", |v| match v.as_integer() {
        Some(FORMAT) => Ok(()),
        _ => Err("1, the only format this version of Rolltop knows".to_owned()),
    });
}

pub(crate) fn read_name(top: &mut Section<'_>) -> Option<ImageName> {
    top.required("name", "the image's name", |v| {
        let name = v.as_str().ok_or("the image's name as text")?;
        name.parse().map_err(|e: crate::name::NameError| e.to_string())
    })
}

pub(crate) fn read_description(top: &mut Section<'_>) -> Option<String> {
    let expected = "one line of at most 500 bytes; may be empty";
    top.required("description", expected, |v| text(v, expected, is_description).map(str::to_owned))
}

pub(crate) fn is_description(text: &str) -> bool {
    text.len() <= MAX_DESCRIPTION_BYTES && !text.chars().any(char::is_control)
}

fn read_digest(value: &Value) -> Result<Digest, String> {
    let expected = "\"sha256:\" and 64 hexadecimal digits";
    value.as_str().and_then(|t| t.parse().ok()).ok_or_else(|| expected.to_owned())
}

/// What `[root]` says.
struct RootFacts {
    kind: RootKind,
    first_id: Option<FirstId>,
    digest: Digest,
    size_bytes: u64,
}

fn read_root(mut section: Section<'_>) -> Option<RootFacts> {
    let kinds = "\"erofs\" or \"directory\"";
    let kind = section.required("kind", kinds, |v| match v.as_str() {
        Some("erofs") => Ok(RootKind::Erofs),
        Some("directory") => Ok(RootKind::Directory),
        _ => Err(kinds.to_owned()),
    });
    let digest = section.required("digest", "the root's digest", read_digest);
    let size_bytes = section.required("size_bytes", "the root's size", |v| {
        v.as_integer()
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| "a number of bytes, 0 or more".to_owned())
    });
    let first_id = section.optional("first_id", |v| {
        v.as_integer()
            .and_then(|n| u32::try_from(n).ok().and_then(FirstId::new))
            .ok_or_else(|| "a number from 65536 to 4294901758".to_owned())
    });
    section.finish();
    Some(RootFacts { kind: kind?, first_id, digest: digest?, size_bytes: size_bytes? })
}

#[cfg(test)]
mod tests;
