use proptest::prelude::*;

use super::*;
use crate::desktop::{Display, DisplayProtocol, Session};
use crate::fields::Fault;
use crate::init::{Init, OwnInit, Ready, StopSignal};

const GOOD: &str = r#"
format = 1
name = "demo"
description = "A light desktop"
published_at = 1795383326
recipe_digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

[root]
kind = "erofs"
digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
size_bytes = 4096

[init]
kind = "builtin"

[session]
command = ["/usr/local/bin/rolltop-session", "-v"]
environment = { LANG = "C.UTF-8" }

[display]
protocol = "vnc"
socket = "vnc.sock"
"#;

fn faults(document: &str) -> Vec<Fault> {
    match Manifest::parse(document) {
        Err(DocumentError::Faults(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_manifest_is_read() {
    let manifest = Manifest::parse(GOOD).unwrap();
    assert_eq!(manifest.name.as_str(), "demo");
    assert_eq!(manifest.root, RootKind::Erofs);
    assert_eq!(manifest.size_bytes, 4096);
    assert_eq!(manifest.published_at, UNIX_EPOCH + Duration::from_secs(1_795_383_326));
    assert_eq!(manifest.desktop.init, Init::Builtin);
    assert_eq!(manifest.desktop.session.command, ["/usr/local/bin/rolltop-session", "-v"]);
    assert_eq!(manifest.desktop.display.socket, "vnc.sock");
}

#[test]
fn writing_and_reading_gives_the_same() {
    let manifest = Manifest::parse(GOOD).unwrap();
    assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    for (section, key) in [
        ("format = 1", "stray"),
        ("kind = \"erofs\"", "root.stray"),
        ("kind = \"builtin\"", "init.stray"),
        ("socket = \"vnc.sock\"", "display.stray"),
        ("environment = { LANG = \"C.UTF-8\" }", "session.stray"),
    ] {
        let document = GOOD.replace(section, &format!("{section}\nstray = 7"));
        let faults = faults(&document);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!((faults[0].key.as_str(), faults[0].found.as_deref()), (key, Some("7")));
    }
}

#[test]
fn all_faults_come_at_once() {
    let document = r#"
        format = 2
        name = "De mo"
        published_at = -1
        stray = 1
        [root]
        kind = "tar"
        digest = "md5:1"
        size_bytes = -5
        [init]
        kind = "systemd"
        path = "sbin/init"
        [session]
        command = ["rolltop-session"]
        environment = { "A-B" = "x" }
        [display]
        protocol = "x11"
        socket = "../vnc.sock"
    "#;
    let keys: Vec<String> = faults(document).into_iter().map(|f| f.key).collect();
    for key in [
        "format",
        "name",
        "description",
        "published_at",
        "root.kind",
        "root.digest",
        "root.size_bytes",
        "init.kind",
        "init.path",
        "session.command",
        "session.environment",
        "display.protocol",
        "display.socket",
        "stray",
    ] {
        assert!(keys.iter().any(|k| k == key), "{key} not in {keys:?}");
    }
}

#[test]
fn each_bad_value_is_a_fault_of_its_key() {
    let long = "x".repeat(300);
    let bad = [
        (
            "socket = \"vnc.sock\"",
            vec![
                "socket = \"\"",
                "socket = \".\"",
                "socket = \"a/b\"",
                "socket = \"a b\"",
                "socket = \"a\\u0000\"",
                "socket = 3",
            ],
        ),
        (
            "kind = \"builtin\"",
            vec![
                "",
                "path = \"/\"",
                "path = \"/a/../b\"",
                "path = \"/a\\u0000\"",
                "kind = \"builtin\"\npath = \"/sbin/init\"",
                "kind = \"builtin\"\nready = \"notify\"",
                "kind = \"builtin\"\nstop_signal = \"TERM\"",
                "path = \"/sbin/init\"\nready = \"soon\"",
                "path = \"/sbin/init\"\nstop_signal = \"KILL\"",
            ],
        ),
        (
            "command = [\"/usr/local/bin/rolltop-session\", \"-v\"]",
            vec![
                "",
                "command = []",
                "command = \"/bin/sh\"",
                "command = [\"/bin/sh\", 1]",
                "command = [\"/bin/sh\", \"a\\u0000\"]",
            ],
        ),
        (
            "environment = { LANG = \"C.UTF-8\" }",
            vec![
                "environment = 1",
                "environment = { A = 1 }",
                "environment = { \"\" = \"x\" }",
                "environment = { A = \"\\u0000\" }",
            ],
        ),
        ("size_bytes = 4096", vec!["", "size_bytes = \"4096\"", "size_bytes = 1.5"]),
        ("description = \"A light desktop\"", vec!["description = \"a\\nb\"", "description = 1"]),
        (
            "published_at = 1795383326",
            vec!["published_at = \"now\"", "published_at = 9223372036854775807"],
        ),
    ];
    for (good, replacements) in bad {
        assert!(GOOD.contains(good), "{good}");
        for wrong in replacements {
            let faults = faults(&GOOD.replace(good, wrong));
            assert_eq!(faults.len(), 1, "{wrong}: {faults:?}");
        }
    }
    let faults = faults(&GOOD.replace("vnc.sock", &long));
    assert!(faults[0].to_string().len() < 250, "{}", faults[0]);
}

#[test]
fn garbage_is_a_syntax_error() {
    assert!(matches!(Manifest::parse("format = "), Err(DocumentError::Syntax(_))));
    assert!(matches!(Manifest::parse("format = 1\nformat = 1"), Err(DocumentError::Syntax(_))));
}

proptest! {
    #[test]
    fn any_manifest_survives_writing(
        description in "[^\\p{Cc}]{0,60}",
        seconds in 0..MAX_UNIX_SECONDS,
        size in 0..i64::MAX.cast_unsigned(),
        arguments in proptest::collection::vec("[^\\x00]{0,20}", 0..4),
        variables in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "[^\\x00]{0,20}", 0..4),
        directory: bool,
        first: Option<u32>,
    ) {
        let manifest = Manifest {
            name: "demo".parse().unwrap(),
            description,
            root: if directory { RootKind::Directory } else { RootKind::Erofs },
            first_id: first.and_then(FirstId::new),
            digest: Digest::of_bytes(b"x"),
            size_bytes: size,
            published_at: UNIX_EPOCH + Duration::from_secs(seconds),
            recipe_digest: None,
            desktop: DesktopSpec {
                init: Init::Own(OwnInit {
                    path: "/sbin/init".into(),
                    ready: if directory { Ready::Notify } else { Ready::AtOnce },
                    stop_signal: if directory { StopSignal::default() } else { "PWR".parse().unwrap() },
                }),
                session: Session {
                    command: std::iter::once("/bin/session".to_owned()).chain(arguments).collect(),
                    environment: variables,
                },
                display: Display { protocol: DisplayProtocol::Vnc, socket: "vnc.sock".to_owned(), server: None },
            },
        };
        prop_assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
    }

    #[test]
    fn no_text_makes_the_reader_panic(document in "\\PC{0,200}") {
        prop_assert!(Manifest::parse(&document).is_err());
    }
}
