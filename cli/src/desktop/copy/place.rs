//! What is copied, and where to.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// "-"
    Stream,
    Here(PathBuf),
    There {
        desktop: String,
        path: String,
    },
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            // A path of ours with a colon in it is written ./so:
            Some((id, path)) if is_id(id) => {
                Self::There { desktop: id.to_owned(), path: path.to_owned() }
            }
            _ => Self::Here(text.into()),
        })
    }
}

/// "pool" or "pool/user".
fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once('/') {
        Some((pool, user)) => part(pool) && part(user),
        None => part(text),
    }
}

/// A path in a desktop, as programs there take it for no option.
pub(super) struct Inner(pub(super) String);

impl Inner {
    pub(super) fn new(path: &str) -> Self {
        match path {
            "" => Self(".".into()),
            path if path.starts_with('/') => Self(path.into()),
            path => Self(format!("./{path}")),
        }
    }

    /// Directory and name; none: "..", "/" and the like, which have no name of
    /// their own.
    pub(super) fn split(&self) -> Option<(String, OsString)> {
        let path = Path::new(&self.0);
        match path.components().next_back()? {
            Component::Normal(name) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                Some((parent.to_string_lossy().into_owned(), name.to_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn desktops_are_told_from_files() {
        let there =
            |desktop: &str, path: &str| Place::There { desktop: desktop.into(), path: path.into() };
        assert_eq!(place("demo:a b"), there("demo", "a b"));
        assert_eq!(place("demo/ada:/etc/motd"), there("demo/ada", "/etc/motd"));
        assert_eq!(place("demo:"), there("demo", ""));
        assert_eq!(place("demo:x:y"), there("demo", "x:y"));
        assert_eq!(place("-"), Place::Stream);
        for here in ["file", "./a:b", "/a:b", "../a:b", "a/b/c:d", "a b:c"] {
            assert_eq!(place(here), Place::Here(here.into()), "{here}");
        }
    }

    #[test]
    fn inner_paths_are_no_options_and_know_their_names() {
        let split = |path: &str| {
            Inner::new(path).split().map(|(dir, name)| (dir, name.into_string().unwrap()))
        };
        let pair = |dir: &str, name: &str| Some((dir.to_owned(), name.to_owned()));
        assert_eq!(split("-rf"), pair(".", "-rf"));
        assert_eq!(split("a/b/"), pair("./a", "b"));
        assert_eq!(split("/etc/motd"), pair("/etc", "motd"));
        assert_eq!(split("/etc"), pair("/", "etc"));
        for nameless in ["", ".", "..", "a/..", "/"] {
            assert_eq!(split(nameless), None, "{nameless}");
        }
    }
}
