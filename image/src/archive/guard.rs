//! A bound on what a tar reader takes in before it hands out a member.
//!
//! Long names and PAX records come as data before the member they describe, of
//! a length that the archive chooses, and are read into memory at once.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Room for the headers of one member: names of 4 KiB and attributes of 64 KiB each.
const HEADER_BYTES: u64 = 4 << 20;

/// How many more bytes may be read; shared with the reader.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowance(Rc<Cell<Option<u64>>>);

impl Allowance {
    /// From now on a header is read.
    pub(crate) fn headers(&self) {
        self.0.set(Some(HEADER_BYTES));
    }

    /// From now on a member's data is read, which others bound.
    pub(crate) fn data(&self) {
        self.0.set(None);
    }
}

/// A reader that stops where the allowance ends.
pub(crate) struct Guarded<R> {
    inner: R,
    allowance: Allowance,
}

impl<R: Read> Guarded<R> {
    pub(crate) fn new(inner: R) -> (Self, Allowance) {
        let allowance = Allowance::default();
        (Self { inner, allowance: allowance.clone() }, allowance)
    }
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.allowance.0.get() else { return self.inner.read(buffer) };
        if left == 0 && !buffer.is_empty() {
            let text = format!("the headers of one member take more than {HEADER_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        self.allowance.0.set(Some(left - count as u64));
        Ok(count)
    }
}
