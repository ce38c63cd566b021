//! What a snapshot is, and what is known about it besides its file.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::name::SnapshotName;
use crate::record::FORMAT;
use crate::store::at_ms;

/// The most snapshots an overlay can have, automatic ones included.
pub const MAX_SNAPSHOTS: usize = 64;

/// The longest description of a snapshot, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;

/// A snapshot of a kept overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name, unique among the snapshots of its overlay.
    pub name: SnapshotName,
    /// What whoever took it wrote about it.
    pub description: String,
    /// When it was taken; unknown if its record was lost.
    pub created_at: Option<SystemTime>,
    /// Taken by rolling back or repairing, which keep what was there before.
    pub automatic: bool,
    /// Size of its file system.
    pub size_bytes: u64,
    /// What it takes on the disk of the host. Blocks shared with the overlay or
    /// other snapshots count for each.
    pub allocated_bytes: u64,
}

/// The record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotRecord {
    format: u32,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Milliseconds since 1970.
    pub(crate) created_at_ms: u64,
    pub(crate) automatic: bool,
}

// === impl SnapshotRecord ===

impl SnapshotRecord {
    pub(crate) fn new(
        name: &SnapshotName,
        description: &str,
        created_at_ms: u64,
        automatic: bool,
    ) -> Self {
        let (name, description) = (name.to_string(), description.to_owned());
        Self { format: FORMAT, name, description, created_at_ms, automatic }
    }
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn new(
        name: SnapshotName,
        record: Option<SnapshotRecord>,
        size_bytes: u64,
        allocated_bytes: u64,
    ) -> Self {
        let created_at = record.as_ref().map(|record| at_ms(record.created_at_ms));
        let automatic = record.as_ref().is_some_and(|record| record.automatic);
        let description = record.map(|record| record.description).unwrap_or_default();
        Self { name, description, created_at, automatic, size_bytes, allocated_bytes }
    }
}
