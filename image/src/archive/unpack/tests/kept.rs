//! What of a member ends up on disk.

use super::*;

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
