//! Desktop images: recipes, manifests, immutable versions, tags.
//!
//! A [`Recipe`] says how a desktop's root is made, and [`build()`] makes it;
//! [`ImageStore::publish`] turns a root into an immutable version, and
//! [`ImageStore::tag`] lets a name such as `stable` point at it. A host agent
//! finds the version to mount with [`ImageStore::resolve`].

#![forbid(unsafe_code)]

mod archive;
mod build;
mod collect;
mod desktop;
mod digest;
mod fields;
mod form;
mod gc;
mod import;
mod init;
mod inside;
mod listing;
mod lock;
mod manifest;
mod mirror;
mod name;
mod oci;
mod prepare;
mod publish;
mod recipe;
mod retire;
mod shift;
mod spec;
mod stamp;
mod store;
mod tool;
mod tree;
mod upon;
mod uses;
mod work;

pub use archive::{ArchiveError, Limits, Unpacked};
pub use build::{BuildError, BuildEvent, BuiltRoot, build};
pub use collect::{Hidden, Judged, Judgement};
pub use desktop::{DesktopSpec, Display, DisplayProtocol, Session};
pub use digest::{Digest, DigestError};
pub use fields::{DocumentError, Fault};
pub use form::{Compression, RootForm};
pub use gc::{Candidate, GRACE, Policy, Uses, Verdict, decide};
pub use import::{ImportError, ImportOptions, Imported, import, take_in};
pub use init::{Init, OwnInit, Ready, StopSignal};
pub use listing::{Broken, Listed, Listing};
pub use manifest::{Manifest, RootKind};
pub use name::{
    HostName, ImageName, ImageRef, MAX_NAME_BYTES, NameError, Selector, Tag, VersionId,
};
pub use oci::OciError;
pub use prepare::{PrepareError, prepare};
pub use publish::{ManifestInput, PublishError};
pub use recipe::{Origin, Recipe, RecipeError};
pub use retire::Retirement;
pub use shift::{FirstId, FirstIdError, ShiftError};
pub use spec::{ImageSpec, SPEC_IN_ROOT, SpecError};
pub use store::{ImageStore, Published, Root, StoreError};
pub use tool::ToolError;
pub use tree::InnerPathError;
pub use uses::{Holder, Noted};
