//! With real files, as root: owners cannot be set otherwise.

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

#[test]
fn no_member_gets_out() {
    if !is_root() {
        return;
    }
    let up = "../outside";
    for (title, members) in [
        ("a file above", vec![file("../outside/new", "x")]),
        ("a file far above", vec![file("a/../../outside/new", "x")]),
        ("a directory above", vec![made(DIR, "../outside/dir", "")]),
        ("a link above", vec![made(LINK, "../outside/link", "x")]),
        ("through a climbing link", vec![made(LINK, "a", up), file("a/new", "x")]),
        ("over a file through a link", vec![made(LINK, "a", up), file("a/precious", "lost")]),
        ("through two links", vec![made(LINK, "a", "b"), made(LINK, "b", up), file("a/new", "x")]),
        ("a directory by a link", vec![made(LINK, "a", up), made(DIR, "a/b", "")]),
        ("a whiteout above", vec![file("../outside/.wh.precious", "")]),
        ("a whiteout by a link", vec![made(LINK, "a", up), file("a/.wh.precious", "")]),
        ("opaque by a link", vec![made(LINK, "a", up), file("a/.wh..wh..opq", "")]),
        ("a hard link above", vec![made(HARD, "a", "../outside/precious")]),
        (
            "a hard link by a link",
            vec![made(LINK, "a", up), made(HARD, "b", "a/precious"), file("b", "lost")],
        ),
        (
            "a hard link to a link",
            vec![made(LINK, "a", "../outside/precious"), made(HARD, "b", "a"), file("b", "lost")],
        ),
        (
            "a file in place of a link",
            vec![made(LINK, "a", "../outside/precious"), file("a", "mine")],
        ),
    ] {
        let ground = Ground::new();
        // Refused or put elsewhere inside: both are fine, reaching outside is not.
        drop(ground.layers(&[archive(&members)]));
        ground.unharmed();
        assert!(
            ground.names().iter().all(|name| !name.contains("new") || name.starts_with("outside")),
            "{title}"
        );
    }
}

#[test]
fn what_climbs_is_refused_by_name() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let error = ground.layers(&[archive(&[file("a/../../b", "")])]).unwrap_err();
    assert!(matches!(error, ArchiveError::Path(_)), "{error:?}");
    assert!(error.to_string().contains("a/../../b"), "{error}");
    let error = ground.layers(&[archive(&[made(HARD, "a", "../b")])]).unwrap_err();
    assert!(matches!(error, ArchiveError::Path(_)), "{error:?}");
    let error = ground.layers(&[archive(&[made(HARD, "a", "b")])]).unwrap_err();
    assert!(matches!(error, ArchiveError::DanglingHardLink { .. }), "{error:?}");
}

#[test]
fn absolute_names_and_links_mean_the_root_of_the_tree() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let members = [
        file("/etc/file", "x"),
        made(LINK, "bin", "/usr/bin"),
        made(DIR, "usr/bin", ""),
        file("bin/program", "y"),
    ];
    ground.layers(&[archive(&members)]).unwrap();
    assert_eq!((ground.text("etc/file"), ground.text("usr/bin/program")), ("x".into(), "y".into()));
    ground.unharmed();
}

