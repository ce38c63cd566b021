//! With real files, as root: owners cannot be set otherwise.

mod bounds;
mod escapes;
mod kept;
mod layers;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// One member to be put into an archive made by the test.
struct Made {
    kind: EntryType,
    path: &'static [u8],
    target: &'static [u8],
    data: &'static [u8],
}

const fn made(kind: EntryType, path: &'static str, target: &'static str) -> Made {
    Made { kind, path: path.as_bytes(), target: target.as_bytes(), data: b"" }
}

const fn file(path: &'static str, data: &'static str) -> Made {
    Made { kind: EntryType::Regular, path: path.as_bytes(), target: b"", data: data.as_bytes() }
}

/// The header is written as it is: the crate's own setters refuse what hostile archives hold.
fn header(kind: EntryType, path: &[u8], target: &[u8], size: usize) -> Header {
    let mut header = Header::new_gnu();
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..path.len()].copy_from_slice(path);
    gnu.linkname[..target.len()].copy_from_slice(target);
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

fn archive(members: &[Made]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for made in members {
        let header = header(made.kind, made.path, made.target, made.data.len());
        builder.append(&header, made.data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

struct Ground {
    dir: TempDir,
    root: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/precious"), "precious").unwrap();
        Self { dir, root }
    }

    fn layers(&self, layers: &[Vec<u8>]) -> Result<Unpacked, ArchiveError> {
        let tree = Tree::open(&self.root).unwrap();
        let mut unpacker = Unpacker::new(&tree, Limits::default());
        for layer in layers {
            unpacker.unpack(&mut &layer[..], Whiteouts::Honoured)?;
        }
        unpacker.finish()
    }

    fn plain(&self, bytes: &[u8], limits: Limits) -> Result<Unpacked, ArchiveError> {
        let tree = Tree::open(&self.root).unwrap();
        let mut unpacker = Unpacker::new(&tree, limits);
        unpacker.unpack(&mut &bytes[..], Whiteouts::Plain)?;
        unpacker.finish()
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        fn walk(dir: &Path, base: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.strip_prefix(base).unwrap().display().to_string());
                if path.symlink_metadata().unwrap().is_dir() {
                    walk(&path, base, names);
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.root, &self.root, &mut names);
        names.sort();
        names
    }

    /// Whatever happened, nothing beside the root was touched.
    fn unharmed(&self) {
        let outside = self.dir.path().join("outside");
        assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "precious");
        assert_eq!(fs::metadata(outside.join("precious")).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
    }
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
