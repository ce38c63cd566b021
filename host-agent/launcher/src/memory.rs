//! Files that are in memory alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use serde::Serialize;

/// A copy in memory that nobody can change any more.
pub(crate) fn sealed_copy(program: &Path) -> io::Result<OwnedFd> {
    let mut source = File::open(program)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = "rolltop-launcher";
    let copy = match memfd_create(name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every memory file is executable and the flag unknown.
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        result => result?,
    };
    let mut copy = File::from(copy);
    io::copy(&mut source, &mut copy)?;
    seal(&copy)?;
    Ok(copy.into())
}

/// Tries to seal a file that somebody looks at.
const SEAL_TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The kernel refuses for as long as anybody holds one of the pages, as reclaim
/// does in passing: it waits for a fifth of a second and gives up
/// (`memfd_wait_for_pins` in mm/memfd.c). Nobody can write to these pages, so it
/// is only a matter of time.
fn seal(file: &File) -> rustix::io::Result<()> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    for _ in 1..SEAL_TRIES {
        match fcntl_add_seals(file, seals) {
            Err(Errno::BUSY) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    fcntl_add_seals(file, seals)
}

/// A memory file holding `value` as JSON.
pub(crate) fn json_file(name: &str, value: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(value)?)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_somebody_looks_at_is_sealed_when_they_are_done() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("sealed", flags).unwrap());
        file.write_all(&[7; 8192]).unwrap();
        // A pipe holds pages that were spliced into it.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let flags = rustix::pipe::SpliceFlags::empty();
        let spliced = rustix::pipe::splice(&file, Some(&mut 0), &writer, None, 4096, flags);
        assert_eq!(spliced.unwrap(), 4096);
        let seals = SealFlags::WRITE;
        assert_eq!(fcntl_add_seals(&file, seals), Err(Errno::BUSY), "or this tests nothing");
        std::thread::scope(|scope| {
            let sealed = scope.spawn(|| seal(&file));
            let mut looked_at = vec![0; 4096];
            assert_eq!(rustix::io::read(&reader, &mut looked_at).unwrap(), 4096);
            sealed.join().unwrap().unwrap();
        });
        assert!(file.write_all(b"x").is_err(), "it is sealed");
    }
}
