//! What a guest is like.

use super::{DataDisk, Lan, Payload};

/// A guest to be started.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    pub(super) name: String,
    pub(super) payload: Option<&'a Payload>,
    pub(super) data: Option<&'a DataDisk>,
    pub(super) link: Option<(&'a Lan, u8)>,
}

impl<'a> Spec<'a> {
    /// A guest alone, with nothing in it. `name` becomes its host name: letters,
    /// digits and dashes.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), payload: None, data: None, link: None }
    }

    /// Files it sees, read-only, at `/payload`.
    #[must_use]
    pub fn payload(mut self, payload: &'a Payload) -> Self {
        self.payload = Some(payload);
        self
    }

    /// A disk that is mounted at `/data`, and kept.
    #[must_use]
    pub fn data(mut self, disk: &'a DataDisk) -> Self {
        self.data = Some(disk);
        self
    }

    /// Its link `eth0` is in `lan`, with the address `10.99.0.NUMBER/24`; no two
    /// guests there may have the same number.
    #[must_use]
    pub fn on(mut self, lan: &'a Lan, number: u8) -> Self {
        self.link = Some((lan, number));
        self
    }
}
