//! Places in a tree full of links. No rights are needed: nothing is mounted.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use tempfile::TempDir;

/// `outside/` with a secret, beside `root/` as a container's root.
fn tree() -> (TempDir, PathBuf, Tree) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir(directory.path().join("outside")).unwrap();
    let tree = open(&root);
    (directory, root, tree)
}

fn open(root: &Path) -> Tree {
    Tree::new(rustix::fs::open(root, PLACE, Mode::empty()).unwrap())
}

fn inode(place: &OwnedFd) -> u64 {
    statat(place, c"", AtFlags::EMPTY_PATH).unwrap().st_ino
}

fn same(place: &OwnedFd, path: &Path) -> bool {
    inode(place) == fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn what_is_missing_is_made() {
    let (_directory, root, tree) = tree();
    let place = tree.place(Path::new("/run/user/1000"), Kind::Directory).unwrap();
    assert!(same(&place, &root.join("run/user/1000")));
    let place = tree.place(Path::new("/run/user/file"), Kind::File).unwrap();
    assert!(same(&place, &root.join("run/user/file")));
    assert!(root.join("run/user/file").is_file());
}

#[test]
fn what_is_there_is_left_alone() {
    let (_directory, root, tree) = tree();
    fs::write(root.join("etc/hosts"), "127.0.0.1").unwrap();
    let place = tree.place(Path::new("/etc/hosts"), Kind::File).unwrap();
    assert!(same(&place, &root.join("etc/hosts")));
    assert_eq!(fs::read_to_string(root.join("etc/hosts")).unwrap(), "127.0.0.1");
}

#[test]
fn no_link_leads_out() {
    let (directory, root, tree) = tree();
    let outside = directory.path().join("outside");
    for (number, target) in
        [outside.to_str().unwrap(), "../outside", "/../../outside", "../../../../outside"]
            .into_iter()
            .enumerate()
    {
        symlink(target, root.join(format!("etc/link{number}"))).unwrap();
        let path = format!("/etc/link{number}/made");
        let place = tree.place(Path::new(&path), Kind::Directory).unwrap();
        assert_ne!(inode(&place), inode(&open(&outside).root));
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
    assert!(root.join("outside/made").is_dir(), "but where the link leads from the root");
}

#[test]
fn a_dangling_link_is_made_good_within() {
    let (_directory, root, tree) = tree();
    symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf")).unwrap();
    let place = tree.place(Path::new("/etc/resolv.conf"), Kind::File).unwrap();
    assert!(same(&place, &root.join("run/systemd/resolve/stub-resolv.conf")));
}

#[test]
fn links_in_a_ring_are_an_error() {
    let (_directory, root, tree) = tree();
    symlink("b", root.join("etc/a")).unwrap();
    symlink("a", root.join("etc/b")).unwrap();
    let failure = tree.place(Path::new("/etc/a"), Kind::File).unwrap_err();
    assert_eq!(failure.errno, Errno::LOOP.raw_os_error());
    assert_eq!(tree.make(Path::new("/etc/a/x"), Kind::File).unwrap_err(), Errno::LOOP);
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let (_directory, root, tree) = tree();
    fs::write(root.join("run"), "").unwrap();
    let failure = tree.place(Path::new("/run/lock"), Kind::Directory).unwrap_err();
    assert_eq!(failure.errno, Errno::NOTDIR.raw_os_error());
}

#[test]
fn links_are_refused_where_they_would_deceive() {
    let (_directory, root, tree) = tree();
    symlink("etc", root.join("proc")).unwrap();
    let failure = tree.place_without_links(Path::new("/proc")).unwrap_err();
    assert_eq!(failure.errno, Errno::LOOP.raw_os_error());
    let place = tree.place_without_links(Path::new("/sys")).unwrap();
    assert!(same(&place, &root.join("sys")));
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let (_directory, root, tree) = tree();
    assert!(tree.find(Path::new("/proc/kcore")).unwrap().is_none());
    fs::write(root.join("file"), "").unwrap();
    assert!(tree.find(Path::new("/file/below")).unwrap().is_none());
    assert!(tree.find(Path::new("/etc")).unwrap().is_some());
    assert!(!root.join("proc").exists());
}

#[test]
fn dots_stay_within() {
    let steps = reversed(Path::new("/a/./../b"));
    let names = [Step::Down("b".into()), Step::Up, Step::Down("a".into()), Step::ToRoot];
    assert_eq!(steps, names);
    let (_directory, root, tree) = tree();
    let place = tree.make(Path::new("/../../etc/.."), Kind::Directory).unwrap();
    assert!(same(&place, &root));
}
