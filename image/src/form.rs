//! In what form a root is published.

use std::fmt;

use crate::manifest::RootKind;
use crate::shift::FirstId;

/// How the blocks of an EROFS file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// LZ4, compressed with care: reads fastest.
    #[default]
    Lz4hc,
    /// Smaller by a fifth or so; needs Linux 6.10 to mount and erofs-utils 1.8 to make.
    Zstd,
    /// Not at all.
    None,
}

/// What to make of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootForm {
    /// One EROFS file.
    Erofs(Compression),
    /// A directory; where ids are given, all owners in it are moved up to
    /// begin there, for storage that cannot be ID-mapped (NFS).
    Directory(Option<FirstId>),
}

// === impl Compression ===

impl Compression {
    /// Options of `mkfs.erofs`. Clusters of 64 KiB: small reads stay cheap.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Lz4hc => &["-zlz4hc,9", "-C65536"],
            Self::Zstd => &["-zzstd", "-C65536"],
            Self::None => &[],
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lz4hc => "lz4hc",
            Self::Zstd => "zstd",
            Self::None => "none",
        })
    }
}

// === impl RootForm ===

impl RootForm {
    /// The kind that its manifest tells.
    pub fn kind(self) -> RootKind {
        match self {
            Self::Erofs(_) => RootKind::Erofs,
            Self::Directory(_) => RootKind::Directory,
        }
    }

    /// Where the ids of its owners begin, if they were moved.
    pub fn first_id(self) -> Option<FirstId> {
        match self {
            Self::Erofs(_) => None,
            Self::Directory(first) => first,
        }
    }
}

impl From<RootKind> for RootForm {
    /// The usual one of a kind.
    fn from(kind: RootKind) -> Self {
        match kind {
            RootKind::Erofs => Self::Erofs(Compression::default()),
            RootKind::Directory => Self::Directory(None),
        }
    }
}
