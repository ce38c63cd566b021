//! What is done to volumes: one call of the library each, as a job.

use std::sync::Arc;

use rolltop_overlay::{
    CopySource, Health, MAX_SIZE_MIB, OverlaySize, Overlays, PresentState, Snapshot, SnapshotName,
    StoreError,
};

use super::{
    Busy, FromCaller, Job, Task, ToCaller, Volume, VolumeError, VolumeKey, look::look_at,
    pipe::Passed,
};
use crate::host::Host;

/// Work that a caller may leave and come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Makes it larger.
    Grow(OverlaySize),
    /// Gives unused blocks back.
    Trim,
    /// Looks it through.
    Check,
    /// Keeps it as it is now.
    Snapshot {
        /// Its name.
        name: SnapshotName,
        /// For people.
        description: String,
    },
    /// Makes it what it was.
    RollBack(SnapshotName),
    /// Copies it.
    Clone {
        /// None: as it is now.
        snapshot: Option<SnapshotName>,
        /// The new volume.
        to: VolumeKey,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The volume as it is now, and what else there is to tell.
    Changed {
        /// For a clone, the new one.
        volume: Box<Volume>,
        /// Made by it.
        snapshot: Option<Snapshot>,
        /// What the host got back.
        trimmed_bytes: u64,
    },
    /// How it is.
    Checked(Box<Volume>, Health),
    /// It is gone.
    Deleted,
    /// It went to the caller.
    Exported(Passed),
}

// === impl Order ===

impl Order {
    fn task(&self) -> Task {
        match self {
            Self::Grow(_) => Task::Grow,
            Self::Trim => Task::Trim,
            Self::Check => Task::Check,
            Self::Snapshot { .. } => Task::Snapshot,
            Self::RollBack(_) => Task::RollBack,
            Self::Clone { .. } => Task::Clone,
        }
    }
}

/// Begins `order`, or joins the request that did.
///
/// # Errors
/// Something else is being done to the volume.
pub fn begin(
    host: &Arc<Host>,
    kept: Arc<Overlays>,
    key: &VolumeKey,
    order: Order,
    request_id: &str,
) -> Result<Arc<Job>, Busy> {
    let mut volumes = vec![key.clone()];
    if let Order::Clone { to, .. } = &order {
        volumes.push(to.clone());
    }
    let task = order.task();
    let work = {
        let (host, key) = (Arc::clone(host), key.clone());
        move || perform(&host, &kept, &key, &order)
    };
    host.jobs.begin(volumes, task, request_id, work)
}

fn perform(
    host: &Host,
    overlays: &Overlays,
    key: &VolumeKey,
    order: &Order,
) -> Result<Done, VolumeError> {
    let kind = key.overlay();
    let changed = |key: &VolumeKey, snapshot, trimmed_bytes| {
        let volume = Box::new(look_at(host, overlays, key)?);
        Ok(Done::Changed { volume, snapshot, trimmed_bytes })
    };
    match order {
        Order::Grow(size) => {
            overlays.grow(&kind, *size)?;
            tracing::info!(volume = %key, %size, "grown");
            host.registry.touch(|view| view.uses(&kind));
            changed(key, None, 0)
        }
        Order::Trim => {
            let trimmed = overlays.trim(&kind)?.given_back_bytes();
            changed(key, None, trimmed)
        }
        Order::Check => {
            let health = overlays.check(&kind)?;
            let mut volume = look_at(host, overlays, key)?;
            volume.condition = (&health).into();
            Ok(Done::Checked(Box::new(volume), health))
        }
        Order::Snapshot { name, description } => {
            let snapshot = overlays.snapshot(&kind, name, description)?;
            tracing::info!(volume = %key, snapshot = %name, "kept as a snapshot");
            changed(key, Some(snapshot), 0)
        }
        Order::RollBack(name) => {
            let before = overlays.roll_back(&kind, name, PresentState::Keep)?;
            tracing::info!(volume = %key, snapshot = %name, "rolled back");
            changed(key, before, 0)
        }
        Order::Clone { snapshot, to } => {
            let source = CopySource { kind, snapshot: snapshot.clone() };
            overlays.clone_overlay(&source, &to.overlay())?;
            tracing::info!(volume = %key, to = %to, "cloned");
            changed(to, None, 0)
        }
    }
}

/// Begins to delete a volume and its snapshots for good.
///
/// # Errors
/// Something else is being done to it.
pub fn delete(host: &Arc<Host>, kept: Arc<Overlays>, key: &VolumeKey) -> Result<Arc<Job>, Busy> {
    let work = {
        let key = key.clone();
        move || {
            if !kept.delete_with_snapshots(&key.overlay())? {
                return Err(StoreError::NotFound(key.overlay()).into());
            }
            tracing::info!(volume = %key, "deleted, as asked");
            Ok(Done::Deleted)
        }
    };
    host.jobs.begin(vec![key.clone()], Task::Delete, "", work)
}

/// Begins to delete one snapshot for good.
///
/// # Errors
/// Something else is being done to its volume.
pub fn delete_snapshot(
    host: &Arc<Host>,
    kept: Arc<Overlays>,
    key: &VolumeKey,
    name: SnapshotName,
) -> Result<Arc<Job>, Busy> {
    let work = {
        let key = key.clone();
        move || {
            if !kept.delete_snapshot(&key.overlay(), &name)? {
                return Err(VolumeError::NoSnapshot { volume: key, name: name.to_string() });
            }
            tracing::info!(volume = %key, snapshot = %name, "deleted, as asked");
            Ok(Done::Deleted)
        }
    };
    host.jobs.begin(vec![key.clone()], Task::DeleteSnapshot, "", work)
}

/// Begins to write a volume to a caller, who ends it by going away.
///
/// # Errors
/// Something else is being done to it.
pub fn export(
    host: &Arc<Host>,
    kept: Arc<Overlays>,
    key: &VolumeKey,
    snapshot: Option<SnapshotName>,
    mut to: ToCaller,
) -> Result<Arc<Job>, Busy> {
    let work = {
        let key = key.clone();
        move || {
            let source = CopySource { kind: key.overlay(), snapshot };
            kept.export(&source, &mut to)?;
            to.finish().map(Done::Exported).map_err(VolumeError::CallerGone)
        }
    };
    host.jobs.begin(vec![key.clone()], Task::Export, "", work)
}

/// Begins to make a volume of what comes from a caller. If that breaks off,
/// there is none.
///
/// # Errors
/// Something else is being done to it.
pub fn import(
    host: &Arc<Host>,
    kept: Arc<Overlays>,
    key: &VolumeKey,
    mut from: FromCaller,
) -> Result<Arc<Job>, Busy> {
    let work = {
        let (host, key) = (Arc::clone(host), key.clone());
        move || {
            let limit = OverlaySize::from_mib(MAX_SIZE_MIB)?;
            kept.import(&key.overlay(), &mut from, limit)?;
            tracing::info!(volume = %key, "imported");
            let volume = Box::new(look_at(&host, &kept, &key)?);
            Ok(Done::Changed { volume, snapshot: None, trimmed_bytes: 0 })
        }
    };
    host.jobs.begin(vec![key.clone()], Task::Import, "", work)
}
