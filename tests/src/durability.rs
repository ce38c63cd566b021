//! Writing so that it can be told afterwards, from what is on disk alone,
//! whether everything that was synced is still there.
//!
//! Step `n` does one of four things a desktop's programs do: makes a file,
//! replaces one by a rename, appends to one, or appends to one that came with
//! the base root. When it returns, `n` is acknowledged: from then on a power cut
//! must not undo it. Contents follow from `n`, so nothing else has to be kept.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// Length of a record in an appended file: less than a block, so that blocks
/// are shared by records and rewritten.
const RECORD: usize = 1000;
/// Largest file, bytes.
const LARGEST: u64 = 96 << 10;

/// The file that has to be in the base root.
pub const OF_THE_BASE: &str = "from-the-base";

/// Does step `n` in `dir` and syncs it.
///
/// # Errors
/// A call that failed.
pub fn step(dir: &Path, n: u64) -> io::Result<()> {
    match n % 4 {
        0 => write_synced(&file_of(dir, n), &contents(n))?,
        1 => {
            let draft = dir.join("replaced.new");
            write_synced(&draft, &contents(n))?;
            fs::rename(&draft, dir.join("replaced"))?;
        }
        2 => append(&dir.join("appended"), n)?,
        _ => append(&dir.join(OF_THE_BASE), n)?,
    }
    // The names, too.
    File::open(dir)?.sync_all()
}

/// Whether everything up to step `acknowledged` is there; later steps may be
/// there, in part or whole. `acknowledged` is the last step that returned.
///
/// # Errors
/// What is missing or wrong.
pub fn verify(dir: &Path, acknowledged: u64) -> anyhow::Result<()> {
    for n in (4..=acknowledged).filter(|n| n % 4 == 0) {
        let path = file_of(dir, n);
        let found = read(&path)?;
        ensure!(found == contents(n), "step {n}: {} is not what was synced", path.display());
    }
    let last = |kind: u64| (1..=acknowledged).rev().find(|n| n % 4 == kind);
    if let Some(last) = last(1) {
        let found = read(&dir.join("replaced"))?;
        let number = found.first_chunk().map(|head| u64::from_le_bytes(*head)).unwrap_or(0);
        ensure!(
            number >= last && number % 4 == 1 && found == contents(number),
            "step {last}: `replaced` is of step {number}, or neither the old nor the new"
        );
    }
    for (kind, name) in [(2, "appended"), (3, OF_THE_BASE)] {
        let Some(last) = last(kind) else { continue };
        let found = read(&dir.join(name))?;
        for (place, n) in (1..=last).filter(|n| n % 4 == kind).enumerate() {
            let at = place * RECORD;
            let record = found.get(at..at + RECORD);
            ensure!(
                record == Some(&record_of(n)[..]),
                "step {n}: its record in `{name}` is not there"
            );
        }
    }
    Ok(())
}

fn file_of(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("file-{n}"))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Appends the record of step `n` behind those of the steps before it: what a
/// cut-off step left there is overwritten.
fn append(path: &Path, n: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let place = (1..n).filter(|earlier| earlier % 4 == n % 4).count();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all_at(&record_of(n), (place * RECORD) as u64)?;
    file.sync_data()
}

fn record_of(n: u64) -> Vec<u8> {
    noise(n, RECORD)
}

/// Begins with `n`; its length and all the rest follow from it.
fn contents(n: u64) -> Vec<u8> {
    let length = 8 + mix(n) % LARGEST;
    noise(n, length as usize)
}

fn noise(n: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let (mut word, mut count) = (n, 0);
    while bytes.len() < length {
        bytes.extend_from_slice(&word.to_le_bytes());
        count += 1;
        word = mix(n.wrapping_mul(0x1_0000_0001).wrapping_add(count));
    }
    bytes.truncate(length);
    bytes
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(steps: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join(OF_THE_BASE)).unwrap();
        (1..=steps).for_each(|n| step(dir.path(), n).unwrap());
        dir
    }

    #[test]
    fn what_was_written_verifies_and_later_steps_do_no_harm() {
        let dir = written(23);
        for acknowledged in [0, 1, 7, 19, 23] {
            verify(dir.path(), acknowledged).unwrap();
        }
    }

    #[test]
    fn a_step_may_be_repeated_after_a_cut() {
        let dir = written(11);
        for n in 10..=15 {
            step(dir.path(), n).unwrap();
        }
        verify(dir.path(), 15).unwrap();
    }

    #[test]
    fn each_kind_of_loss_is_found() {
        type Harm = fn(&Path);
        let harm: [(&str, Harm); 5] = [
            ("file-8", |dir| fs::remove_file(dir.join("file-8")).unwrap()),
            ("file-8", |dir| fs::write(dir.join("file-8"), [0; 100]).unwrap()),
            ("replaced", |dir| fs::write(dir.join("replaced"), contents(5)).unwrap()),
            ("appended", |dir| {
                File::options()
                    .write(true)
                    .open(dir.join("appended"))
                    .unwrap()
                    .set_len(2999)
                    .unwrap();
            }),
            (OF_THE_BASE, |dir| fs::write(dir.join(OF_THE_BASE), [0; 9000]).unwrap()),
        ];
        for (name, harm) in harm {
            let dir = written(13);
            harm(dir.path());
            let error = format!("{:#}", verify(dir.path(), 13).unwrap_err());
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
