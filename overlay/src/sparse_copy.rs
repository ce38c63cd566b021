//! Copying a sparse file without filling its holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Used where the kernel cannot copy by itself.
const BUFFER_BYTES: usize = 64 * 1024;

/// Makes `to`, which is empty, a copy of `from`: sharing its blocks where the
/// file system can, otherwise copying what is not a hole.
pub(crate) fn copy_sparse(from: &File, to: &File) -> io::Result<()> {
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut position = 0;
    loop {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        copy_range(from, to, start, end)?;
        position = end;
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
            let blocks = |file: &File| file.metadata().unwrap().blocks();
            prop_assert!(blocks(&copied) <= blocks(&from) + 16);
        }
    }
}
