//! Members that want out of the tree.

use super::*;

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
}
