//! Waiting for a descriptor to become ready.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers `fd` with the runtime. Must be called in one.
///
/// # Errors
/// The descriptor cannot be polled, or is registered already.
#[expect(
    deprecated,
    reason = "the new form is unsafe because a caller's type may close its descriptor while it is \
              registered; an OwnedFd, which is all we register, does not"
)]
pub fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
