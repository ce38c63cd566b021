//! Locks on files of the store.
//!
//! Open-file-description locks (`fcntl(2)`): they belong to the open file, so
//! threads exclude one another and a child that inherits it keeps them; and NFS
//! carries them, so that a client and a process on the server exclude one another too,
//! which `flock(2)` does not give.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Who else may have the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Shared,
    Exclusive,
}

/// Opens a lock file, made if missing.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Waits for the lock; dropping the last copy of the file gives it up.
pub(crate) fn wait(file: &File, sharing: Sharing) -> io::Result<()> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLKW(&whole(sharing))) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Takes the lock if nobody has it.
pub(crate) fn attempt(file: &File, sharing: Sharing) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole(sharing))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// From the first byte to the last there may ever be.
fn whole(sharing: Sharing) -> libc::flock {
    let kind = match sharing {
        Sharing::Shared => libc::F_RDLCK,
        Sharing::Exclusive => libc::F_WRLCK,
    };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_or_many_readers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let files = [open(&path).unwrap(), open(&path).unwrap(), open(&path).unwrap()];
        assert!(attempt(&files[0], Sharing::Shared).unwrap());
        assert!(attempt(&files[1], Sharing::Shared).unwrap());
        assert!(!attempt(&files[2], Sharing::Exclusive).unwrap());
        drop(files);
        let (first, second) = (open(&path).unwrap(), open(&path).unwrap());
        wait(&first, Sharing::Exclusive).unwrap();
        let copy = first.try_clone().unwrap();
        drop(first);
        assert!(!attempt(&second, Sharing::Shared).unwrap(), "a copy keeps it");
        drop(copy);
        assert!(attempt(&second, Sharing::Exclusive).unwrap());
    }
}
