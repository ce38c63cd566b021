//! Bytes, owners, modes and times of single members.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::member::Member;
use crate::tree::Place;

/// What runs of zeros must fill to become a hole.
const HOLE: usize = 4096;

/// Owner, time and, but for links, mode of what has just been made and is not to be opened.
pub(super) fn dress_unopened(place: &Place<'_>, member: &Member, mode: bool) -> Result<(), Errno> {
    let (dir, name, owner) = (&place.dir, place.name, member.owner);
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(dir, name, Some(owner.user), Some(owner.group), nofollow)?;
    if mode {
        rustix::fs::chmodat(dir, name, member.mode, AtFlags::empty())?;
    }
    rustix::fs::utimensat(dir, name, &times(member.modified), nofollow)
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: modified, last_modification: modified }
}

/// Sets both times.
pub(super) fn set_times(file: impl AsFd, modified: Timespec) -> Result<(), Errno> {
    rustix::fs::futimens(file, &times(modified))
}

/// Reads until the buffer is full or the data ends.
pub(super) fn fill(data: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match data.read(rest) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// Writes a chunk that begins at `at`; whole blocks of zeros are left out.
pub(super) fn write_with_holes(file: &mut &File, mut at: u64, chunk: &[u8]) -> io::Result<()> {
    for block in chunk.chunks(HOLE) {
        if block.len() < HOLE || block.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(block)?;
        }
        at += block.len() as u64;
    }
    Ok(())
}
