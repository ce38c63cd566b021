use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use proptest::prelude::*;
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;
use crate::copy::pack;

/// A member as no honest tar writes it: any name, any link.
fn member(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, content: &str) {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o6755);
    header.set_mtime(1_000_000_000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content.as_bytes()).unwrap();
}

/// A target with a neighbour that must stay as it is.
struct Ground {
    dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        fs::write(dir.path().join("neighbour"), "mine").unwrap();
        Self { dir }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    fn land(&self, members: &[(EntryType, &str, &str, &str)]) -> Result<Landed, LandError> {
        let mut archive = Builder::new(Vec::new());
        for (kind, name, link, content) in members {
            member(&mut archive, *kind, name, link, content);
        }
        self.take(&archive.into_inner().unwrap())
    }

    fn take(&self, stream: &[u8]) -> Result<Landed, LandError> {
        let naming = Naming::Renamed { from: "a".into(), to: "b".into() };
        let landed = land(stream, &self.target(), &naming, |_| {});
        assert_eq!(fs::read_to_string(self.dir.path().join("neighbour")).unwrap(), "mine");
        let beside = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(beside, 2, "something was made beside the target");
        landed
    }
}

use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};

#[test]
fn a_tree_comes_over_as_it_was() {
    let from = TempDir::new().unwrap();
    let source = from.path().join("a");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("deep/er/file"), "content").unwrap();
    fs::set_permissions(source.join("deep/er/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(source.join("deep"), fs::Permissions::from_mode(0o550)).unwrap();
    symlink("er/file", source.join("deep-link")).unwrap();
    fs::hard_link(source.join("deep/er/file"), source.join("twin")).unwrap();
    let mut stream = Vec::new();
    pack(&source, Path::new("a"), &mut stream).unwrap();

    let ground = Ground::new();
    let landed = ground.take(&stream).unwrap();
    let top = ground.target().join("b");
    assert_eq!(fs::read_to_string(top.join("deep/er/file")).unwrap(), "content");
    assert_eq!(fs::read_to_string(top.join("twin")).unwrap(), "content");
    let mode = |path: &str| fs::metadata(top.join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("deep/er/file"), mode("deep")), (0o640, 0o550));
    assert_eq!(fs::read_link(top.join("deep-link")).unwrap(), Path::new("er/file"));
    assert_eq!((landed.files, landed.bytes, landed.skipped_count), (3, 14, 0));
}

#[test]
fn paths_that_lead_out_are_refused() {
    for name in ["../neighbour", "a/../../neighbour", "/etc/x", "x", "..", "a/..", "b", ""] {
        let refused = Ground::new().land(&[(Regular, name, "", "evil")]);
        assert!(refused.is_err(), "{name}");
    }
}

#[test]
fn nothing_gets_through_a_link() {
    for link in ["..", "/tmp", "../neighbour", "."] {
        let ground = Ground::new();
        let refused = ground.land(&[
            (Directory, "a", "", ""),
            (Symlink, "a/out", link, ""),
            (Regular, "a/out/neighbour", "", "evil"),
        ]);
        assert!(matches!(refused, Err(LandError::Write { .. })), "{link}: {refused:?}");
    }
    // Nor through one that was there, of the user's own.
    let ground = Ground::new();
    fs::create_dir(ground.target().join("b")).unwrap();
    symlink("../..", ground.target().join("b/out")).unwrap();
    assert!(ground.land(&[(Directory, "a", "", ""), (Regular, "a/out/x", "", "evil")]).is_err());
    assert!(ground.land(&[(Directory, "a/out", "", "")]).is_err());
}

#[test]
fn a_file_takes_the_place_of_a_link_not_of_what_it_points_at() {
    let ground = Ground::new();
    fs::create_dir(ground.target().join("b")).unwrap();
    symlink("../../neighbour", ground.target().join("b/file")).unwrap();
    ground.land(&[(Regular, "a/file", "", "new")]).unwrap();
    let file = ground.target().join("b/file");
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert_eq!(fs::read_to_string(file).unwrap(), "new");
    // The same within the stream.
    let top = [(Symlink, "a", "../neighbour", ""), (Regular, "a", "", "new")];
    Ground::new().land(&top).unwrap();
}

#[test]
fn hard_links_name_what_the_stream_has_brought_and_nothing_else() {
    for target in ["../neighbour", "/etc/passwd", "a/not-sent", "x", "a/link"] {
        let refused = Ground::new().land(&[
            (Directory, "a", "", ""),
            (Symlink, "a/link", "../../neighbour", ""),
            (Link, "a/twin", target, ""),
            (Regular, "a/twin", "", "evil"),
        ]);
        assert!(refused.is_err(), "{target}");
    }
    let ground = Ground::new();
    let good = [(Regular, "a", "", "one"), (Link, "a", "a", "")];
    ground.land(&good).unwrap();
    let names = fs::read_dir(ground.target()).unwrap().count();
    assert_eq!(names, 1, "a draft stays");
}

#[test]
fn devices_and_set_id_bits_stay_away() {
    let ground = Ground::new();
    let landed = ground
        .land(&[
            (Directory, "a", "", ""),
            (Char, "a/null", "", ""),
            (Block, "a/disk", "", ""),
            (Fifo, "a/pipe", "", ""),
            (Regular, "a/tool", "", "x"),
        ])
        .unwrap();
    assert_eq!((landed.skipped_count, landed.files), (3, 1));
    let names: Vec<_> = fs::read_dir(ground.target().join("b"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(names, ["tool"]);
    let meta = fs::metadata(ground.target().join("b/tool")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o755, 1_000_000_000));
}

#[test]
fn a_name_without_end_is_not_taken_into_memory() {
    // GNU's form of a long name: a member of kind L whose content is the name.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(b'x'));
    let ground = Ground::new();
    let refused = land(endless, &ground.target(), &Naming::AsIs, |_| {});
    assert!(matches!(refused, Err(LandError::Stream(_))), "{refused:?}");
}

#[test]
fn a_stream_that_breaks_off_leaves_no_half_file() {
    let mut archive = Builder::new(Vec::new());
    member(&mut archive, Regular, "a", "", &"x".repeat(5_000));
    let whole = archive.into_inner().unwrap();
    let ground = Ground::new();
    assert!(ground.take(&whole[..2_000]).is_err());
    assert_eq!(fs::read_dir(ground.target()).unwrap().count(), 0);
}

proptest! {
    #[test]
    fn no_stream_writes_elsewhere(
        members in proptest::collection::vec(
            (0..5_usize, "(a|b|\\.\\.|\\.|/){1,6}", "(a|b|\\.\\.|/|neighbour){0,5}"), 0..8)
    ) {
        let kinds = [Regular, Directory, Symlink, Link, Fifo];
        let members: Vec<_> = members
            .iter()
            .map(|(kind, name, link)| (kinds[*kind], name.as_str(), link.as_str(), "evil"))
            .map(|(kind, name, link, text)| (kind, name, link, if kind == Regular { text } else { "" }))
            .collect();
        // Whatever becomes of it: the ground itself looks at what lies beside.
        drop(Ground::new().land(&members));
    }
}
