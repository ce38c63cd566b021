//! NFS exports as base roots: where they are, how they are mounted.
//!
//! Everything here but the parsing may wait for a server, the unmounting
//! included, and a thread that waits for one is ended by the end of its process
//! alone. So a daemon calls it in a process that it can do without.

mod mount;
mod options;
mod url;

pub use mount::{NfsError, NfsTarget};
pub(crate) use mount::{is_nfs, mount_nfs};
pub use options::{NfsOptions, NfsSecurity, OptionFault};
pub use url::{NfsHost, NfsUrl, NfsUrlError};

/// What a mount of an export is for, which says how long what the server once
/// said is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NfsUse {
    /// Roots of published versions, which never change.
    Versions,
    /// Tags and manifests: asked for each time, so that a moved tag is seen at
    /// once, and a server that does not answer is noticed.
    Names,
}
