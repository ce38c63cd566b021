//! Exporting and importing, also what is damaged or made to do harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;

use rolltop_overlay::*;
use support::{
    Host, home, on_a_host_of_its_own, persistent, size, snapshot_name, tree, uuid_of_sound,
};

fn export(host: &Host, source: &CopySource) -> Vec<u8> {
    let mut archive = Vec::new();
    let exported = host.overlays().export(source, &mut archive).unwrap();
    assert_eq!(exported.archive_bytes, archive.len() as u64);
    archive
}

fn import(host: &Host, name: &str, mut archive: &[u8]) -> Result<OverlayFile, StoreError> {
    host.overlays().import(&persistent(name), &mut archive, size(1024))
}

fn sh(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An overlay with a letter and some data of which two windows are made.
fn used(host: &Host) -> OverlayFile {
    let overlay = host.overlays().create(&persistent("desk"), size(128)).unwrap();
    let opened = host.open(1, &overlay, None).unwrap();
    fs::write(opened.root.join("letter"), "dear").unwrap();
    // Not compressible, and the same each time.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20 << 20)
    .collect();
    fs::write(opened.root.join("noise"), noise).unwrap();
    host.close(1);
    overlay
}

#[test]
fn what_is_exported_comes_back_from_any_state() {
    on_a_host_of_its_own(|host| {
        let overlays = host.overlays();
        let overlay = used(host);
        overlays.snapshot(overlay.kind(), &snapshot_name("s"), "").unwrap();
        let stopped = export(host, &overlay.kind().clone().into());
        let opened = host.open(1, &overlay, None).unwrap();
        fs::write(opened.root.join("letter"), "changed").unwrap();
        let running = export(host, &overlay.kind().clone().into());
        host.close(1);
        let snapshot = Some(snapshot_name("s"));
        let old = export(host, &CopySource { kind: overlay.kind().clone(), snapshot });
        for (name, archive, letter) in
            [("a", &stopped, "dear"), ("b", &running, "changed"), ("c", &old, "dear")]
        {
            let made = import(host, name, archive).unwrap();
            assert_eq!(made.options(), overlay.options());
            assert_eq!(made.size_bytes(), overlay.size_bytes());
            assert_ne!(uuid_of_sound(made.path()), uuid_of_sound(overlay.path()));
            assert_eq!(host.read_in(made.kind(), "letter").unwrap(), letter);
            let (a, b) = (overlays.usage(made.kind()), overlays.usage(overlay.kind()));
            let (a, b) = (a.unwrap().allocated_bytes, b.unwrap().allocated_bytes);
            assert!(a <= b + (1 << 20), "{a} {b}: holes were filled");
        }
        let error = import(host, "a", &stopped).unwrap_err();
        assert!(matches!(error, StoreError::Exists(_)), "{error}");
        let error = overlays.import(&home("a"), &mut stopped.as_slice(), size(1024)).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::OtherKind { .. })), "{error}");
        let error =
            overlays.import(&persistent("z"), &mut stopped.as_slice(), size(127)).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::Size { .. })), "{error}");
        let error = overlays.import(&OverlayKind::Volatile(1), &mut io::empty(), size(64));
        assert!(matches!(error, Err(StoreError::NotKept(_))));
    });
}

