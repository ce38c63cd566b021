//! Upper layers over lower ones.

use super::*;

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
