//! What a session writes to its standard output and error.
//!
//! It writes to a file in a small file system of its desktop's own, so it needs
//! nobody to write: while no agent runs it goes on. The agent keeps that file
//! short from its begin: what is old becomes a hole, and places in the file stay
//! what they were for those who read on. The session can change the file as it
//! likes; only its own log suffers.

mod keep;
mod read;

use std::{fs::File, io};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

pub use keep::Keeper;
pub use read::{LogError, SessionLog};

/// The first place from `place` on that is no hole. `None`: there is none.
fn kept_from(file: &File, place: u64) -> io::Result<Option<u64>> {
    found(seek(file, SeekFrom::Data(place)))
}

/// Where the next hole is, or the end.
fn kept_until(file: &File, place: u64) -> io::Result<Option<u64>> {
    found(seek(file, SeekFrom::Hole(place)))
}

fn found(place: rustix::io::Result<u64>) -> io::Result<Option<u64>> {
    match place {
        // Behind the end; before it, too, if only a hole follows.
        Err(Errno::NXIO) => Ok(None),
        place => Ok(Some(place?)),
    }
}
