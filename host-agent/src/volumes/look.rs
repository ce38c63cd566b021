//! How a volume is, without changing it.

use std::time::SystemTime;

use rolltop_overlay::{Health, OverlayEntry, Overlays, StoreError};

use super::VolumeKey;
use crate::{address::Number, host::Host};

/// What is known about its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A desktop uses it.
    InUse,
    /// Nothing is known against it.
    AtRest,
    /// A full check found no fault.
    Sound,
    /// The next start repairs it.
    Repairable,
    /// The kernel found a fault while a desktop uses it.
    FaultInUse,
    /// No desktop starts with it.
    Damaged,
}

/// A volume at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Which.
    pub key: VolumeKey,
    /// Size of its filesystem.
    pub size_bytes: u64,
    /// Blocks its file takes on the host.
    pub allocated_bytes: u64,
    /// What files take inside; none: it cannot be told.
    pub used_bytes: Option<u64>,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// How it is, as far as can be seen without a check.
    pub condition: Condition,
    /// Number of its snapshots.
    pub snapshots: usize,
    /// The desktop that uses it.
    pub desktop: Option<Number>,
}

// === impl Condition ===

impl From<&Health> for Condition {
    fn from(health: &Health) -> Self {
        match health {
            Health::Sound => Self::Sound,
            Health::Repairable { .. } => Self::Repairable,
            Health::Damaged { .. } => Self::Damaged,
            Health::InUse => Self::InUse,
            Health::FaultInUse => Self::FaultInUse,
        }
    }
}

/// Every volume of the host, by kind and name. Blocking.
///
/// # Errors
/// The directory cannot be read.
pub fn look(host: &Host, kept: &Overlays) -> Result<Vec<Volume>, StoreError> {
    let entries = kept.list()?;
    Ok(entries.into_iter().filter_map(|entry| volume(host, kept, entry)).collect())
}

/// One volume. Blocking.
///
/// # Errors
/// [`StoreError::NotFound`].
pub fn look_at(host: &Host, kept: &Overlays, key: &VolumeKey) -> Result<Volume, StoreError> {
    let kind = key.overlay();
    let entry = kept.list()?.into_iter().find(|entry| entry.kind == kind);
    entry.and_then(|entry| volume(host, kept, entry)).ok_or(StoreError::NotFound(kind))
}

fn volume(host: &Host, kept: &Overlays, entry: OverlayEntry) -> Option<Volume> {
    let key = VolumeKey::of(&entry.kind)?;
    let desktop = host
        .registry
        .all()
        .into_iter()
        .map(|desktop| desktop.view())
        .find(|view| !view.state().is_final() && view.uses(&entry.kind));
    let condition = match (entry.in_use, entry.usage.inside) {
        (true, _) => Condition::InUse,
        (false, Some(_)) => Condition::AtRest,
        (false, None) => Condition::Damaged,
    };
    Some(Volume {
        size_bytes: entry.usage.size_bytes,
        allocated_bytes: entry.usage.allocated_bytes,
        used_bytes: entry.usage.inside.map(|inside| inside.used_bytes),
        created_at: entry.created_at,
        condition,
        // One that goes away meanwhile has none.
        snapshots: kept.snapshots(&entry.kind).map_or(0, |snapshots| snapshots.len()),
        desktop: desktop.map(|view| view.record.number),
        key,
    })
}
