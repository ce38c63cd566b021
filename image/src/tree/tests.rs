use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tempfile::TempDir;

use super::*;

fn inner(path: &str) -> InnerPath {
    InnerPath::new(path.as_bytes()).unwrap()
}

/// A tree, and beside it what a hostile one would like to reach.
fn trees() -> (TempDir, Tree, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("real")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/precious"), "x").unwrap();
    symlink(dir.path().join("outside"), root.join("absolute")).unwrap();
    symlink("../outside", root.join("climbing")).unwrap();
    symlink("/real", root.join("good")).unwrap();
    let tree = Tree::open(&root).unwrap();
    (dir, tree, root)
}

#[test]
fn links_in_a_path_stay_within() {
    let (dir, tree, root) = trees();
    tree.write(&inner("good/file"), "text", 0o640).unwrap();
    assert_eq!(fs::read_to_string(root.join("real/file")).unwrap(), "text");
    assert_eq!(fs::metadata(root.join("real/file")).unwrap().mode() & 0o7777, 0o640);
    for path in ["absolute/precious", "climbing/precious"] {
        // Within the tree there is no such directory, and none is made through a link.
        assert!(tree.write(&inner(path), "lost", 0o644).is_err(), "{path}");
        assert!(!tree.remove(&inner(path)).unwrap(), "{path}");
        assert!(!tree.has(path).unwrap(), "{path}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("outside/precious")).unwrap(), "x");
}

#[test]
fn a_link_in_the_last_place_is_replaced_not_followed() {
    let (dir, tree, root) = trees();
    tree.write(&inner("absolute"), "mine", 0o644).unwrap();
    assert_eq!(fs::read_to_string(root.join("absolute")).unwrap(), "mine");
    // A link is no directory to be emptied.
    assert_eq!(tree.empty(&inner("climbing")).unwrap(), 0);
    assert!(tree.remove(&inner("climbing")).unwrap());
    assert_eq!(fs::read_to_string(dir.path().join("outside/precious")).unwrap(), "x");
}

#[test]
fn directories_are_made_on_the_way_and_emptied() {
    let (_dir, tree, root) = trees();
    tree.write(&inner("a/b/c/file"), "", 0o644).unwrap();
    assert_eq!(fs::metadata(root.join("a/b")).unwrap().mode() & 0o7777, 0o755);
    symlink("/etc", root.join("a/b/link")).unwrap();
    assert_eq!(tree.empty(&inner("a")).unwrap(), 1);
    assert_eq!(tree.empty(&inner("a")).unwrap(), 0);
    assert_eq!(tree.empty(&inner("nowhere")).unwrap(), 0);
    tree.link(&inner("x/y"), "/dev/null").unwrap();
    assert_eq!(fs::read_link(root.join("x/y")).unwrap(), Path::new("/dev/null"));
    assert!(tree.empty(&inner("")).unwrap() > 1);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}
