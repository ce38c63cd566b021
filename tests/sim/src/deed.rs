//! What became of the desktops of a host, for whoever checks what was said
//! about them.

use tokio::time::Instant;

/// Something that happened to a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When.
    pub at: Instant,
    /// Its number.
    pub number: u32,
    /// Which life of it.
    pub epoch: u64,
    /// "pool/user".
    pub label: String,
    /// The start's.
    pub request_id: String,
    /// What.
    pub what: What,
}

/// What can happen to a desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was begun.
    Begun,
    /// It runs.
    Up,
    /// It is no more: why.
    Ended(String),
}