#[test]
fn owners_modes_times_and_kinds_are_kept() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let mut builder = Builder::new(Vec::new());
    let mut setuid = header(FILE, b"su", b"", 4);
    setuid.set_uid(7);
    setuid.set_gid(70_000);
    setuid.set_mode(0o4755);
    setuid.set_cksum();
    builder.append(&setuid, &b"prog"[..]).unwrap();
    let mut dir = header(DIR, b"tmp", b"", 0);
    dir.set_mode(0o1777);
    dir.set_cksum();
    builder.append(&dir, io::empty()).unwrap();
    builder.append(&header(FILE, b"tmp/inside", b"", 0), io::empty()).unwrap();
    builder.append(&header(HARD, b"su-too", b"su", 0), io::empty()).unwrap();
    builder.append(&header(EntryType::Fifo, b"pipe", b"", 0), io::empty()).unwrap();
    builder.append(&header(EntryType::Char, b"dev/null", b"", 0), io::empty()).unwrap();
    builder.append(&header(EntryType::Block, b"dev/sda", b"", 0), io::empty()).unwrap();
    let done = ground.plain(&builder.into_inner().unwrap(), Limits::default()).unwrap();
    let su = fs::metadata(ground.root.join("su")).unwrap();
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777), (7, 70_000, 0o4755));
    assert_eq!((su.mtime(), su.nlink()), (1_000_000_000, 2));
    let tmp = fs::metadata(ground.root.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime()), (0o1777, 1_000_000_000));
    assert!(fs::symlink_metadata(ground.root.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!((done.devices_skipped, done.members), (2, 7));
    assert!(!ground.root.join("dev/null").exists());
}

#[test]
fn attributes_are_kept_if_a_root_may_have_them() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    // cap_net_raw=ep, version 2 (linux/capability.h).
    let capability: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.trusted.overlay.opaque", &b"y"[..]),
        ])
        .unwrap();
    builder.append(&header(FILE, b"ping", b"", 0), io::empty()).unwrap();
    let done = ground.plain(&builder.into_inner().unwrap(), Limits::default()).unwrap();
    let mut value = Vec::with_capacity(64);
    let ping = ground.root.join("ping");
    rustix::fs::getxattr(&ping, "security.capability", rustix::buffer::spare_capacity(&mut value))
        .unwrap();
    assert_eq!(value, capability);
    assert_eq!(done.attributes_skipped, 1);
    assert!(rustix::fs::getxattr(&ping, "trusted.overlay.opaque", &mut [0_u8; 8][..]).is_err());
}

#[test]
fn layers_take_away_what_lower_ones_have() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let lower = archive(&[
        file("etc/gone", "1"),
        file("etc/kept", "1"),
        file("opaque/old", "1"),
        file("opaque/both/old", "1"),
        file("tree/a/b", "1"),
    ]);
    let upper = archive(&[
        file("etc/.wh.gone", ""),
        file("opaque/before", "2"),
        file("opaque/both/new", "2"),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/after", "2"),
        file(".wh.tree", ""),
        file("etc/.wh.never-there", ""),
        file(".wh..wh.plnk", ""),
        // A layer does not hide what is its own.
        file("etc/own", "2"),
        file("etc/.wh.own", ""),
    ]);
    let done = ground.layers(&[lower, upper]).unwrap();
    assert_eq!(
        ground.names(),
        [
            "etc",
            "etc/kept",
            "etc/own",
            "opaque",
            "opaque/after",
            "opaque/before",
            "opaque/both",
            "opaque/both/new",
        ]
    );
    assert_eq!(done.whited_out, 4);
}

#[test]
fn upper_layers_replace_whatever_is_in_their_way() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let lower = archive(&[
        file("a", "file"),
        file("b/c", "in a directory"),
        made(LINK, "d", "/etc"),
        made(DIR, "etc", ""),
        file("same/kept", "1"),
    ]);
    let upper = archive(&[
        made(DIR, "a", ""),
        file("a/x", "2"),
        file("b", "2"),
        made(DIR, "d", ""),
        file("d/x", "2"),
        made(DIR, "same", ""),
    ]);
    ground.layers(&[lower, upper]).unwrap();
    assert_eq!(ground.names(), ["a", "a/x", "b", "d", "d/x", "etc", "same", "same/kept"]);
    assert!(!ground.root.join("d").is_symlink());
}

#[test]
fn in_a_plain_archive_such_names_are_names() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let bytes = archive(&[file("a", "1"), file(".wh.a", "2")]);
    ground.plain(&bytes, Limits::default()).unwrap();
    assert_eq!(ground.names(), [".wh.a", "a"]);
}

#[test]
fn bounds_are_kept() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let bytes = archive(&[file("a", "12345"), file("b", "12345")]);
    let limits = Limits { bytes: 9, members: 10 };
    let error = ground.plain(&bytes, limits).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { what: "bytes", limit: 9 }), "{error:?}");
    let error = ground.plain(&bytes, Limits { bytes: 10, members: 1 }).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { what: "members", limit: 1 }), "{error:?}");
    ground.plain(&bytes, Limits { bytes: 10, members: 2 }).unwrap();
}

