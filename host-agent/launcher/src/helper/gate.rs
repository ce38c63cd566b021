//! Holds the new process back until the helper has made it known to the agent.
//!
//! Were it faster, the agent would hear of its failure before its existence,
//! and never reap it.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Ending;
use crate::error::{AtStage, Failure, Stage};

const WORD: &[u8] = b"m";

/// Made before the process, and inherited by it.
#[derive(Debug)]
pub(super) struct Gate {
    helper: OwnedFd,
    process: OwnedFd,
}

// === impl Gate ===

impl Gate {
    pub(super) fn new() -> Result<Self, Failure> {
        let flags = SocketFlags::CLOEXEC;
        let (helper, process) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .at(Stage::Clone, "gate")?;
        Ok(Self { helper, process })
    }

    /// In the new process: waits. If the helper dies or fails instead, so does
    /// this process; the agent has been told.
    pub(super) fn wait(self) -> Result<(), Ending> {
        drop(self.helper);
        let mut word = [0; WORD.len()];
        match read(&self.process, &mut word) {
            Ok(length) if word[..length] == *WORD => Ok(()),
            Ok(_) | Err(Errno::CONNRESET) => Err(Ending::Abandoned),
            Err(error) => Err(error).at(Stage::Clone, "gate").map_err(Ending::from),
        }
    }

    /// In the helper: lets the process go on.
    pub(super) fn open(self) -> Result<(), Failure> {
        drop(self.process);
        match write(&self.helper, WORD) {
            // Killed meanwhile: the agent sees that for itself.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            result => result.map(drop).at(Stage::Clone, "gate"),
        }
    }
}
