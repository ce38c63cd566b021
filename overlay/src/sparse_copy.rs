//! Copying a sparse file without filling its holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Used where the kernel cannot copy by itself.
const BUFFER_BYTES: usize = 64 * 1024;

/// Compared, and if need be written, at once.
const COMPARE_BYTES: usize = 256 * 1024;

/// Makes `to`, which is empty, a copy of `from`: sharing its blocks where the
/// file system can, otherwise copying what is not a hole.
pub(crate) fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    if share_blocks(from, to) {
        return Ok(());
    }
    copy_data(from, to)
}

/// Makes `to`, which is empty, a copy of `from` that shares its blocks, where
/// the file system can; whether that was done. It is a copy of one instant.
pub(crate) fn share_blocks(from: &File, to: &File) -> bool {
    ioctl_ficlone(to, from).is_ok()
}

/// Makes `to`, which is empty, a copy of `from`, with blocks of its own, but
/// for holes.
pub(crate) fn copy_data(from: &File, to: &File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    for_each_extent(from, |start, end| {
        copy_range(from, to, start, end)?;
        Ok(true)
    })
    .map(drop)
}

/// Whether [`copy_changes`] came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    All,
    OutOfTime,
}

/// Makes `to`, which was a copy of `from`, one again, writing only what differs.
pub(crate) fn copy_changes(from: &File, to: &File, until: Option<Instant>) -> io::Result<Copied> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut compare = Compare::new(from, to, until);
    let mut hole = 0;
    let all = for_each_extent(from, |start, end| {
        punch(to, hole, start)?;
        hole = end;
        compare.range(start, end)
    })?;
    if all {
        punch(to, hole, length)?;
    }
    Ok(if all { Copied::All } else { Copied::OutOfTime })
}

/// Calls `visit` for the ranges of `file` that are not holes, in order, until
/// it says no; whether it never did.
pub(crate) fn for_each_extent(
    file: &File,
    mut visit: impl FnMut(u64, u64) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut position = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        if !visit(start, end)? {
            return Ok(false);
        }
        position = end;
    }
}

struct Compare<'a> {
    from: &'a File,
    to: &'a File,
    until: Option<Instant>,
    new: Vec<u8>,
    old: Vec<u8>,
}

impl<'a> Compare<'a> {
    fn new(from: &'a File, to: &'a File, until: Option<Instant>) -> Self {
        Self { from, to, until, new: vec![0; COMPARE_BYTES], old: vec![0; COMPARE_BYTES] }
    }

    /// Whether there was time for it.
    fn range(&mut self, mut start: u64, end: u64) -> io::Result<bool> {
        while start < end {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let wanted =
                usize::try_from(end - start).map_or(COMPARE_BYTES, |n| n.min(COMPARE_BYTES));
            let (new, old) = (&mut self.new[..wanted], &mut self.old[..wanted]);
            self.from.read_exact_at(new, start)?;
            self.to.read_exact_at(old, start)?;
            if new != old {
                self.to.write_all_at(new, start)?;
            }
            start += wanted as u64;
        }
        Ok(true)
    }
}

/// Makes a hole of what is in `file` from `start` to `end`, if anything is.
fn punch(file: &File, start: u64, end: u64) -> io::Result<()> {
    match seek(file, SeekFrom::Data(start)) {
        Ok(data) if data < end => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(fallocate(file, flags, start, end - start)?)
        }
        Ok(_) | Err(Errno::NXIO) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn copy_range(from: &File, to: &File, mut start: u64, end: u64) -> io::Result<()> {
    while start < end {
        let wanted = usize::try_from(end - start).unwrap_or(usize::MAX);
        let (mut source, mut target) = (start, start);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), wanted) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => start += copied as u64,
            // Between two file systems, or on one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_through_memory(from, to, start, end);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &File, to: &File, mut start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while start < end {
        let wanted = usize::try_from(end - start).map_or(BUFFER_BYTES, |n| n.min(BUFFER_BYTES));
        from.read_exact_at(&mut buffer[..wanted], start)?;
        to.write_all_at(&buffer[..wanted], start)?;
        start += wanted as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn changes_are_copied_until_time_is_up() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(&[1; 9000], 0).unwrap();
        let past = Some(Instant::now());
        assert_eq!(copy_changes(&from, &to, past).unwrap(), Copied::OutOfTime);
        assert_eq!(copy_changes(&from, &to, None).unwrap(), Copied::All);
        assert!(contents(&to) == contents(&from));
    }

    const PIECE: u64 = 128 * 1024;

    fn contents(mut file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        rustix::fs::seek(file, SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn copies_are_equal_and_as_sparse(
            pieces in proptest::collection::vec(any::<Option<u8>>(), 0..12), odd in 0u64..5000
        ) {
            let from = tempfile::tempfile().unwrap();
            from.set_len(pieces.len() as u64 * PIECE + odd).unwrap();
            for (index, piece) in pieces.iter().enumerate() {
                if let Some(byte) = piece {
                    from.write_all_at(&vec![*byte; 4096], index as u64 * PIECE).unwrap();
                }
            }
            let copied = tempfile::tempfile().unwrap();
            copy_sparse(&from, &copied).unwrap();
            let by_hand = tempfile::tempfile().unwrap();
            copy_through_memory(&from, &by_hand, 0, pieces.len() as u64 * PIECE + odd).unwrap();
            prop_assert!(contents(&copied) == contents(&from));
            prop_assert!(contents(&by_hand) == contents(&from));
            let later = tempfile::tempfile().unwrap();
            later.set_len(13 * PIECE).unwrap();
            later.write_all_at(&[7; 9000], 3 * PIECE + 100).unwrap();
            prop_assert_eq!(copy_changes(&from, &later, None).unwrap(), Copied::All);
            prop_assert!(contents(&later) == contents(&from));
            prop_assert!(later.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 16);
            let blocks = |file: &File| file.metadata().unwrap().blocks();
            prop_assert!(blocks(&copied) <= blocks(&from) + 16);
        }
    }
}
