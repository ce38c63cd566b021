//! What an upper layer takes away from those below it, by the names that the
//! OCI image specification reserves for that ("Whiteouts").

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::tree::InnerPath;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names of the AUFS driver's own, which older `docker save` archives hold.
const OWN: &[u8] = b".wh..wh.";

/// What a member of a layer stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Itself.
    Plain,
    /// The lower layers' entry of that path is gone.
    Gone(InnerPath),
    /// Whatever lower layers have in that directory is gone.
    Opaque(InnerPath),
    /// Nothing at all.
    Nothing,
}

impl Meaning {
    pub(crate) fn of(path: &InnerPath) -> Self {
        let Some((_, name)) = path.split() else { return Self::Plain };
        match name.as_bytes() {
            OPAQUE => Self::Opaque(path.parent().unwrap_or_else(|| InnerPath::fixed(""))),
            name if name.starts_with(OWN) => Self::Nothing,
            name => match name.strip_prefix(PREFIX) {
                None => Self::Plain,
                Some(b"" | b"." | b"..") => Self::Nothing,
                Some(hidden) => Self::Gone(path.with_name(OsStr::from_bytes(hidden))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inner(path: &str) -> InnerPath {
        InnerPath::new(path.as_bytes()).unwrap()
    }

    #[test]
    fn reserved_names_have_their_meaning() {
        for (path, meaning) in [
            ("", Meaning::Plain),
            ("etc/passwd", Meaning::Plain),
            ("etc/wh.x", Meaning::Plain),
            ("etc/.wh", Meaning::Plain),
            ("etc/.wh.passwd", Meaning::Gone(inner("etc/passwd"))),
            (".wh.etc", Meaning::Gone(inner("etc"))),
            ("etc/.wh..wh..opq", Meaning::Opaque(inner("etc"))),
            (".wh..wh..opq", Meaning::Opaque(inner(""))),
            (".wh..wh.plnk", Meaning::Nothing),
            ("etc/.wh.", Meaning::Nothing),
            ("etc/.wh..", Meaning::Nothing),
            ("etc/.wh...", Meaning::Nothing),
            ("etc/.wh..hidden", Meaning::Gone(inner("etc/.hidden"))),
        ] {
            assert_eq!(Meaning::of(&inner(path)), meaning, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_whiteout_takes_away_a_sibling_and_nothing_else(
            dir in "[a-z]{1,8}(/[a-z]{1,8}){0,3}", name in "[a-z][a-z.]{0,10}") {
            let target = inner(&dir).join(&name);
            let path = target.with_name(OsStr::new(&format!(".wh.{name}")));
            prop_assert_eq!(Meaning::of(&path), Meaning::Gone(target));
        }
    }
}
