//! The description of an overlay that comes first in its archive.

use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use crate::options::OverlayOptions;
use crate::overlay_file::OverlayKind;
use crate::record::Record;
use crate::size::OverlaySize;

const FORMAT: u32 = 1;

/// It has some hundred bytes.
pub(super) const MAX_BYTES: u64 = 16 * 1024;

const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Persistent,
    Home,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: u32,
    kind: Kind,
    /// What it was called where it comes from. For people; not used.
    name: String,
    size_bytes: u64,
    pub(super) options: OverlayOptions,
    /// Milliseconds since 1970.
    created_at_ms: u64,
    exported_at_ms: u64,
}

/// All that is sure of a description of any format.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

// === impl Header ===

impl Header {
    pub(super) fn new(kind: &OverlayKind, about: &Record, size_bytes: u64, now_ms: u64) -> Self {
        Self {
            format: FORMAT,
            kind: if matches!(kind, OverlayKind::Home(_)) { Kind::Home } else { Kind::Persistent },
            name: about.name.clone(),
            size_bytes,
            options: about.options,
            created_at_ms: about.created_at_ms,
            exported_at_ms: now_ms,
        }
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, ArchiveError> {
        let AnyFormat { format } = serde_json::from_slice(text).map_err(ArchiveError::Header)?;
        if format != FORMAT {
            return Err(ArchiveError::Format { found: format, known: FORMAT });
        }
        serde_json::from_slice(text).map_err(ArchiveError::Header)
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Seconds since 1970, as tar counts.
    pub(super) fn exported_at_s(&self) -> u64 {
        self.exported_at_ms / 1000
    }

    pub(super) fn text(&self) -> Result<Vec<u8>, ArchiveError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(ArchiveError::Header)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Whether it can become `kind`, and how large that will be.
    pub(super) fn accept(
        &self,
        kind: &OverlayKind,
        limit: OverlaySize,
    ) -> Result<OverlaySize, ArchiveError> {
        let found = match self.kind {
            Kind::Persistent => "persistent overlay",
            Kind::Home => "home volume",
        };
        if matches!(kind, OverlayKind::Home(_)) != (self.kind == Kind::Home) {
            return Err(ArchiveError::OtherKind { found, wanted: kind.clone() });
        }
        // Others would let its maker decide how our kernel joins the layers.
        if self.options != OverlayOptions::kept() {
            return Err(ArchiveError::Options);
        }
        let wrong = || ArchiveError::Size { size_bytes: self.size_bytes, limit };
        let mib = i64::try_from(self.size_bytes / MIB).map_err(|_| wrong())?;
        let size = OverlaySize::from_mib(mib).map_err(|_| wrong())?;
        if size.bytes() != self.size_bytes || size > limit {
            return Err(wrong());
        }
        Ok(size)
    }
}
