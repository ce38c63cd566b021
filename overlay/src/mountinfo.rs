//! The mount table, as `/proc/thread-self/mountinfo` tells it.
//!
//! Format: proc_pid_mountinfo(5). Of the calling thread, not of the process:
//! a thread may live in another mount namespace than the main thread.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

const TABLE: &str = "/proc/thread-self/mountinfo";

/// Why the mount table could not be had.
#[derive(Debug, Error)]
pub enum MountInfoError {
    /// The table does not open.
    #[error("read {TABLE}")]
    Read(#[source] io::Error),
    /// A line is not as documented.
    #[error("{TABLE} line {line}: no {field}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is missing or wrong.
        field: &'static str,
    },
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique among the mounts that exist now.
    pub id: u64,
    /// Id of the mount this one is on.
    pub parent: u64,
    /// `st_dev` of its files, as major and minor.
    pub device: (u32, u32),
    /// What part of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub mount_point: PathBuf,
    /// Per-mount options, comma-separated.
    pub options: String,
    /// Whether mounts made below show up elsewhere.
    pub shared: bool,
    /// Type of the file system.
    pub file_system: String,
    /// What it was mounted from; its meaning depends on the type.
    pub source: PathBuf,
    /// Options of the file system, comma-separated.
    pub super_options: OsString,
}

/// All mounts of the calling thread's namespace, in the order they were made
/// or moved: a later one may lie on or above an earlier one.
///
/// # Errors
/// See [`MountInfoError`].
pub fn mounts() -> Result<Vec<Mount>, MountInfoError> {
    parse(&fs::read(TABLE).map_err(MountInfoError::Read)?)
}

/// The mounts at or below `dir`, in table order. `dir` must be free of
/// symbolic links, as the table is.
///
/// # Errors
/// See [`MountInfoError`].
pub fn mounts_below(dir: &Path) -> Result<Vec<Mount>, MountInfoError> {
    let mut found = mounts()?;
    found.retain(|mount| mount.mount_point.starts_with(dir));
    Ok(found)
}

fn parse(table: &[u8]) -> Result<Vec<Mount>, MountInfoError> {
    table
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            parse_line(line).map_err(|field| MountInfoError::Malformed { line: index + 1, field })
        })
        .collect()
}

/// The error is the field that is missing or wrong.
fn parse_line(line: &[u8]) -> Result<Mount, &'static str> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = |name| fields.next().ok_or(name);
    let id = number(next("mount id")?).ok_or("mount id")?;
    let parent = number(next("parent id")?).ok_or("parent id")?;
    let device = device(next("device")?).ok_or("device")?;
    let root = path(next("root")?);
    let mount_point = path(next("mount point")?);
    let options = String::from_utf8_lossy(next("options")?).into_owned();
    let mut shared = false;
    loop {
        match next("separator")? {
            b"-" => break,
            tag => shared |= tag.starts_with(b"shared:"),
        }
    }
    let file_system = String::from_utf8_lossy(next("file system type")?).into_owned();
    let source = path(next("source")?);
    let super_options = OsString::from_vec(unescape(next("super options")?));
    Ok(Mount {
        id,
        parent,
        device,
        root,
        mount_point,
        options,
        shared,
        file_system,
        source,
        super_options,
    })
}

fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn device(field: &[u8]) -> Option<(u32, u32)> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    Some((number(&field[..colon])?, number(&field[colon + 1..])?))
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Undoes the kernel's `\ooo` escapes of space, tab, newline, `#` and `\`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (byte, tail) => {
                out.push(*byte);
                tail
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_line_with_everything() {
        let line = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 shared:7 - ext3 /dev/ro\\134ot rw,errors=continue\n";
        let mounts = parse(line).unwrap();
        let expected = Mount {
            id: 36,
            parent: 35,
            device: (98, 0),
            root: "/mnt1".into(),
            mount_point: "/mnt/a b".into(),
            options: "rw,noatime".into(),
            shared: true,
            file_system: "ext3".into(),
            source: "/dev/ro\\ot".into(),
            super_options: "rw,errors=continue".into(),
        };
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn faults_name_line_and_field() {
        let good = "1 0 0:1 / / rw - proc proc rw\n";
        for (bad, field) in [
            ("x", "mount id"),
            ("1 0 01 / / rw - proc proc rw", "device"),
            ("1 0 0:1 / / rw", "separator"),
            ("1 0 0:1 / / rw -", "file system type"),
        ] {
            let error = parse(format!("{good}{bad}\n").as_bytes()).unwrap_err();
            assert!(
                matches!(error, MountInfoError::Malformed { line: 2, field: f } if f == field),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_own_table_parses() {
        assert!(mounts().unwrap().iter().any(|mount| mount.mount_point == Path::new("/")));
    }

    /// What `mangle()` in the kernel's fs/seq_file.c does.
    fn escape(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            if b" \t\n\\#".contains(byte) {
                out.extend(format!("\\{byte:03o}").into_bytes());
            } else {
                out.push(*byte);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_path_survives(bytes in proptest::collection::vec(1u8..=255, 1..60)) {
            let mut line = b"1 2 3:4 / /".to_vec();
            line.extend(escape(&bytes));
            line.extend(b" rw - tmpfs ");
            line.extend(escape(&bytes));
            line.extend(b" rw\n");
            let mounts = parse(&line).unwrap();
            prop_assert_eq!(&mounts[0].mount_point.as_os_str().as_bytes()[1..], &bytes[..]);
            prop_assert_eq!(mounts[0].source.as_os_str().as_bytes(), &bytes[..]);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            // Any answer is fine; a panic fails the test.
            drop(parse(&bytes));
        }
    }
}
