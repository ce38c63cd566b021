//! What can go wrong with an archive.

use std::io;

use thiserror::Error;

use crate::overlay_file::OverlayKind;
use crate::size::OverlaySize;
use crate::step::StepError;

/// Why an archive was not written or not taken in.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Whoever gets the archive does not take it.
    #[error("write the archive")]
    Write(#[source] io::Error),
    /// The archive cannot be read on: it is damaged here, or does not come.
    #[error("read the archive: it is damaged or ends about byte {at} of its contents")]
    Read {
        /// How much was read before, uncompressed. Damage is found at the end of
        /// the piece it is in (16 MiB).
        at: u64,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no archive of an overlay: {member}: {problem}")]
    Malformed {
        /// Which part.
        member: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Its description is not as expected.
    #[error("the archive's description cannot be used")]
    Header(#[source] serde_json::Error),
    /// It is of a later version of this program.
    #[error("the archive has format {found}, known is {known}")]
    Format {
        /// Its format.
        found: u32,
        /// The format this program knows.
        known: u32,
    },
    /// It holds an overlay and a home volume was asked for, or the other way
    /// round.
    #[error("the archive holds a {found}, and cannot become {wanted}")]
    OtherKind {
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        wanted: OverlayKind,
    },
    /// It was made with options that overlays here are not made with.
    #[error("the archive's overlay options are not those of a kept overlay")]
    Options,
    /// Its size is none, or more than is taken in.
    #[error("the archive's overlay has {size_bytes} bytes, and may have whole MiB up to {limit}")]
    Size {
        /// What it has.
        size_bytes: u64,
        /// The most it may have.
        limit: OverlaySize,
    },
    /// What was read is not what was written.
    #[error("the archive is damaged: the checksum of {part} is wrong")]
    Checksum {
        /// Which part of the overlay's file.
        part: String,
    },
    /// A call on the file failed.
    #[error(transparent)]
    Step(#[from] StepError),
}
