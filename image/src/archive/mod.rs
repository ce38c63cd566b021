//! Unpacking archives that are not trusted.
//!
//! A tar file names its members itself, so each is put in its place by
//! [`crate::tree`], which the kernel keeps within the root. What an archive can
//! make us read, write or keep in memory is bounded by [`Limits`].

mod compression;
mod guard;
mod member;
mod sparse;
mod unpack;
mod whiteout;
mod write;
mod xattr;

use std::io;

use thiserror::Error;

pub(crate) use compression::decompressed;
pub(crate) use guard::Guarded;
pub(crate) use unpack::{Unpacker, Whiteouts};

use crate::tree::InnerPathError;

/// How much an archive may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Files, directories, links and all else.
    pub members: u64,
}

impl Default for Limits {
    /// 64 GiB and four million members: more than any desktop, less than a disk.
    fn default() -> Self {
        Self { bytes: 64 << 30, members: 4_000_000 }
    }
}

/// What was unpacked, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Members put in place.
    pub members: u64,
    /// Bytes of the files among them, holes included.
    pub bytes: u64,
    /// Block and character devices, which a desktop gets from its host.
    pub devices_skipped: u64,
    /// Extended attributes of kinds that no root needs, such as `trusted.`.
    pub attributes_skipped: u64,
    /// Names removed by the whiteouts of upper layers.
    pub whited_out: u64,
}

/// Why an archive was refused.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It cannot be read, or is damaged.
    #[error("the archive cannot be read: {0}")]
    Read(#[source] io::Error),
    /// A member cannot have the name it has.
    #[error("a member of the archive cannot be unpacked: {0}")]
    Path(#[from] InnerPathError),
    /// A member could not be put in its place.
    #[error("cannot {verb} {path} of the archive")]
    Member {
        /// What was tried.
        verb: &'static str,
        /// The member.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A hard link to something that did not come before it.
    #[error("{path} is a hard link to {target}, which is not in the archive before it")]
    DanglingHardLink {
        /// The member.
        path: String,
        /// What it names.
        target: String,
    },
    /// A sparse map that makes no sense.
    #[error("the sparse file {path} has no valid map: {why}")]
    Sparse {
        /// The member.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// More than is allowed.
    #[error("the archive has more than {limit} {what}; --max-size allows more")]
    TooLarge {
        /// Bytes or members.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
}
