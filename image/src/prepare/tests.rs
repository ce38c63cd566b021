use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::desktop::{Display, DisplayProtocol, Session};
use crate::init::OwnInit;

fn spec(init: Init) -> DesktopSpec {
    DesktopSpec {
        init,
        session: Session { command: vec!["/s".to_owned()], environment: Default::default() },
        display: Display {
            protocol: DisplayProtocol::Vnc,
            socket: "vnc.sock".to_owned(),
            server: None,
        },
    }
}

/// What an installed machine has, and links that lead out of it.
fn machine() -> Option<(TempDir, PathBuf)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for path in ["etc/ssh", "dev/pts", "tmp/x", "usr/sbin", "var/lib/apt/lists", "var/lib/dbus"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::create_dir_all(root.join("usr/lib/systemd/system")).unwrap();
    fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    for (path, text) in [
        ("etc/fstab", "/dev/sda1 / ext4\n"),
        ("etc/hostname", "old-machine\n"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/ssh/ssh_host_rsa_key", "secret"),
        ("etc/ssh/ssh_host_rsa_key.pub", "public"),
        ("etc/ssh/sshd_config", "kept"),
        ("etc/systemd/system/getty@.service", "[Unit]\n"),
        ("dev/null", "a file, written before /dev was mounted"),
        ("var/lib/apt/lists/mirror_Packages", "x"),
        ("var/lib/dbus/machine-id", "x"),
        ("usr/sbin/invoke-rc.d", ""),
        (".dockerenv", ""),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(dir.path().join("outside"), "precious").unwrap();
    symlink("../../outside", root.join("etc/resolv.conf")).unwrap();
    symlink(dir.path().join("outside"), root.join("etc/hosts")).unwrap();
    symlink("../..", root.join("var/tmp")).unwrap();
    Some((dir, root))
}

#[test]
fn a_machine_becomes_a_root() {
    let Some((dir, root)) = machine() else { return };
    let changes = prepare(&root, &spec(Init::Builtin), &[]).unwrap();
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    for empty in ["etc/fstab", "etc/machine-id", "etc/resolv.conf"] {
        assert_eq!(text(empty), "", "{empty}");
        assert!(fs::symlink_metadata(root.join(empty)).unwrap().is_file(), "{empty}");
    }
    assert_eq!(
        (text("etc/hostname"), text("etc/ssh/sshd_config")),
        ("localhost\n".into(), "kept".into())
    );
    for gone in [
        ".dockerenv",
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "dev/null",
        "dev/pts",
        "tmp/x",
        "var/lib/apt/lists/mirror_Packages",
        "var/lib/dbus/machine-id",
    ] {
        assert!(fs::symlink_metadata(root.join(gone)).is_err(), "{gone}");
    }
    for (dir, mode) in
        [("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777), ("proc", 0o555)]
    {
        let meta = fs::symlink_metadata(root.join(dir)).unwrap();
        assert!(meta.is_dir() && meta.mode() & 0o7777 == mode, "{dir}: {:o}", meta.mode());
    }
    assert_eq!(fs::metadata(root.join(POLICY)).unwrap().mode() & 0o777, 0o755);
    let mask = |unit: &str| fs::read_link(root.join("etc/systemd/system").join(unit));
    assert_eq!(mask("systemd-udevd.service").unwrap(), Path::new("/dev/null"));
    assert!(mask("getty@.service").is_err(), "somebody's own unit stays");
    assert!(changes.iter().any(|line| line.contains("/etc/resolv.conf")), "{changes:?}");
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "precious");
}

#[test]
fn once_more_changes_nothing() {
    let Some((_dir, root)) = machine() else { return };
    prepare(&root, &spec(Init::Builtin), &[]).unwrap();
    let changes = prepare(&root, &spec(Init::Builtin), &[]).unwrap();
    assert_eq!(
        changes,
        ["/etc/systemd/system/getty@.service: kept, because it is this root's own"]
    );
}

#[test]
fn services_are_kept_on_request_and_started_by_an_init_of_the_root() {
    let Some((_dir, root)) = machine() else { return };
    let keep = ["systemd-resolved.service".to_owned()];
    prepare(&root, &spec(Init::Own(OwnInit::new("/sbin/init"))), &keep).unwrap();
    assert!(
        fs::symlink_metadata(root.join("etc/systemd/system/systemd-resolved.service")).is_err()
    );
    assert!(!root.join(POLICY).exists());
}

#[test]
fn an_empty_root_gets_what_it_lacks() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), &spec(Init::Builtin), &[]).unwrap();
    for path in ["dev", "proc", "sys", "etc/hosts", "etc/machine-id"] {
        assert!(dir.path().join(path).exists(), "{path}");
    }
    assert!(!dir.path().join("etc/systemd").exists() && !dir.path().join(POLICY).exists());
}

#[test]
fn patterns_have_one_star() {
    assert!(
        fits(OsStr::new("a-old"), "", "-old") && fits(OsStr::new("ssh_host_x"), "ssh_host_", "")
    );
    assert!(!fits(OsStr::new("ab"), "ab", "b") && !fits(OsStr::new("x"), "ssh", ""));
}
