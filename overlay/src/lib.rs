//! Base roots, overlay files, loop and overlayfs mounts.
//!
//! A desktop's root is an overlay of two layers: a **base root**, mounted
//! read-only once per host ([`BaseRoots`]), and an **overlay file**, a sparse
//! ext4 ([`Overlays`]). [`open_root`] joins them in a directory, [`close_root`]
//! takes them apart again, from any process, knowing nothing but that directory.
//!
//! [`Overlays`] also looks after the files: growing, trimming, checking and
//! repairing them, snapshots, clones, archives. The example `care` goes through
//! all of it. A home volume is a file of the same sort, mounted by
//! [`open_volume`].
//!
//! All calls block, most for a millisecond or two, copies for as long as they
//! take, and all may run side by side, in several processes too.
#![forbid(unsafe_code)]

mod archive;
mod base;
mod check;
mod close;
mod copies;
mod deletion;
mod dir_lock;
mod draft;
mod fence;
mod find;
mod freeze;
mod fs_context;
mod grow;
mod identity;
mod layout;
mod live;
mod lock;
mod mending;
pub mod mountinfo;
mod mounting;
mod name;
mod names_lock;
pub mod nfs;
mod open;
mod options;
mod overlay_file;
mod overlay_mount;
mod places;
mod record;
mod recovery;
mod repair;
mod rollback;
mod scratch_mount;
mod sharing;
mod size;
mod snapshot;
mod snapshots;
mod sparse_copy;
mod step;
mod store;
mod store_error;
mod superblock;
mod template;
mod tool;
mod trim;
mod usage;
mod volume;

pub use archive::{ArchiveError, Exported};
pub use base::{BaseError, BaseRoots, BaseSource};
pub use check::Health;
pub use close::{CloseReport, LOOP_MAJOR, close_root, own_device};
pub use draft::DraftError;
pub use fence::Fence;
pub use find::{FindError, FoundRoot, find_roots};
pub use freeze::FreezeError;
pub use mending::Mended;
pub use mounting::{deisolate, isolate};
pub use name::{BaseKey, NAME_MAX_BYTES, NameError, OverlayName, SnapshotName};
pub use open::{OpenError, OpenPlan, OpenRoot, open_root, open_shifted_root};
pub use options::{Durability, OverlayOptions};
pub use overlay_file::{
    CopySource, OverlayEntry, OverlayFile, OverlayKind, OverlayUsage, SpaceInside,
};
pub use overlay_mount::OverlayMountError;
pub use record::RecordError;
pub use repair::{RepairError, Repaired};
pub use rollback::PresentState;
pub use rolltop_sys::user_namespace::{IdMap, IdRange};
pub use scratch_mount::ScratchMountError;
pub use sharing::Sharing;
pub use size::{MAX_SIZE_MIB, MIN_SIZE_MIB, OverlaySize, SizeError};
pub use snapshot::{MAX_DESCRIPTION_BYTES, MAX_SNAPSHOTS, Snapshot};
pub use step::StepError;
pub use store::Overlays;
pub use store_error::StoreError;
pub use template::TemplateError;
pub use tool::ToolError;
pub use trim::Trimmed;
pub use volume::{OpenVolume, VolumePlan, open_volume};