#[test]
fn tar_and_zstd_restore_it_without_us() {
    on_a_host_of_its_own(|host| {
        let overlay = used(host);
        let dir = host.dir.join("elsewhere");
        fs::create_dir(&dir).unwrap();
        let archive = dir.join("desk.tar.zst");
        let exported = host
            .overlays()
            .export(&overlay.kind().clone().into(), &mut File::create(&archive).unwrap())
            .unwrap();
        let sum = sh(&dir, "sha256sum desk.tar.zst | cut -d ' ' -f 1");
        assert_eq!(sum.trim(), exported.sha256);
        sh(&dir, "zstd -dc desk.tar.zst | tar -x --warning=no-timestamp");
        let names = sh(&dir, "ls");
        assert_eq!(
            names,
            "desk.tar.zst\noverlay.ext4\nrolltop-overlay.json\nrolltop-overlay.sha256\n"
        );
        let restored = fs::read(dir.join("overlay.ext4")).unwrap();
        assert!(restored == fs::read(overlay.path()).unwrap());
        let blocks =
            |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
        assert!(blocks(&dir.join("overlay.ext4")) <= blocks(overlay.path()) + 2048);

        // And what tar makes of it again is taken in.
        sh(
            &dir,
            "tar -c --sparse --hole-detection=seek --format=posix --pax-option=delete=atime,delete=ctime \
             rolltop-overlay.json overlay.ext4 rolltop-overlay.sha256 > again.tar; \
             zstd -q again.tar; tar -t -f again.tar",
        );
        let again = fs::read(dir.join("again.tar.zst")).unwrap();
        let made = import(host, "again", &again).unwrap();
        assert_eq!(host.read_in(made.kind(), "letter").unwrap(), "dear");
    });
}

#[test]
fn damage_is_found_where_it_is_and_nothing_is_left() {
    on_a_host_of_its_own(|host| {
        let overlay = used(host);
        let archive = export(host, &overlay.kind().clone().into());
        let before = tree(&host.dir);
        let mut state = 7_u64;
        for round in 0..40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 20).unwrap() % archive.len();
            let mut bad = archive.clone();
            if round % 4 == 0 {
                bad.truncate(at);
            } else {
                bad[at] ^= 1 << (round % 8);
            }
            let error = import(host, "bad", &bad).map(drop).unwrap_err();
            assert!(matches!(error, StoreError::Archive(_)), "round {round} at {at}: {error}");
            assert_eq!(tree(&host.dir), before, "round {round}");
        }

        // Contents that were changed and packed again: the window is named.
        let dir = host.dir.join("elsewhere");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.zst"), &archive).unwrap();
        sh(&dir, "zstd -q -d a.zst");
        let mut plain = fs::read(dir.join("a")).unwrap();
        let at = plain.len() - (3 << 20);
        plain[at] ^= 1;
        fs::write(dir.join("a"), &plain).unwrap();
        sh(&dir, "zstd -q a -o b.zst");
        let error = import(host, "bad", &fs::read(dir.join("b.zst")).unwrap()).unwrap_err();
        let StoreError::Archive(ArchiveError::Checksum { part }) = &error else {
            panic!("{error}");
        };
        assert!(part.starts_with("bytes 16777216 to"), "{part}");
        // Another tail is not let pass.
        fs::write(dir.join("c"), "tail").unwrap();
        sh(&dir, "zstd -q c; cat a.zst c.zst > d.zst");
        let error = import(host, "bad", &fs::read(dir.join("d.zst")).unwrap()).unwrap_err();
        assert!(error.to_string().contains("after"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(tree(&host.dir), before);
    });
}