#[test]
fn a_header_that_never_ends_is_not_taken_in() {
    let ground = Ground::new();
    // A "long name" of eight gigabytes, of which there is plenty.
    let mut long = header(EntryType::GNULongName, b"././@LongLink", b"", 0);
    long.set_size(8 << 30);
    long.set_cksum();
    let mut stream = long.as_bytes().chain(io::repeat(b'x'));
    let tree = Tree::open(&ground.root).unwrap();
    let mut unpacker = Unpacker::new(&tree, Limits::default());
    let error = unpacker.unpack(&mut stream, Whiteouts::Plain).unwrap_err();
    assert!(error.to_string().contains("headers of one member"), "{error}");
}

#[test]
fn holes_stay_holes() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let mut data = vec![0_u8; 8 << 20];
    data[5 << 20] = 7;
    let mut builder = Builder::new(Vec::new());
    builder.append(&header(FILE, b"sparse", b"", data.len()), &data[..]).unwrap();
    builder.append(&header(FILE, b"zero", b"", 10), &data[..10]).unwrap();
    ground.plain(&builder.into_inner().unwrap(), Limits::default()).unwrap();
    assert_eq!(fs::read(ground.root.join("sparse")).unwrap(), data);
    assert!(fs::metadata(ground.root.join("sparse")).unwrap().blocks() < 256);
    assert_eq!(fs::read(ground.root.join("zero")).unwrap(), [0; 10]);
}

#[test]
fn a_cut_off_or_damaged_archive_is_an_error() {
    if !is_root() {
        return;
    }
    let bytes = archive(&[file("a", "some text"), file("b", "more text")]);
    for cut in [100, 700, 1100, 1600] {
        let ground = Ground::new();
        assert!(ground.plain(&bytes[..cut], Limits::default()).is_err(), "cut at {cut}");
    }
    let mut damaged = bytes;
    damaged[3] ^= 0xff;
    assert!(Ground::new().plain(&damaged, Limits::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Members at random places in a small, nasty world of links.
    #[test]
    fn no_mixture_of_members_gets_out(
        picks in prop::collection::vec((0_usize..6, 0_usize..8, 0_usize..8), 1..12)) {
        if rustix::process::geteuid().is_root() {
            const NAMES: [&str; 8] =
                ["a", "a/b", "a/b/c", "b", "b/precious", "../outside/precious", "a/../../outside", ".wh.a"];
            const TARGETS: [&str; 8] =
                ["..", "../outside", "../../outside", "/", "a", "b/precious", "../outside/precious", "/outside"];
            const KINDS: [EntryType; 6] = [FILE, DIR, LINK, LINK, HARD, EntryType::Fifo];
            let ground = Ground::new();
            let members: Vec<Made> = picks
                .iter()
                .map(|&(kind, name, target)| made(KINDS[kind], NAMES[name], TARGETS[target]))
                .collect();
            // One by one: a refused member must not save the rest from being tried.
            for member in &members {
                let one = archive(std::slice::from_ref(member));
                drop(ground.layers(&[one]));
            }
            ground.unharmed();
        }
    }

    /// Whatever the bytes, it is an answer or an error.
    #[test]
    fn rubbish_is_no_reason_to_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), sum: bool) {
        if sum && bytes.len() >= 512 {
            // With a right checksum more of it is looked at.
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
        }
        let ground = Ground::new();
        drop(ground.plain(&bytes, Limits { bytes: 1 << 20, members: 100 }));
        ground.unharmed();
    }
}

#[test]
fn names_need_not_be_text() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let odd = Made { kind: FILE, path: b"odd-\xff", target: b"", data: b"x" };
    ground.plain(&archive(&[odd]), Limits::default()).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"odd-\xff");
    assert_eq!(fs::read(ground.root.join(name)).unwrap(), b"x");
}
