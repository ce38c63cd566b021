//! Desktop images: recipes, manifests, immutable versions, tags.
//!
//! A [`Recipe`] says how a desktop's root is made, and [`build()`] makes it;
//! [`ImageStore::publish`] turns a root into an immutable version, and
//! [`ImageStore::tag`] lets a name such as `stable` point at it. A host agent
//! finds the version to mount with [`ImageStore::resolve`].

#![forbid(unsafe_code)]

mod build;
mod desktop;
mod digest;
mod fields;
mod inside;
mod listing;
mod manifest;
mod mirror;
mod name;
mod publish;
mod recipe;
mod stamp;
mod store;
mod tool;

pub use build::{BuildError, BuildEvent, BuiltRoot, build};
pub use desktop::{DesktopSpec, Display, DisplayProtocol, Init, Session};
pub use digest::{Digest, DigestError};
pub use fields::{DocumentError, Fault};
pub use listing::{Broken, Listed, Listing};
pub use manifest::{Manifest, RootKind};
pub use name::{ImageName, ImageRef, MAX_NAME_BYTES, NameError, Selector, Tag, VersionId};
pub use publish::{ManifestInput, PublishError};
pub use recipe::{Recipe, RecipeError};
pub use store::{ImageStore, Published, Root, StoreError};
pub use tool::ToolError;
