//! Base roots, overlay files, loop and overlayfs mounts.
//!
//! A desktop's root is an overlay of two layers: a **base root**, mounted
//! read-only once per host ([`BaseRoots`]), and an **overlay file**, a sparse
//! ext4 ([`Overlays`]). [`open_root`] joins them in a directory, [`close_root`]
//! takes them apart again, from any process, knowing nothing but that directory.
//!
//! All calls block, most for a millisecond or two, and all may run side by side,
//! in several processes too.
#![forbid(unsafe_code)]

mod base;
mod close;
mod dir_lock;
mod draft;
mod find;
mod fs_context;
mod layout;
pub mod mountinfo;
mod mounting;
mod name;
mod open;
mod options;
mod overlay_file;
mod overlay_mount;
mod record;
mod repair;
mod size;
mod sparse_copy;
mod step;
mod store;
mod superblock;
mod template;
mod tool;

pub use base::{BaseError, BaseRoots, BaseSource};
pub use close::{CloseReport, close_root};
pub use draft::DraftError;
pub use find::{FindError, FoundRoot, find_roots};
pub use mounting::{deisolate, isolate};
pub use name::{BaseKey, NAME_MAX_BYTES, NameError, OverlayName};
pub use open::{OpenError, OpenPlan, OpenRoot, open_root};
pub use options::{Durability, OverlayOptions};
pub use overlay_file::{OverlayEntry, OverlayFile, OverlayKind, OverlayUsage, StoreError};
pub use overlay_mount::OverlayMountError;
pub use record::RecordError;
pub use repair::{RepairError, Repaired};
pub use rolltop_sys::user_namespace::IdMap;
pub use size::{MAX_SIZE_MIB, MIN_SIZE_MIB, OverlaySize, SizeError};
pub use step::StepError;
pub use store::Overlays;
pub use template::TemplateError;
pub use tool::ToolError;