/// An archive as this one, with parts of our choosing.
fn forged(dir: &Path, header: &str, realsize: u64, map: &str, stored: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |name: &str, kind: u8, size: u64, bytes: &[u8]| {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000600");
        if size < 1 << 33 {
            block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(block);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    };
    put("rolltop-overlay.json", b'0', header.len() as u64, header.as_bytes());
    let mut pax = String::new();
    for (key, value) in [
        ("major", "1".to_owned()),
        ("minor", "0".to_owned()),
        ("name", "overlay.ext4".to_owned()),
        ("realsize", realsize.to_string()),
    ] {
        let rest = format!(" GNU.sparse.{key}={value}\n");
        pax.push_str(&format!("{}{rest}", rest.len() + 2));
    }
    put("PaxHeaders/overlay.ext4", b'x', pax.len() as u64, pax.as_bytes());
    put("GNUSparseFile.0/overlay.ext4", b'0', stored, map.as_bytes());
    fs::write(dir.join("forged"), &out).unwrap();
    sh(dir, "zstd -q -f forged");
    fs::read(dir.join("forged.zst")).unwrap()
}

#[test]
fn archives_made_to_do_harm_are_refused_early() {
    on_a_host_of_its_own(|host| {
        let dir = host.dir.join("elsewhere");
        fs::create_dir(&dir).unwrap();
        host.overlays();
        let header = |bytes: u64, more: &str| {
            format!(
                r#"{{"format":1,"kind":"persistent","name":"x","size_bytes":{bytes},"options":
                {{"redirect_dir":false,"metacopy":false,"durability":"kept"}},
                "created_at_ms":0,"exported_at_ms":0{more}}}"#
            )
        };
        let mib64 = 64_u64 << 20;
        let whole = format!("1\n0\n{mib64}\n");
        let before = tree(&host.dir.join("overlays"));
        let cases: [(&str, String, u64, &str, u64, &str); 10] = [
            ("a size that is none", header(mib64 + 1, ""), mib64, "1\n", 0, "whole MiB"),
            ("too large", header(1 << 62, ""), 1 << 62, "1\n", 0, "whole MiB"),
            ("no numbers", header(u64::MAX, ""), 0, "1\n", 0, "whole MiB"),
            ("unknown field", header(mib64, r#","a":1"#), mib64, "1\n", 0, "description"),
            ("two sizes", header(mib64, ""), mib64 * 2, "1\n", 0, "another size"),
            ("beyond", header(mib64, ""), mib64, "1\n67108860\n10\n", 0, "beyond"),
            ("overlap", header(mib64, ""), mib64, "2\n0\n9\n5\n9\n", 0, "overlap"),
            ("many", header(mib64, ""), mib64, "1048999\n", 0, "too many"),
            ("lengths", header(mib64, ""), mib64, &whole, 1 << 40, "another length"),
            ("ends", header(mib64, ""), mib64, &whole, mib64 + 512, "damaged or ends"),
        ];
        for (what, header, realsize, map, stored, words) in cases {
            let archive = forged(&dir, &header, realsize, map, stored);
            let error = import(host, "bad", &archive).map(drop).unwrap_err();
            assert!(error.to_string().contains(words), "{what}: {error}");
            assert_eq!(tree(&host.dir.join("overlays")), before, "{what}");
        }
        let options = header(mib64, "").replace(r#""metacopy":false"#, r#""metacopy":true"#);
        let error = import(host, "bad", &forged(&dir, &options, mib64, "1\n", 0)).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::Options)), "{error}");
        let newer = header(mib64, "").replace(r#""format":1"#, r#""format":2"#);
        let error = import(host, "bad", &forged(&dir, &newer, mib64, "1\n", 0)).unwrap_err();
        assert!(
            matches!(error, StoreError::Archive(ArchiveError::Format { found: 2, .. })),
            "{error}"
        );
        for junk in [&b""[..], b"junk", &[0; 5000]] {
            let error = import(host, "bad", junk).unwrap_err();
            assert!(matches!(error, StoreError::Archive(ArchiveError::Read { .. })), "{error}");
        }
        fs::remove_dir_all(&dir).unwrap();
    });
}

/// Fails after some bytes.
struct Limited(usize);

impl Write for Limited {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.0 < buffer.len() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 -= buffer.len();
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_or_writer_that_fails_leaves_nothing() {
    on_a_host_of_its_own(|host| {
        let overlay = used(host);
        let source = overlay.kind().clone().into();
        let before = tree(&host.dir);
        for limit in [0, 10_000, 5 << 20] {
            let error = host.overlays().export(&source, &mut Limited(limit)).unwrap_err();
            assert!(matches!(error, StoreError::Archive(ArchiveError::Write(_))), "{error}");
            assert_eq!(tree(&host.dir), before);
        }
        // Released again.
        host.open(1, &overlay, None).unwrap();
        let error = host.overlays().export(&source, &mut Limited(5 << 20)).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::Write(_))), "{error}");
        host.close(1);
        assert_eq!(tree(&host.dir), before);
        let archive = export(host, &source);
        let mut short = archive.as_slice().take(100_000);
        let error = host.overlays().import(&persistent("x"), &mut short, size(1024)).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::Read { .. })), "{error}");
        assert_eq!(tree(&host.dir), before);
    });
}
