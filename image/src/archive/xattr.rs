//! Extended attributes of members: which are kept, and how archives write them.

use std::io;
use std::os::fd::AsFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustix::fs::XattrFlags;

/// As star, GNU tar and every maker of container layers write them.
const SCHILY: &str = "SCHILY.xattr.";
/// As libarchive writes them: name percent-encoded, value in base64.
const LIBARCHIVE: &str = "LIBARCHIVE.xattr.";

/// What a record of a PAX header says of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// It is about something else.
    Other,
    /// An attribute that a root may have.
    Kept(String, Vec<u8>),
    /// One that it may not have or that is malformed.
    Skipped,
}

impl Record {
    pub(crate) fn of(key: &[u8], value: &[u8]) -> Self {
        let Ok(key) = std::str::from_utf8(key) else { return Self::Other };
        let (name, value) = if let Some(name) = key.strip_prefix(SCHILY) {
            (Some(name.to_owned()), Some(value.to_vec()))
        } else if let Some(name) = key.strip_prefix(LIBARCHIVE) {
            let value = value.strip_suffix(b"=").unwrap_or(value);
            let value = value.strip_suffix(b"=").unwrap_or(value);
            (percent_decoded(name), STANDARD_NO_PAD.decode(value).ok())
        } else {
            return Self::Other;
        };
        match (name, value) {
            (Some(name), Some(value)) if is_kept(&name) => Self::Kept(name, value),
            _ => Self::Skipped,
        }
    }
}

/// File capabilities, ACLs and what users note down. Not `trusted.`, by which a
/// tree could pose as an overlay's upper layer, and no labels of another
/// machine's security policy.
fn is_kept(name: &str) -> bool {
    matches!(name, "security.capability" | "system.posix_acl_access" | "system.posix_acl_default")
        || (name.starts_with("user.")
            && name.len() > "user.".len()
            && name.len() <= 255
            && !name.starts_with("user.overlay.")
            && !name.contains('\0'))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Sets one; what the file system cannot hold is `false`.
pub(crate) fn set(file: impl AsFd, name: &str, value: &[u8]) -> io::Result<bool> {
    match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        // ACLs and user attributes are a convenience; capabilities are not.
        Err(rustix::io::Errno::OPNOTSUPP) if name != "security.capability" => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, value: &[u8]) -> Record {
        Record::Kept(name.into(), value.into())
    }

    #[test]
    fn both_ways_of_writing_are_read() {
        assert_eq!(
            Record::of(b"SCHILY.xattr.security.capability", b"\x01\0"),
            kept("security.capability", b"\x01\0")
        );
        assert_eq!(Record::of(b"LIBARCHIVE.xattr.user.a%20b", b"eHk="), kept("user.a b", b"xy"));
        assert_eq!(Record::of(b"LIBARCHIVE.xattr.user.a", b"eHk"), kept("user.a", b"xy"));
        assert_eq!(Record::of(b"path", b"x"), Record::Other);
    }

    #[test]
    fn what_a_root_may_not_have_is_skipped() {
        for key in [
            "SCHILY.xattr.trusted.overlay.opaque",
            "SCHILY.xattr.user.overlay.redirect",
            "SCHILY.xattr.security.selinux",
            "SCHILY.xattr.security.ima",
            "SCHILY.xattr.user.",
            "SCHILY.xattr.system.nfs4_acl",
            "LIBARCHIVE.xattr.user.%zz",
            "LIBARCHIVE.xattr.user.%4",
        ] {
            assert_eq!(Record::of(key.as_bytes(), b""), Record::Skipped, "{key}");
        }
        assert_eq!(Record::of(b"LIBARCHIVE.xattr.user.a", b"*"), Record::Skipped);
    }
}
